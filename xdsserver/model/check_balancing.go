package model

import (
	"slices"
	"strings"
	"time"
)

const (
	// MaxRing bounds what each client keeps of a service; stock clients cap rings at
	// 4096 entries by themselves (gRFC A42).
	MaxRing = 8192
	// MaxChoices is where clients stop to draw (gRFC A48).
	MaxChoices = 10
	maxSubset  = 10_000
	// maxBand is far above what any endpoint serves well.
	maxBand = 1000
)

var balancingPolicies = []BalancingPolicy{PeakEWMA, RoundRobin, LeastRequest, RingHash, WeightedRoundRobin}

func (c *checker) balancing(b *LoadBalancing) {
	const field = "spec.loadBalancing"
	if b == nil {
		return
	}
	policy := b.Policy
	if policy == "" {
		policy = PeakEWMA
	}
	if !slices.Contains(balancingPolicies, policy) {
		c.errorf(field+".policy", "%.40q is no policy: write peak-ewma, round-robin, least-request, ring-hash or weighted-round-robin", policy)
		return
	}
	for _, own := range []struct {
		field  string
		policy BalancingPolicy
		said   bool
	}{
		{"defaultRtt", PeakEWMA, b.DefaultRTT != 0},
		{"decay", PeakEWMA, b.Decay != 0},
		{"failurePenalty", PeakEWMA, b.FailurePenalty != nil},
		{"utilization", PeakEWMA, b.Utilization},
		{"choices", LeastRequest, b.Choices != 0},
		{"hashHeader", RingHash, b.HashHeader != ""},
		{"minRingSize", RingHash, b.MinRingSize != 0},
		{"maxRingSize", RingHash, b.MaxRingSize != 0},
		{"weighted", WeightedRoundRobin, b.Weighted != nil},
	} {
		if own.said && own.policy != policy {
			c.errorf(field+"."+own.field, "is for policy %s, and the policy is %s: remove it, or write policy: %s", own.policy, policy, own.policy)
		}
	}
	c.span(field+".defaultRtt", b.DefaultRTT, shortest, longest)
	c.span(field+".decay", b.Decay, shortest, longest)
	if b.FailurePenalty != nil {
		c.span(field+".failurePenalty", *b.FailurePenalty, shortest, longest)
	}
	c.number(field+".choices", b.Choices, 2, MaxChoices)
	if b.HashHeader != "" {
		if why := badName(b.HashHeader); why != "" {
			c.errorf(field+".hashHeader", "%s", why)
		} else if lower := strings.ToLower(b.HashHeader); lower != b.HashHeader {
			c.errorf(field+".hashHeader", "%s is not in lower case, as all metadata is: write %s", b.HashHeader, lower)
		}
	}
	c.number(field+".minRingSize", b.MinRingSize, 1, MaxRing)
	c.number(field+".maxRingSize", b.MaxRingSize, 1, MaxRing)
	if smallest, largest := b.RingSizes(); smallest > largest {
		c.errorf(field+".maxRingSize", "%d is below minRingSize, which is %d: write as much, or minRingSize lower", largest, smallest)
	}
	c.weighted(field+".weighted", b.Weighted)
	c.slowStart(field+".slowStart", b.SlowStart)
	c.zone(field+".zone", b.Zone)
	c.number(field+".subset", b.Subset, 1, maxSubset)
	c.span(field+".maxStreamAge", b.MaxStreamAge, time.Second, day)
}

func (c *checker) weighted(field string, w *Weighted) {
	if w == nil {
		return
	}
	if w.BlackoutPeriod != nil {
		c.span(field+".blackoutPeriod", *w.BlackoutPeriod, shortest, longest)
	}
	c.span(field+".weightExpirationPeriod", w.WeightExpirationPeriod, shortest, longest)
	c.span(field+".weightUpdatePeriod", w.WeightUpdatePeriod, 100*time.Millisecond, longest) // gRFC A58's least
	if w.ErrorUtilizationPenalty != nil {
		c.decimal(field+".errorUtilizationPenalty", *w.ErrorUtilizationPenalty, 0, 100)
	}
}

func (c *checker) slowStart(field string, s *SlowStart) {
	if s == nil {
		return
	}
	if s.Window == 0 {
		c.errorf(field, "does nothing: write window, or remove it")
	}
	c.span(field+".window", s.Window, shortest, longest)
	if s.Aggression != 0 {
		c.decimal(field+".aggression", s.Aggression, 0.01, 100)
	}
	c.number(field+".minWeightPercent", s.MinWeightPercent, 1, 100)
}

func (c *checker) zone(field string, z *Zone) {
	if z == nil {
		return
	}
	if z.Spread && (z.Low != 0 || z.High != 0) {
		c.errorf(field, "takes zones alike, and says how far calls keep to their own: remove low and high, or write mode: prefer")
		return
	}
	if z.Low != 0 {
		c.decimal(field+".low", z.Low, 0.01, maxBand)
	}
	if z.High != 0 {
		c.decimal(field+".high", z.High, 0.01, maxBand)
	}
	if low, high := z.Band(); low > high {
		c.errorf(field+".high", "%s is below low, which is %s: endpoints would be added and let go at once", digits(high), digits(low))
	}
}
