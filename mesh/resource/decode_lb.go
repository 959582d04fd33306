package resource

import (
	"cmp"
	"math"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// decodeBalancing reads how the endpoints of a cluster are chosen.
// load_balancing_policy goes before lb_policy (gRFC A52), which is held to its
// rules in any case, as in grpc-go.
func decodeBalancing(m *xdsv3.Cluster) (Balancing, error) {
	b, err := decodeLBPolicy(m)
	if err != nil {
		return b, err
	}
	if m.GetLoadBalancingPolicy() != nil {
		if b, err = decodePolicies(m.GetLoadBalancingPolicy(), false); err != nil {
			return b, under("load_balancing_policy", err)
		}
	}
	if m.GetOutlierDetection() == nil {
		return b, nil
	}
	outlier, ejected, err := decodeOutlier(m.GetOutlierDetection())
	if err != nil {
		return b, under("outlier_detection", err)
	}
	if b.Outlier == nil {
		b.Outlier = outlier
	}
	if b.Standard {
		b.MaxEjectedPercent = ejected
	}
	return b, nil
}

// decodeLBPolicy reads lb_policy and what belongs to it (gRFC A27, A42, A48).
func decodeLBPolicy(m *xdsv3.Cluster) (Balancing, error) {
	ring, least := m.GetRingHashLbConfig(), m.GetLeastRequestLbConfig()
	if ring != nil && m.GetLbPolicy() != xdsv3.Cluster_RING_HASH {
		return Balancing{}, bad("ring_hash_lb_config", "belongs to the lb_policy RING_HASH, which is not set")
	}
	if least != nil && m.GetLbPolicy() != xdsv3.Cluster_LEAST_REQUEST {
		return Balancing{}, bad("least_request_lb_config", "belongs to the lb_policy LEAST_REQUEST, which is not set")
	}
	switch m.GetLbPolicy() {
	case xdsv3.Cluster_ROUND_ROBIN:
		return StandardBalancing(RoundRobin), nil
	case xdsv3.Cluster_LEAST_REQUEST:
		b := StandardBalancing(LeastRequest)
		err := known(least)
		if err == nil {
			err = b.draw(least.GetChoiceCount())
		}
		return b, under("least_request_lb_config", err)
	case xdsv3.Cluster_RING_HASH:
		b := StandardBalancing(RingHash)
		err := known(ring)
		switch {
		case err != nil:
		case ring.GetHashFunction() != xdsv3.Cluster_RingHashLbConfig_XX_HASH:
			err = bad("hash_function", "%v is not supported; use XX_HASH (gRFC A42)", ring.GetHashFunction())
		default:
			err = b.RingHash.standard(ring.GetMinimumRingSize(), ring.GetMaximumRingSize())
		}
		return b, under("ring_hash_lb_config", err)
	default:
		return Balancing{}, bad("lb_policy", "%v is not supported; use ROUND_ROBIN, LEAST_REQUEST, RING_HASH or load_balancing_policy", m.GetLbPolicy())
	}
}

// lbPolicies are the policies that are known, by the type URL of their messages.
var lbPolicies = map[string]func([]byte) (Balancing, error){
	"type.googleapis.com/tulle.policy.v1.Balancing":                                  decodeOwnPolicy,
	lbExtension + "round_robin.v3.RoundRobin":                                        decodeRoundRobin,
	lbExtension + "least_request.v3.LeastRequest":                                    decodeLeastRequest,
	lbExtension + "ring_hash.v3.RingHash":                                            decodeRingHash,
	lbExtension + "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin": decodeWeightedRoundRobin,
	lbExtension + "pick_first.v3.PickFirst":                                          decodePickFirst,
}

const (
	lbExtension = "type.googleapis.com/envoy.extensions.load_balancing_policies."
	wrrLocality = lbExtension + "wrr_locality.v3.WrrLocality"
	listed      = "typed_extension_config.typed_config"
)

// decodePolicies takes the first policy of a list that is known (gRFC A52). Those
// behind it are not read: they are for other clients. within is whether the list
// stands in a WrrLocality.
func decodePolicies(m *xdsv3.LoadBalancingPolicy, within bool) (Balancing, error) {
	for i, p := range m.GetPolicies() {
		config := p.GetTypedExtensionConfig().GetTypedConfig()
		var b Balancing
		var err error
		switch decode, ok := lbPolicies[config.GetTypeUrl()]; {
		case config.GetTypeUrl() == wrrLocality && !within:
			b, err = decodeWrrLocality(config)
		case config.GetTypeUrl() == wrrLocality:
			err = bad("", "stands in another WrrLocality")
		case !ok:
			continue
		default:
			b, err = decode(config.GetValue())
			if err == nil && within && (!b.Standard || b.Policy == RingHash) {
				err = bad("", "is not balanced within localities here; put it into the list of the cluster itself")
			}
		}
		return b, at("policies", i, under(listed, err))
	}
	return Balancing{}, bad("policies", "have none that is known here: add one of round_robin, least_request, ring_hash or client_side_weighted_round_robin")
}

// decodeWrrLocality reads the policy that goes by the localities' weights, as all
// standard ones do here.
func decodeWrrLocality(config *anypb.Any) (Balancing, error) {
	var m xdsv3.WrrLocality
	if err := unmarshal(config.GetValue(), &m); err != nil {
		return Balancing{}, err
	}
	b, err := decodePolicies(m.GetEndpointPickingPolicy(), true)
	return b, under("endpoint_picking_policy", err)
}

// unmarshalPolicy is unmarshal for a message in fields.
func unmarshalPolicy(value []byte, m xdsv3.Message) error {
	if err := unmarshal(value, m); err != nil {
		return err
	}
	return known(m)
}

func decodeRoundRobin(value []byte) (Balancing, error) {
	return StandardBalancing(RoundRobin), unmarshalPolicy(value, new(xdsv3.RoundRobin))
}

func decodePickFirst([]byte) (Balancing, error) {
	return Balancing{}, bad("", "is not done here: one endpoint would take every call")
}

func decodeLeastRequest(value []byte) (Balancing, error) {
	var m xdsv3.LeastRequest
	b := StandardBalancing(LeastRequest)
	if err := unmarshalPolicy(value, &m); err != nil {
		return b, err
	}
	return b, b.draw(m.GetChoiceCount())
}

// draw reads a choice_count (gRFC A48).
func (b *Balancing) draw(choices *wrapperspb.UInt32Value) error {
	if choices == nil {
		return nil
	}
	if choices.GetValue() < 2 {
		return bad("choice_count", "is %d, it must be at least 2", choices.GetValue())
	}
	b.Choices = min(choices.GetValue(), maxChoices)
	return nil
}

func decodeRingHash(value []byte) (Balancing, error) {
	var m xdsv3.RingHash
	b := StandardBalancing(RingHash)
	if err := unmarshalPolicy(value, &m); err != nil {
		return b, err
	}
	if m.GetHashFunction() != xdsv3.RingHash_XX_HASH {
		return b, bad("hash_function", "%v is not supported; use XX_HASH (gRFC A42)", m.GetHashFunction())
	}
	return b, b.RingHash.standard(m.GetMinimumRingSize(), m.GetMaximumRingSize())
}

// standard reads the sizes of a standard ring. Larger ones than are made are
// accepted, and capped (gRFC A42).
func (c *RingHashConfig) standard(minimum, maximum *wrapperspb.UInt64Value) error {
	least, most := cmp.Or(minimum.GetValue(), 1_024), uint64(standardRingAsked)
	if maximum != nil {
		most = cmp.Or(maximum.GetValue(), standardRing) // as grpc-go has it
	}
	switch {
	case least > standardRingAsked:
		return bad("minimum_ring_size", "is %d, at most %d is accepted", least, standardRingAsked)
	case most > standardRingAsked:
		return bad("maximum_ring_size", "is %d, at most %d is accepted", most, standardRingAsked)
	case least > most:
		return bad("minimum_ring_size", "is %d, above maximum_ring_size of %d", least, most)
	}
	c.MinSize, c.MaxSize = uint32(min(least, standardRing)), uint32(min(most, standardRing))
	return nil
}

// decodeWeightedRoundRobin reads gRFC A58's. Of its numbers zero is zero.
func decodeWeightedRoundRobin(value []byte) (Balancing, error) {
	var m xdsv3.ClientSideWeightedRoundRobin
	b := StandardBalancing(WeightedRoundRobin)
	if err := unmarshalPolicy(value, &m); err != nil {
		return b, err
	}
	if m.GetEnableOobLoadReport().GetValue() {
		return b, bad("enable_oob_load_report", "is not supported: weights come from the reports of calls")
	}
	var r reading
	c := &b.WeightedRoundRobin
	c.BlackoutPeriod = r.duration("blackout_period", m.GetBlackoutPeriod(), c.BlackoutPeriod, 0)
	c.WeightExpirationPeriod = r.duration("weight_expiration_period", m.GetWeightExpirationPeriod(), c.WeightExpirationPeriod, 0)
	c.WeightUpdatePeriod = max(r.duration("weight_update_period", m.GetWeightUpdatePeriod(), c.WeightUpdatePeriod, 0), minWeightUpdate)
	if penalty := m.GetErrorUtilizationPenalty(); penalty != nil {
		c.ErrorUtilizationPenalty = r.number("error_utilization_penalty", float64(penalty.GetValue()), 0, 0, math.MaxFloat32)
	}
	return b, r.err
}
