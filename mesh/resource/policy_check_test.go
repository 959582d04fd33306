package resource_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const policyTypes = "type.googleapis.com/tulle.policy.v1."

// FuzzDecodeBalancing, FuzzDecodeTraffic and FuzzDecodeAdmission are about what
// stands inside an Any, which fuzzers of the whole resource seldom come to.
func FuzzDecodeBalancing(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(encode(f, randomBalancing(rand.New(rand.NewPCG(seed, 8)))))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		m := cluster(func(m *clusterv3.Cluster) {
			m.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
				TypedExtensionConfig: &corev3.TypedExtensionConfig{TypedConfig: &anypb.Any{TypeUrl: policyTypes + "Balancing", Value: value}},
			}}}
		})
		if c, err := resource.DecodeCluster(encode(t, m)); err == nil {
			checkBalancing(t, &c.Balancing)
		}
	})
}

func FuzzDecodeTraffic(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(encode(f, randomTraffic(rand.New(rand.NewPCG(seed, 9)))))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := resource.DecodeRouteConfiguration(encode(t, routes(to("voting", func(r *routev3.Route) {
			r.TypedPerFilterConfig = map[string]*anypb.Any{resource.TrafficFilter: {TypeUrl: policyTypes + "Traffic", Value: value}}
		}))))
		if err == nil {
			checkTraffic(t, c.VirtualHosts[0].Routes[0].Traffic)
		}
	})
}

func FuzzDecodeAdmission(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(encode(f, randomAdmission(rand.New(rand.NewPCG(seed, 10)))))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		r := inboundRoute(t, "/", nil, nil)
		r.TypedPerFilterConfig = map[string]*anypb.Any{resource.AdmissionFilter: {TypeUrl: policyTypes + "Admission", Value: value}}
		if c, err := resource.DecodeRouteConfiguration(encode(t, routes(r))); err == nil {
			checkAdmission(t, c.VirtualHosts[0].Routes[0].Admission)
		}
	})
}

// TestRandomPoliciesAreAccepted keeps the seeds of the fuzzers and of the
// comparison with grpc-go worth something: most of them are to be refused, if for
// anything, for one thing.
func TestRandomPoliciesAreAccepted(t *testing.T) {
	accepted := map[string]int{}
	const rounds = 1_000
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 11))
		if c, err := resource.DecodeCluster(encode(t, balancedBy(t, randomBalancing(r)))); err == nil {
			checkBalancing(t, &c.Balancing)
			accepted["balancing"]++
		}
		if c, err := resource.DecodeRouteConfiguration(encode(t, routes(doing(t, randomTraffic(r))))); err == nil {
			checkTraffic(t, c.VirtualHosts[0].Routes[0].Traffic)
			accepted["traffic"]++
		}
		if c, err := resource.DecodeRouteConfiguration(encode(t, routes(taking(t, randomAdmission(r))))); err == nil {
			checkAdmission(t, c.VirtualHosts[0].Routes[0].Admission)
			accepted["admission"]++
		}
	}
	t.Logf("of %d each are accepted: %v", rounds, accepted)
	for what, n := range accepted {
		if n < rounds/5 || n > rounds*19/20 {
			t.Errorf("%d of %d are accepted of %s: too few or too many to tell", n, rounds, what)
		}
	}
}

// within compares with numbers that are no number in mind.
func within(v, least, most float64) bool { return v >= least && v <= most }

func lasts(d, least time.Duration) bool { return d >= least && d <= 24*time.Hour }

func checkBalancing(t *testing.T, b *resource.Balancing) {
	t.Helper()
	c := b.WeightedRoundRobin
	switch {
	case b.Policy == "", b.Standard && (b.Breaker != nil || b.Zone.Prefer), b.Standard && b.Policy == resource.PeakEWMA,
		!lasts(b.PeakEWMA.DefaultRTT, 1), !lasts(b.PeakEWMA.Decay, 1), !lasts(b.PeakEWMA.FailurePenalty, 0),
		b.Choices < 2, b.Choices > 10,
		b.RingHash.MinSize < 1, b.RingHash.MinSize > b.RingHash.MaxSize, b.RingHash.MaxSize > 1<<16,
		!lasts(c.BlackoutPeriod, 0), !lasts(c.WeightExpirationPeriod, 0), !lasts(c.WeightUpdatePeriod, 100*time.Millisecond),
		!within(c.ErrorUtilizationPenalty, 0, 3.5e38),
		!lasts(b.SlowStart.Window, 0), !within(b.SlowStart.Aggression, 0.01, 100), b.SlowStart.MinWeightPercent > 100,
		b.MaxEjectedPercent > 100, !lasts(b.MaxStreamAge, 0),
		!within(b.Zone.Low, 0, b.Zone.High), !within(b.Zone.High, 0, 1e9):
		t.Errorf("accepted the balancing %+v", b)
	}
	if b.Breaker != nil {
		checkBreaker(t, b.Breaker)
	}
	if o := b.Outlier; o != nil {
		if !lasts(o.Interval, 10*time.Millisecond) || !lasts(o.BaseEjectionTime, 0) || !lasts(o.MaxEjectionTime, 0) ||
			o.FailurePercentage != nil && o.FailurePercentage.Threshold > 100 {
			t.Errorf("accepted the outlier detection %+v", o)
		}
	}
}

func checkCodes(t *testing.T, codes resource.CodeSet) {
	t.Helper()
	if codes.Has(0) || codes >= 1<<17 {
		t.Errorf("accepted the codes %b", codes)
	}
}

func checkBreaker(t *testing.T, b *resource.Breaker) {
	t.Helper()
	checkCodes(t, b.Codes)
	if b.ConsecutiveFailures < 1 || !lasts(b.MinPenalty, 1) || !lasts(b.MaxPenalty, b.MinPenalty) || !within(b.Jitter, 0, 100) ||
		!within(b.SuccessRate, 0, 1) || !lasts(b.Window, time.Millisecond) || b.MinRequests < 1 || b.Codes == 0 {
		t.Errorf("accepted the breaker %+v", b)
	}
}

func checkTraffic(t *testing.T, m *resource.Traffic) {
	t.Helper()
	if m == nil {
		t.Fatal("accepted no traffic")
	}
	r := m.Retry
	if r == nil || r.Attempts < 1 || r.Attempts > resource.MaxAttempts || r.Codes == 0 && r.Attempts > 1 || !lasts(r.PerTryTimeout, 0) ||
		!lasts(r.BackoffBase, 1) || !lasts(r.BackoffMax, r.BackoffBase) || r.BufferBytes < 1 || r.BufferBytes > 64<<20 {
		t.Fatalf("accepted the retry %+v", r)
	}
	checkCodes(t, r.Codes)
	if !within(m.Budget.Percent, 0, 100) || !within(m.Budget.MinPerSecond, 0, 1e9) || !lasts(m.Budget.Window, 10*time.Millisecond) {
		t.Errorf("accepted the budget %+v", m.Budget)
	}
	if h := m.Hedge; h != nil && (!lasts(h.Delay, 0) || !within(h.Quantile, 0.001, 0.9999) || h.Attempts < 2 || h.Attempts > resource.MaxAttempts) {
		t.Errorf("accepted the hedge %+v", h)
	}
	for _, mirror := range m.Mirrors {
		if mirror.Cluster == "" || mirror.PerMillion > 1_000_000 || !lasts(mirror.Timeout, 1) || len(m.Mirrors) > 16 {
			t.Errorf("accepted the mirror %+v", mirror)
		}
	}
	if h := m.Headers; h != nil {
		names := slices.Clone(h.Remove)
		for _, v := range slices.Concat(h.Set, h.Add) {
			names = append(names, v.Name)
			if strings.HasSuffix(v.Name, "-bin") || strings.ContainsFunc(v.Value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("accepted the header %+v", v)
			}
		}
		if len(names) == 0 || len(names) > 64 || slices.ContainsFunc(names, badName) {
			t.Errorf("accepted the headers %q", names)
		}
	}
	if m.RateLimit != nil {
		checkRate(t, *m.RateLimit)
	}
	if m.Breaker != nil {
		checkBreaker(t, m.Breaker)
	}
	if !lasts(m.IdleTimeout, 0) || !lasts(m.HopCost, 0) || m.HashHeader != "" && badName(m.HashHeader) {
		t.Errorf("accepted the traffic %+v", m)
	}
}

func badName(name string) bool {
	return name == "" || strings.ToLower(name) != name || strings.HasPrefix(name, "grpc-") || strings.ContainsAny(name, ": \r\n")
}

func checkRate(t *testing.T, r resource.Rate) {
	t.Helper()
	if !within(r.PerSecond, 0, 1e9) || r.PerSecond == 0 || r.Burst < 1 || r.Burst > 1e9 {
		t.Errorf("accepted the rate %+v", r)
	}
}

func checkAdmission(t *testing.T, a *resource.Admission) {
	t.Helper()
	if a == nil || len(a.RateLimits) > 64 {
		t.Fatalf("accepted the admission %+v", a)
	}
	for _, l := range a.RateLimits {
		checkRate(t, l.Rate)
		if l.Name == "" || (l.Per == resource.PerMetadata) != (l.MetadataKey != "") || len(l.Methods) > 256 || len(l.Callers) > 256 {
			t.Errorf("accepted the limit %+v", l)
		}
	}
	if c := a.Concurrency; c != nil && (c.Limit < 1 || c.Adaptive && (c.Min < 1 || c.Limit < c.Min || c.Limit > c.Max || !(c.Tolerance > 1))) {
		t.Errorf("accepted the limit %+v", c)
	}
	checkFault(t, a.Fault)
	if a.Fault != nil && (a.Fault.DelayByHeader || a.Fault.AbortByHeader) {
		t.Errorf("accepted the fault %+v", a.Fault)
	}
}
