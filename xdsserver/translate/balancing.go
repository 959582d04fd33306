package translate

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	leastrequestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// ownPolicy is the name of our policy in a list; clients go by its type.
const ownPolicy = "tulle"

var defaultBalancing = resource.DefaultBalancing()

// plainPolicies are those of services that say nothing of balancing, which most are.
// Messages are not changed once they are made.
var plainPolicies = policies(&model.Service{})

// policies are how clients choose among the service's endpoints: the first that one
// knows (gRFC A52). Ours goes by the first, and stock clients by another.
func policies(s *model.Service) *clusterv3.LoadBalancingPolicy {
	b := s.LoadBalancing
	if b == nil {
		b = &model.LoadBalancing{}
	}
	return list(policy(ownPolicy, balancing(s, b)), standardPolicy(b))
}

// sayNothing reports whether a service says nothing of how its endpoints are chosen.
func sayNothing(s *model.Service) bool {
	return s.LoadBalancing == nil && s.Breaker == nil && s.OutlierDetection == nil && s.MaxEjectedPercent == 0 && s.MaxRequestsPerEndpoint == 0
}

func list(policies ...*clusterv3.LoadBalancingPolicy_Policy) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: policies}
}

func policy(name string, config proto.Message) *clusterv3.LoadBalancingPolicy_Policy {
	return &clusterv3.LoadBalancingPolicy_Policy{TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack(config)}}
}

// standardPolicy is for stock clients. Within localities it ends with round robin,
// which each of them knows: a client that knows no policy of a list refuses the
// cluster.
func standardPolicy(b *model.LoadBalancing) *clusterv3.LoadBalancingPolicy_Policy {
	roundRobin := policy("envoy.load_balancing_policies.round_robin", &roundrobinv3.RoundRobin{})
	var within *clusterv3.LoadBalancingPolicy
	switch b.Policy {
	case model.RingHash:
		// It is of all localities together (gRFC A42).
		least, greatest := b.RingSizes()
		return policy("envoy.load_balancing_policies.ring_hash", &ringhashv3.RingHash{
			HashFunction:    ringhashv3.RingHash_XX_HASH,
			MinimumRingSize: wrapperspb.UInt64(uint64(least)),
			MaximumRingSize: wrapperspb.UInt64(uint64(greatest)),
		})
	case model.RoundRobin:
		within = list(roundRobin)
	case model.WeightedRoundRobin:
		within = list(policy("envoy.load_balancing_policies.client_side_weighted_round_robin", standardWeighted(b.Weighted)), roundRobin)
	case model.PeakEWMA, model.LeastRequest:
		fallthrough
	default:
		choices := b.Choices
		if choices == 0 {
			choices = defaultBalancing.Choices
		}
		within = list(policy("envoy.load_balancing_policies.least_request", &leastrequestv3.LeastRequest{
			ChoiceCount: wrapperspb.UInt32(choices),
		}), roundRobin)
	}
	return policy("envoy.load_balancing_policies.wrr_locality", &wrrlocalityv3.WrrLocality{EndpointPickingPolicy: within})
}

func standardWeighted(w *model.Weighted) *cswrrv3.ClientSideWeightedRoundRobin {
	m := &cswrrv3.ClientSideWeightedRoundRobin{}
	if w == nil {
		return m
	}
	m.BlackoutPeriod = exactLength(w.BlackoutPeriod, -1)
	m.WeightExpirationPeriod = length(w.WeightExpirationPeriod, 0)
	m.WeightUpdatePeriod = length(w.WeightUpdatePeriod, 0)
	if w.ErrorUtilizationPenalty != nil {
		m.ErrorUtilizationPenalty = wrapperspb.Float(float32(*w.ErrorUtilizationPenalty))
	}
	return m
}

var ownPolicies = map[model.BalancingPolicy]policyv1.Balancing_Policy{
	"":                       policyv1.Balancing_POLICY_PEAK_EWMA,
	model.PeakEWMA:           policyv1.Balancing_POLICY_PEAK_EWMA,
	model.RoundRobin:         policyv1.Balancing_POLICY_ROUND_ROBIN,
	model.LeastRequest:       policyv1.Balancing_POLICY_LEAST_REQUEST,
	model.RingHash:           policyv1.Balancing_POLICY_RING_HASH,
	model.WeightedRoundRobin: policyv1.Balancing_POLICY_WEIGHTED_ROUND_ROBIN,
}

// balancing is what our clients go by: the policy, and what differs from
// [resource.DefaultBalancing].
func balancing(s *model.Service, b *model.LoadBalancing) *policyv1.Balancing {
	m := &policyv1.Balancing{
		Policy:                 ownPolicies[b.Policy],
		PeakEwma:               peakEWMA(b),
		Choices:                unless(b.Choices, defaultBalancing.Choices),
		WeightedRoundRobin:     weighted(b.Weighted),
		Breaker:                endpointBreaker(s.Breaker),
		OutlierDetection:       ownOutliers(s.OutlierDetection),
		MaxEjectedPercent:      unless(s.MaxEjectedPercent, defaultBalancing.MaxEjectedPercent),
		MaxRequestsPerEndpoint: s.MaxRequestsPerEndpoint,
		Zone:                   zone(b.Zone),
		Subset:                 b.Subset,
		MaxStreamAge:           length(b.MaxStreamAge, 0),
	}
	if least, greatest := b.RingSizes(); b.Policy == model.RingHash {
		m.RingHash = unlessEmpty(&policyv1.RingHash{
			MinRingSize: unless(least, defaultBalancing.RingHash.MinSize),
			MaxRingSize: unless(greatest, defaultBalancing.RingHash.MaxSize),
		})
	}
	if start := b.SlowStart; start != nil {
		m.SlowStart = &policyv1.SlowStart{
			Window:           length(start.Window, 0),
			Aggression:       unless(start.Aggression, defaultBalancing.SlowStart.Aggression),
			MinWeightPercent: unless(start.MinWeightPercent, defaultBalancing.SlowStart.MinWeightPercent),
		}
	}
	return m
}

func peakEWMA(b *model.LoadBalancing) *policyv1.PeakEWMA {
	normal := defaultBalancing.PeakEWMA
	return unlessEmpty(&policyv1.PeakEWMA{
		DefaultRtt:     length(b.DefaultRTT, normal.DefaultRTT),
		Decay:          length(b.Decay, normal.Decay),
		FailurePenalty: exactLength(b.FailurePenalty, normal.FailurePenalty),
		Utilization:    b.Utilization,
	})
}

func weighted(w *model.Weighted) *policyv1.WeightedRoundRobin {
	if w == nil {
		return nil
	}
	normal := defaultBalancing.WeightedRoundRobin
	return unlessEmpty(&policyv1.WeightedRoundRobin{
		BlackoutPeriod:          exactLength(w.BlackoutPeriod, normal.BlackoutPeriod),
		WeightExpirationPeriod:  length(w.WeightExpirationPeriod, normal.WeightExpirationPeriod),
		WeightUpdatePeriod:      length(w.WeightUpdatePeriod, normal.WeightUpdatePeriod),
		ErrorUtilizationPenalty: exactNumber(w.ErrorUtilizationPenalty, normal.ErrorUtilizationPenalty),
	})
}

func zone(z *model.Zone) *policyv1.Zone {
	switch {
	case z == nil:
		return nil
	case z.Spread:
		return &policyv1.Zone{Mode: policyv1.Zone_MODE_SPREAD}
	}
	low, high := z.Band()
	return &policyv1.Zone{
		Mode: policyv1.Zone_MODE_PREFER,
		Low:  unless(low, defaultBalancing.Zone.Low),
		High: unless(high, defaultBalancing.Zone.High),
	}
}

const (
	normalInterval = 10 * time.Second // gRFC A50
	normalBase     = 30 * time.Second
	normalMax      = 300 * time.Second
)

func ownOutliers(o *model.OutlierDetection) *policyv1.OutlierDetection {
	if o == nil {
		return nil
	}
	base, longest := o.Ejections()
	m := &policyv1.OutlierDetection{
		Interval:         length(o.Interval, normalInterval),
		BaseEjectionTime: length(base, normalBase),
		MaxEjectionTime:  length(longest, normalMax),
	}
	if s := o.SuccessRate; s != nil {
		m.SuccessRate = &policyv1.OutlierDetection_SuccessRate{
			StdevFactor: s.StdevFactor, MinimumHosts: s.MinimumHosts, RequestVolume: s.RequestVolume,
		}
	}
	if f := o.FailurePercentage; f != nil {
		m.FailurePercentage = &policyv1.OutlierDetection_FailurePercentage{
			Threshold: f.Threshold, MinimumHosts: f.MinimumHosts, RequestVolume: f.RequestVolume,
		}
	}
	return m
}

// outliers is the standard field, for stock clients. An algorithm that is not asked
// for is written as not enforced: success rate is on in a message that is silent.
func outliers(s *model.Service) *clusterv3.OutlierDetection {
	o := s.OutlierDetection
	if o == nil {
		return nil
	}
	number := func(n uint32) *wrapperspb.UInt32Value {
		if n == 0 {
			return nil
		}
		return wrapperspb.UInt32(n)
	}
	ejected := s.MaxEjectedPercent
	if ejected == 0 {
		ejected = defaultBalancing.MaxEjectedPercent
	}
	base, longest := o.Ejections()
	m := &clusterv3.OutlierDetection{
		Interval:             length(o.Interval, normalInterval),
		BaseEjectionTime:     length(base, normalBase),
		MaxEjectionTime:      length(longest, normalMax),
		MaxEjectionPercent:   wrapperspb.UInt32(ejected),
		EnforcingSuccessRate: wrapperspb.UInt32(0),
	}
	if s := o.SuccessRate; s != nil {
		m.EnforcingSuccessRate = wrapperspb.UInt32(100)
		m.SuccessRateStdevFactor = number(s.StdevFactor)
		m.SuccessRateMinimumHosts = number(s.MinimumHosts)
		m.SuccessRateRequestVolume = number(s.RequestVolume)
	}
	if f := o.FailurePercentage; f != nil {
		m.EnforcingFailurePercentage = wrapperspb.UInt32(100)
		m.FailurePercentageThreshold = number(f.Threshold)
		m.FailurePercentageMinimumHosts = number(f.MinimumHosts)
		m.FailurePercentageRequestVolume = number(f.RequestVolume)
	}
	return m
}
