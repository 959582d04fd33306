package resource_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func own(changes ...func(*resource.Balancing)) resource.Balancing {
	b := resource.DefaultBalancing()
	for _, change := range changes {
		change(&b)
	}
	return b
}

func TestTheMeshsOwnBalancingIsDecoded(t *testing.T) {
	second := durationpb.New(time.Second)
	for _, tt := range []struct {
		name string
		in   *policyv1.Balancing
		want resource.Balancing
	}{
		{"of nothing has the defaults", &policyv1.Balancing{}, own()},
		{
			"of empty parts has the defaults",
			&policyv1.Balancing{
				PeakEwma: &policyv1.PeakEWMA{}, RingHash: &policyv1.RingHash{}, WeightedRoundRobin: &policyv1.WeightedRoundRobin{},
				SlowStart: &policyv1.SlowStart{}, Breaker: &policyv1.Breaker{}, Zone: &policyv1.Zone{},
			},
			own(),
		},
		{
			"with all of it",
			&policyv1.Balancing{
				Policy:   policyv1.Balancing_POLICY_LEAST_REQUEST,
				PeakEwma: &policyv1.PeakEWMA{DefaultRtt: second, Decay: second, FailurePenalty: second, Utilization: true},
				Choices:  10,
				RingHash: &policyv1.RingHash{MinRingSize: 1, MaxRingSize: 65_536},
				WeightedRoundRobin: &policyv1.WeightedRoundRobin{
					BlackoutPeriod: second, WeightExpirationPeriod: second, WeightUpdatePeriod: second, ErrorUtilizationPenalty: proto.Float64(2),
				},
				SlowStart: &policyv1.SlowStart{Window: second, Aggression: 2, MinWeightPercent: 100},
				Breaker: &policyv1.Breaker{
					ConsecutiveFailures: 3, MinPenalty: second, MaxPenalty: second, Jitter: proto.Float64(1), SuccessRate: 0.8, Window: second, MinRequests: 9, Codes: []uint32{14, 8},
				},
				OutlierDetection: &policyv1.OutlierDetection{
					Interval: second, BaseEjectionTime: second, MaxEjectionTime: second,
					SuccessRate:       &policyv1.OutlierDetection_SuccessRate{StdevFactor: 1, MinimumHosts: 2, RequestVolume: 3},
					FailurePercentage: &policyv1.OutlierDetection_FailurePercentage{Threshold: 4, MinimumHosts: 5, RequestVolume: 6},
				},
				MaxEjectedPercent: 100, MaxRequestsPerEndpoint: 7, Subset: 8,
				Zone:         &policyv1.Zone{Mode: policyv1.Zone_MODE_SPREAD, Low: 1, High: 1},
				MaxStreamAge: second,
			},
			resource.Balancing{
				Policy:             resource.LeastRequest,
				PeakEWMA:           resource.PeakEWMAConfig{DefaultRTT: time.Second, Decay: time.Second, FailurePenalty: time.Second, Utilization: true},
				Choices:            10,
				RingHash:           resource.RingHashConfig{MinSize: 1, MaxSize: 65_536},
				WeightedRoundRobin: resource.WeightedRoundRobinConfig{BlackoutPeriod: time.Second, WeightExpirationPeriod: time.Second, WeightUpdatePeriod: time.Second, ErrorUtilizationPenalty: 2},
				SlowStart:          resource.SlowStart{Window: time.Second, Aggression: 2, MinWeightPercent: 100},
				Breaker: &resource.Breaker{
					ConsecutiveFailures: 3, MinPenalty: time.Second, MaxPenalty: time.Second, Jitter: 1, SuccessRate: 0.8, Window: time.Second, MinRequests: 9,
					Codes: resource.Codes(8, 14),
				},
				Outlier: &resource.OutlierDetection{
					Interval: time.Second, BaseEjectionTime: time.Second, MaxEjectionTime: time.Second,
					SuccessRate:       &resource.OutlierSuccessRate{StdevFactor: 1, MinimumHosts: 2, RequestVolume: 3},
					FailurePercentage: &resource.OutlierFailurePercentage{Threshold: 4, MinimumHosts: 5, RequestVolume: 6},
				},
				MaxEjectedPercent: 100, MaxRequestsPerEndpoint: 7, Subset: 8, Zone: resource.Zone{Low: 1, High: 1}, MaxStreamAge: time.Second,
			},
		},
		{
			"durations of zero are zero",
			&policyv1.Balancing{
				PeakEwma:           &policyv1.PeakEWMA{FailurePenalty: durationpb.New(0)},
				WeightedRoundRobin: &policyv1.WeightedRoundRobin{BlackoutPeriod: durationpb.New(0)},
			},
			own(func(b *resource.Balancing) { b.PeakEWMA.FailurePenalty, b.WeightedRoundRobin.BlackoutPeriod = 0, 0 }),
		},
		{"without a breaker", &policyv1.Balancing{Breaker: &policyv1.Breaker{Disabled: true}}, own(func(b *resource.Balancing) { b.Breaker = nil })},
		{
			"of two bounds of which one is not set that one gives way",
			&policyv1.Balancing{
				RingHash: &policyv1.RingHash{MinRingSize: 5_000},
				Breaker:  &policyv1.Breaker{MinPenalty: durationpb.New(time.Hour)},
				Zone:     &policyv1.Zone{Low: 3},
			},
			own(func(b *resource.Balancing) {
				b.RingHash = resource.RingHashConfig{MinSize: 5_000, MaxSize: 5_000}
				b.Breaker.MinPenalty, b.Breaker.MaxPenalty = time.Hour, time.Hour
				b.Zone.Low, b.Zone.High = 3, 3
			}),
		},
		{
			"the other one as well",
			&policyv1.Balancing{
				RingHash: &policyv1.RingHash{MaxRingSize: 10},
				Breaker:  &policyv1.Breaker{MaxPenalty: durationpb.New(time.Millisecond)},
				Zone:     &policyv1.Zone{High: 0.5},
			},
			own(func(b *resource.Balancing) {
				b.RingHash = resource.RingHashConfig{MinSize: 10, MaxSize: 10}
				b.Breaker.MinPenalty, b.Breaker.MaxPenalty = time.Millisecond, time.Millisecond
				b.Zone.Low, b.Zone.High = 0.5, 0.5
			}),
		},
		{
			"outlier detection of empty parts has the defaults of gRFC A50",
			&policyv1.Balancing{OutlierDetection: &policyv1.OutlierDetection{
				SuccessRate: &policyv1.OutlierDetection_SuccessRate{}, FailurePercentage: &policyv1.OutlierDetection_FailurePercentage{},
			}},
			own(func(b *resource.Balancing) {
				b.Outlier = &resource.OutlierDetection{
					Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 5 * time.Minute,
					SuccessRate:       &resource.OutlierSuccessRate{StdevFactor: 1900, MinimumHosts: 5, RequestVolume: 100},
					FailurePercentage: &resource.OutlierFailurePercentage{Threshold: 85, MinimumHosts: 5, RequestVolume: 50},
				}
			}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resource.DecodeCluster(encode(t, balancedBy(t, tt.in)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Balancing); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}

func TestTheMeshsOwnPoliciesAreNamed(t *testing.T) {
	for in, want := range map[policyv1.Balancing_Policy]resource.Policy{
		policyv1.Balancing_POLICY_PEAK_EWMA:            resource.PeakEWMA,
		policyv1.Balancing_POLICY_ROUND_ROBIN:          resource.RoundRobin,
		policyv1.Balancing_POLICY_LEAST_REQUEST:        resource.LeastRequest,
		policyv1.Balancing_POLICY_RING_HASH:            resource.RingHash,
		policyv1.Balancing_POLICY_WEIGHTED_ROUND_ROBIN: resource.WeightedRoundRobin,
	} {
		got, err := resource.DecodeCluster(encode(t, balancedBy(t, &policyv1.Balancing{Policy: in})))
		if err != nil || got.Balancing.Policy != want || got.Balancing.Standard {
			t.Errorf("%v: got %+v and %v", in, got, err)
		}
	}
}

func TestTheMeshsOwnBalancingIsRefused(t *testing.T) {
	negative, long := durationpb.New(-time.Second), durationpb.New(24*time.Hour+1)
	breaker := func(m *policyv1.Breaker) *policyv1.Balancing { return &policyv1.Balancing{Breaker: m} }
	outlier := func(m *policyv1.OutlierDetection) *policyv1.Balancing {
		return &policyv1.Balancing{OutlierDetection: m}
	}
	for _, tt := range []struct {
		name string
		in   *policyv1.Balancing
		want string
	}{
		{"of a newer policy", &policyv1.Balancing{Policy: 99}, "policy: 99 is not known to this version"},
		{"with a first guess of zero", &policyv1.Balancing{PeakEwma: &policyv1.PeakEWMA{DefaultRtt: durationpb.New(0)}}, "peak_ewma.default_rtt: must be above zero"},
		{"with a negative decay", &policyv1.Balancing{PeakEwma: &policyv1.PeakEWMA{Decay: negative}}, "peak_ewma.decay: is negative: -1s"},
		{"with an absurd penalty", &policyv1.Balancing{PeakEwma: &policyv1.PeakEWMA{FailurePenalty: long}}, "peak_ewma.failure_penalty: is 24h0m0.000000001s, at most 24h0m0s is accepted"},
		{"with one choice", &policyv1.Balancing{Choices: 1}, "choices: is 1, it must be 2 to 10"},
		{"with eleven choices", &policyv1.Balancing{Choices: 11}, "choices: is 11, it must be 2 to 10"},
		{"with too large a ring", &policyv1.Balancing{RingHash: &policyv1.RingHash{MaxRingSize: 65_537}}, "ring_hash.max_ring_size: is 65537, it must be 1 to 65536"},
		{"with a ring's bounds crossed", &policyv1.Balancing{RingHash: &policyv1.RingHash{MinRingSize: 3, MaxRingSize: 2}}, "ring_hash.max_ring_size: is 2, below min_ring_size of 3"},
		{
			"with weights too often", &policyv1.Balancing{WeightedRoundRobin: &policyv1.WeightedRoundRobin{WeightUpdatePeriod: durationpb.New(time.Millisecond)}},
			"weighted_round_robin.weight_update_period: is 1ms, it must be at least 100ms",
		},
		{
			"with an infinite penalty", &policyv1.Balancing{WeightedRoundRobin: &policyv1.WeightedRoundRobin{ErrorUtilizationPenalty: new(math.Inf(1))}},
			"weighted_round_robin.error_utilization_penalty: is +Inf, it must be 0 to 1000",
		},
		{"with a slow start of no number", &policyv1.Balancing{SlowStart: &policyv1.SlowStart{Aggression: math.NaN()}}, "slow_start.aggression: is NaN, it must be 0.01 to 100"},
		{"with a slow start from above all", &policyv1.Balancing{SlowStart: &policyv1.SlowStart{MinWeightPercent: 101}}, "slow_start.min_weight_percent: is 101, it must be 1 to 100"},
		{"with a slow start that ends before it begins", &policyv1.Balancing{SlowStart: &policyv1.SlowStart{Window: negative}}, "slow_start.window: is negative"},
		{"with a code that is no failure", breaker(&policyv1.Breaker{Codes: []uint32{14, 0}}), "breaker.codes[1]: 0 is no status code of a failure: want 1 to 16"},
		{"with an unknown code", breaker(&policyv1.Breaker{Codes: []uint32{17}}), "breaker.codes[0]: 17 is no status code"},
		{"with a rate above all", breaker(&policyv1.Breaker{SuccessRate: 1.1}), "breaker.success_rate: is 1.1, it must be 0 to 1"},
		{"with negative jitter", breaker(&policyv1.Breaker{Jitter: new(-0.5)}), "breaker.jitter: is -0.5, it must be 0 to 100"},
		{"with a breaker's bounds crossed", breaker(&policyv1.Breaker{MinPenalty: durationpb.New(2), MaxPenalty: durationpb.New(1)}), "breaker.max_penalty: is 1ns, below min_penalty of 2ns"},
		{"with no window", breaker(&policyv1.Breaker{Window: durationpb.New(0)}), "breaker.window: is 0s, it must be at least 1ms"},
		{"with endless failures", breaker(&policyv1.Breaker{ConsecutiveFailures: 1_000_001}), "breaker.consecutive_failures: is 1000001, it must be 1 to 1000000"},
		{"with a breaker that is off, and wrong", breaker(&policyv1.Breaker{Disabled: true, Jitter: new(math.NaN())}), "breaker.jitter: is NaN"},
		{"with detection without a pause", outlier(&policyv1.OutlierDetection{Interval: durationpb.New(1)}), "outlier_detection.interval: is 1ns, it must be at least 10ms"},
		{
			"with detection of more than all", outlier(&policyv1.OutlierDetection{FailurePercentage: &policyv1.OutlierDetection_FailurePercentage{Threshold: 101}}),
			"outlier_detection.failure_percentage.threshold: is 101, it must be 1 to 100",
		},
		{
			"with detection among too many", outlier(&policyv1.OutlierDetection{SuccessRate: &policyv1.OutlierDetection_SuccessRate{MinimumHosts: 100_001}}),
			"outlier_detection.success_rate.minimum_hosts: is 100001, it must be 1 to 100000",
		},
		{"with more than all ejected", &policyv1.Balancing{MaxEjectedPercent: 101}, "max_ejected_percent: is 101, it must be 1 to 100"},
		{"with a newer mode of zones", &policyv1.Balancing{Zone: &policyv1.Zone{Mode: 9}}, "zone.mode: 9 is not known to this version"},
		{"with a band upside down", &policyv1.Balancing{Zone: &policyv1.Zone{Low: 2, High: 1}}, "zone.high: is 1, below low of 2"},
		{"with a negative band", &policyv1.Balancing{Zone: &policyv1.Zone{Low: -1}}, "zone.low: is -1, it must be 0 to 1e+09"},
		{"with a band of no number", &policyv1.Balancing{Zone: &policyv1.Zone{High: math.NaN()}}, "zone.high: is NaN"},
		{"with streams of a negative age", &policyv1.Balancing{MaxStreamAge: negative}, "max_stream_age: is negative"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.ClusterType, balancedBy(t, tt.in),
				`Cluster "voting": load_balancing_policy.policies[0].typed_extension_config.typed_config.`+tt.want)
		})
	}
}
