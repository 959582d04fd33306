package resource_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	pickfirstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/pick_first/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
)

// maybe is nil now and then.
func maybe[T any](r *rand.Rand, v *T) *T {
	if chance(r, 2) {
		return nil
	}
	return v
}

// seldom is nil mostly, so that a message of many fields has few of them.
func seldom[T any](r *rand.Rand, v *T) *T {
	if !chance(r, 4) {
		return nil
	}
	return v
}

func randomDuration(r *rand.Rand) *durationpb.Duration {
	if chance(r, 10) {
		return durationpb.New(pick(r, []time.Duration{0, -1, -time.Hour, 1, 25 * time.Hour, math.MaxInt64}))
	}
	return durationpb.New(time.Duration(1 + r.Int64N(int64(time.Minute))))
}

func randomNumber(r *rand.Rand, most float64) float64 {
	if chance(r, 10) {
		return pick(r, []float64{-1, math.NaN(), math.Inf(1), math.MaxFloat64, math.SmallestNonzeroFloat64})
	}
	return r.Float64() * most
}

func randomCount(r *rand.Rand, most uint32) uint32 {
	if chance(r, 20) {
		return pick(r, []uint32{1, most + 1, math.MaxUint32})
	}
	return r.Uint32N(most + 1)
}

// randomPolicies is a list as a control plane writes it, or nearly: the mesh's own
// policy, one that nobody knows, and standard ones.
func randomPolicies(t testing.TB, r *rand.Rand) *clusterv3.LoadBalancingPolicy {
	t.Helper()
	var list []proto.Message
	if chance(r, 3) {
		list = append(list, randomBalancing(r))
	}
	if chance(r, 4) {
		list = append(list, wrapperspb.Bool(true))
	}
	for range 1 + r.IntN(2) {
		if chance(r, 3) {
			m := weighing(t, randomStandardPolicy(r))
			if chance(r, 8) {
				m = weighing(t, m)
			}
			list = append(list, m)
			continue
		}
		list = append(list, randomStandardPolicy(r))
	}
	for _, m := range list {
		if chance(r, 6) { // inside the Any
			mutate(r, m)
		}
	}
	return listed(t, list...)
}

func randomStandardPolicy(r *rand.Rand) proto.Message {
	var m proto.Message
	switch r.IntN(5) {
	case 0:
		m = &roundv3.RoundRobin{}
	case 1:
		m = drawing(randomCount(r, 12))
	case 2:
		m = &ringv3.RingHash{
			HashFunction:    pick(r, []ringv3.RingHash_HashFunction{ringv3.RingHash_XX_HASH, ringv3.RingHash_XX_HASH, ringv3.RingHash_DEFAULT_HASH}),
			MinimumRingSize: maybe(r, wrapperspb.UInt64(r.Uint64N(9<<20))), MaximumRingSize: maybe(r, wrapperspb.UInt64(r.Uint64N(9<<20))),
		}
	case 3:
		m = &cswrrv3.ClientSideWeightedRoundRobin{
			BlackoutPeriod: maybe(r, randomDuration(r)), WeightUpdatePeriod: maybe(r, randomDuration(r)),
			ErrorUtilizationPenalty: maybe(r, wrapperspb.Float(float32(randomNumber(r, 2)))),
		}
	default:
		m = &pickfirstv3.PickFirst{}
		if !chance(r, 4) {
			m = &roundv3.RoundRobin{}
		}
	}
	if chance(r, 8) {
		mutate(r, m)
	}
	return m
}

func randomLBPolicy(r *rand.Rand, m *clusterv3.Cluster) {
	switch r.IntN(3) {
	case 0:
		m.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		m.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{
			ChoiceCount: maybe(r, wrapperspb.UInt32(r.Uint32N(12))),
		}}
	case 1:
		m.LbPolicy = clusterv3.Cluster_RING_HASH
		m.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
			HashFunction:    clusterv3.Cluster_RingHashLbConfig_HashFunction(r.IntN(10) / 9),
			MinimumRingSize: maybe(r, wrapperspb.UInt64(r.Uint64N(5_000))),
		}}
	}
}

func randomOutlier(r *rand.Rand) *clusterv3.OutlierDetection {
	share := func() *wrapperspb.UInt32Value {
		return maybe(r, wrapperspb.UInt32(pick(r, []uint32{0, 0, 100, 100, 100, 50, 101})))
	}
	return &clusterv3.OutlierDetection{
		Interval: seldom(r, randomDuration(r)), BaseEjectionTime: seldom(r, randomDuration(r)), MaxEjectionTime: seldom(r, randomDuration(r)),
		MaxEjectionPercent: share(), EnforcingSuccessRate: share(), EnforcingFailurePercentage: share(), FailurePercentageThreshold: share(),
		SuccessRateStdevFactor: maybe(r, wrapperspb.UInt32(r.Uint32N(4_000))),
	}
}

func randomRetryPolicy(r *rand.Rand) *routev3.RetryPolicy {
	m := &routev3.RetryPolicy{RetryOn: pick(r, []string{"", "unavailable", "cancelled, internal", "UNAVAILABLE,", "5xx,unavailable"})}
	if chance(r, 2) {
		m.NumRetries = wrapperspb.UInt32(r.Uint32N(8))
	}
	if chance(r, 2) {
		m.RetryBackOff = backOff(maybe(r, randomDuration(r)), seldom(r, randomDuration(r)))
	}
	return m
}

func randomHashPolicies(r *rand.Rand) []*routev3.RouteAction_HashPolicy {
	var list []*routev3.RouteAction_HashPolicy
	for range 1 + r.IntN(8)/7 {
		m := byHeader(pick(r, poolHeaders))
		m.Terminal = chance(r, 2)
		switch r.IntN(10) {
		case 0:
			m.GetHeader().RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: pick(r, []string{"a", "(", ".*"})}}
		case 1:
			m.PolicySpecifier = &routev3.RouteAction_HashPolicy_FilterState_{
				FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: pick(r, []string{"io.grpc.channel_id", "x"})},
			}
		}
		list = append(list, m)
	}
	return list
}

func randomBreaker(r *rand.Rand) *policyv1.Breaker {
	return &policyv1.Breaker{
		Disabled: chance(r, 10), ConsecutiveFailures: randomCount(r, 10), MinPenalty: seldom(r, randomDuration(r)), MaxPenalty: seldom(r, randomDuration(r)),
		Jitter: new(randomNumber(r, 1)), SuccessRate: randomNumber(r, 1), Window: seldom(r, randomDuration(r)), MinRequests: randomCount(r, 10), Codes: randomCodes(r),
	}
}

func randomCodes(r *rand.Rand) []uint32 {
	var codes []uint32
	for range r.IntN(4) {
		codes = append(codes, 1+r.Uint32N(16))
	}
	if chance(r, 20) {
		codes = append(codes, pick(r, []uint32{0, 17, math.MaxUint32}))
	}
	return codes
}

func randomBalancing(r *rand.Rand) *policyv1.Balancing {
	return &policyv1.Balancing{
		Policy:   policyv1.Balancing_Policy(r.IntN(6)),
		PeakEwma: seldom(r, &policyv1.PeakEWMA{DefaultRtt: seldom(r, randomDuration(r)), Decay: seldom(r, randomDuration(r)), FailurePenalty: maybe(r, randomDuration(r))}),
		Choices:  pick(r, []uint32{0, 2, 3, 10}),
		RingHash: seldom(r, &policyv1.RingHash{MinRingSize: randomCount(r, 5_000), MaxRingSize: randomCount(r, 65_536)}),
		WeightedRoundRobin: seldom(r, &policyv1.WeightedRoundRobin{
			BlackoutPeriod: maybe(r, randomDuration(r)), WeightUpdatePeriod: seldom(r, randomDuration(r)), ErrorUtilizationPenalty: new(randomNumber(r, 2)),
		}),
		SlowStart: seldom(r, &policyv1.SlowStart{Window: maybe(r, randomDuration(r)), Aggression: randomNumber(r, 3), MinWeightPercent: randomCount(r, 100)}),
		Breaker:   seldom(r, randomBreaker(r)),
		OutlierDetection: seldom(r, &policyv1.OutlierDetection{
			Interval: maybe(r, randomDuration(r)), SuccessRate: maybe(r, &policyv1.OutlierDetection_SuccessRate{StdevFactor: randomCount(r, 3_000)}),
			FailurePercentage: maybe(r, &policyv1.OutlierDetection_FailurePercentage{Threshold: randomCount(r, 100)}),
		}),
		MaxEjectedPercent: randomCount(r, 100), MaxRequestsPerEndpoint: r.Uint32(), Subset: r.Uint32N(10),
		Zone:         seldom(r, &policyv1.Zone{Mode: policyv1.Zone_Mode(r.IntN(3)), Low: randomNumber(r, 1), High: randomNumber(r, 3)}),
		MaxStreamAge: seldom(r, randomDuration(r)),
	}
}

func randomTraffic(r *rand.Rand) *policyv1.Traffic {
	m := &policyv1.Traffic{
		Retry: maybe(r, &policyv1.Retry{
			Codes: randomCodes(r), Attempts: r.Uint32N(6), PerTryTimeout: seldom(r, randomDuration(r)), BackoffBase: seldom(r, randomDuration(r)),
			BackoffMax: seldom(r, randomDuration(r)), Idempotent: chance(r, 2), BufferBytes: randomCount(r, 64<<20),
		}),
		RetryBudget: seldom(r, &policyv1.RetryBudget{Percent: new(randomNumber(r, 100)), MinPerSecond: new(randomNumber(r, 100)), Window: seldom(r, randomDuration(r))}),
		Hedge:       seldom(r, &policyv1.Hedge{Delay: maybe(r, randomDuration(r)), Quantile: randomNumber(r, 0.99), Attempts: pick(r, []uint32{0, 2, 5})}),
		RateLimit:   seldom(r, &policyv1.Rate{PerSecond: randomNumber(r, 1e6), Burst: randomCount(r, 100)}),
		Breaker:     seldom(r, randomBreaker(r)),
		IdleTimeout: seldom(r, randomDuration(r)), HopCost: seldom(r, randomDuration(r)),
		HashHeader: pick(r, []string{"", "", "x-a", "x-b"}),
	}
	for range r.IntN(3) {
		m.Mirrors = append(m.Mirrors, &policyv1.Mirror{Cluster: "fixed", PerMillion: randomCount(r, 1_000_000), Timeout: seldom(r, randomDuration(r))})
	}
	if chance(r, 3) {
		name := func() string { return pick(r, []string{"x-a", "x-b", "x-c", "x_d", "x.e"}) }
		m.Headers = &policyv1.Headers{Set: headers(name(), pick(r, poolTexts[:6])), Add: headers(name(), ""), Remove: []string{name()}}
	}
	return m
}

func randomAdmission(r *rand.Rand) *policyv1.Admission {
	m := &policyv1.Admission{
		Concurrency: seldom(r, &policyv1.Concurrency{Limit: randomCount(r, 50), Adaptive: chance(r, 2), Min: r.Uint32N(3), Max: randomCount(r, 1_000), Tolerance: randomNumber(r, 3)}),
		Fault: seldom(r, &policyv1.Fault{
			Delay: maybe(r, randomDuration(r)), DelayPerMillion: randomCount(r, 1_000_000), AbortCode: 1 + r.Uint32N(16), AbortPerMillion: randomCount(r, 1_000_000),
		}),
	}
	for range r.IntN(3) {
		l := &policyv1.RateLimit{
			Name: pick(r, []string{"a", "b", "c", "d", "e"}), Per: policyv1.RateLimit_Per(r.IntN(5)),
			Rate: &policyv1.Rate{PerSecond: 1 + randomNumber(r, 100), Burst: randomCount(r, 100)},
		}
		if l.GetPer() == policyv1.RateLimit_PER_METADATA {
			l.MetadataKey = "x-a"
		}
		if chance(r, 2) {
			l.Methods, l.Callers = []string{pick(r, poolMethods[:3]), "/shop.Cart/*"}, []string{pick(r, poolIDs)}
		}
		m.RateLimits = append(m.RateLimits, l)
	}
	return m
}
