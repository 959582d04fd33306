package resource

import (
	"time"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// decodeOwnPolicy reads the mesh's own policy. Each part is held to its ranges,
// also those that the policy at hand does not go by.
func decodeOwnPolicy(value []byte) (Balancing, error) {
	var m xdsv3.OwnBalancing
	if err := unmarshal(value, &m); err != nil {
		return Balancing{}, err
	}
	b := DefaultBalancing()
	var ok bool
	if b.Policy, ok = ownPolicies[m.GetPolicy()]; !ok {
		return b, bad("policy", "%v is not known to this version", m.GetPolicy())
	}
	var r reading
	r.keep(under("peak_ewma", b.PeakEWMA.decode(m.GetPeakEwma())))
	r.keep(under("ring_hash", b.RingHash.decode(m.GetRingHash())))
	r.keep(under("weighted_round_robin", b.WeightedRoundRobin.decode(m.GetWeightedRoundRobin())))
	r.keep(under("slow_start", b.SlowStart.decode(m.GetSlowStart())))
	r.keep(under("zone", b.Zone.decode(m.GetZone())))
	if m.GetBreaker() != nil {
		var err error
		b.Breaker, err = decodeBreaker(m.GetBreaker())
		r.keep(under("breaker", err))
	}
	if m.GetOutlierDetection() != nil {
		var err error
		b.Outlier, err = decodeOwnOutlier(m.GetOutlierDetection())
		r.keep(under("outlier_detection", err))
	}
	b.Choices = r.count("choices", m.GetChoices(), b.Choices, 2, maxChoices)
	b.MaxEjectedPercent = r.count("max_ejected_percent", m.GetMaxEjectedPercent(), b.MaxEjectedPercent, 1, 100)
	b.MaxRequestsPerEndpoint = m.GetMaxRequestsPerEndpoint()
	b.Subset = m.GetSubset()
	b.MaxStreamAge = r.duration("max_stream_age", m.GetMaxStreamAge(), 0, 0)
	return b, r.err
}

var ownPolicies = map[xdsv3.OwnBalancing_Policy]Policy{
	xdsv3.OwnBalancing_POLICY_UNSPECIFIED:          PeakEWMA,
	xdsv3.OwnBalancing_POLICY_PEAK_EWMA:            PeakEWMA,
	xdsv3.OwnBalancing_POLICY_ROUND_ROBIN:          RoundRobin,
	xdsv3.OwnBalancing_POLICY_LEAST_REQUEST:        LeastRequest,
	xdsv3.OwnBalancing_POLICY_RING_HASH:            RingHash,
	xdsv3.OwnBalancing_POLICY_WEIGHTED_ROUND_ROBIN: WeightedRoundRobin,
}

// The parts of a policy are read over their defaults.

func (c *PeakEWMAConfig) decode(m *xdsv3.OwnPeakEWMA) error {
	var r reading
	c.DefaultRTT = r.duration("default_rtt", m.GetDefaultRtt(), c.DefaultRTT, aboveZero)
	c.Decay = r.duration("decay", m.GetDecay(), c.Decay, aboveZero)
	c.FailurePenalty = r.duration("failure_penalty", m.GetFailurePenalty(), c.FailurePenalty, 0)
	c.Utilization = m.GetUtilization()
	return r.err
}

func (c *RingHashConfig) decode(m *xdsv3.OwnRingHash) error {
	var r reading
	c.MinSize = r.count("min_ring_size", m.GetMinRingSize(), c.MinSize, 1, maxRing)
	c.MaxSize = r.count("max_ring_size", m.GetMaxRingSize(), max(c.MaxSize, c.MinSize), 1, maxRing)
	if m.GetMinRingSize() == 0 {
		c.MinSize = min(c.MinSize, c.MaxSize)
	}
	if c.MinSize > c.MaxSize {
		r.fail("max_ring_size", "is %d, below min_ring_size of %d", c.MaxSize, c.MinSize)
	}
	return r.err
}

func (c *WeightedRoundRobinConfig) decode(m *xdsv3.OwnWeightedRoundRobin) error {
	if m == nil {
		return nil
	}
	var r reading
	c.BlackoutPeriod = r.duration("blackout_period", m.GetBlackoutPeriod(), c.BlackoutPeriod, 0)
	c.WeightExpirationPeriod = r.duration("weight_expiration_period", m.GetWeightExpirationPeriod(), c.WeightExpirationPeriod, 0)
	c.WeightUpdatePeriod = r.duration("weight_update_period", m.GetWeightUpdatePeriod(), c.WeightUpdatePeriod, minWeightUpdate)
	c.ErrorUtilizationPenalty = r.exact("error_utilization_penalty", m.ErrorUtilizationPenalty, c.ErrorUtilizationPenalty, maxErrorPenalty)
	return r.err
}

const (
	minWeightUpdate = 100 * time.Millisecond // gRFC A58
	maxErrorPenalty = 1_000
)

func (c *SlowStart) decode(m *xdsv3.OwnSlowStart) error {
	var r reading
	c.Window = r.duration("window", m.GetWindow(), c.Window, 0)
	c.Aggression = r.number("aggression", m.GetAggression(), c.Aggression, 0.01, 100)
	c.MinWeightPercent = r.count("min_weight_percent", m.GetMinWeightPercent(), c.MinWeightPercent, 1, 100)
	return r.err
}

func (c *Zone) decode(m *xdsv3.OwnZone) error {
	var r reading
	switch m.GetMode() {
	case xdsv3.OwnZone_MODE_UNSPECIFIED, xdsv3.OwnZone_MODE_PREFER:
		c.Prefer = true
	case xdsv3.OwnZone_MODE_SPREAD:
		c.Prefer = false
	default:
		r.fail("mode", "%v is not known to this version", m.GetMode())
	}
	c.Low = r.number("low", m.GetLow(), c.Low, 0, maxPerSecond)
	c.High = r.number("high", m.GetHigh(), max(c.High, c.Low), 0, maxPerSecond)
	if m.GetLow() == 0 {
		c.Low = min(c.Low, c.High)
	}
	if c.Low > c.High {
		r.fail("high", "is %v, below low of %v", c.High, c.Low)
	}
	return r.err
}
