package resource_test

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestOutlierDetectionIsDecoded(t *testing.T) {
	rate := &resource.OutlierSuccessRate{StdevFactor: 1900, MinimumHosts: 5, RequestVolume: 100}
	want := func(s *resource.OutlierSuccessRate, f *resource.OutlierFailurePercentage) *resource.OutlierDetection {
		return &resource.OutlierDetection{
			Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 5 * time.Minute, SuccessRate: s, FailurePercentage: f,
		}
	}
	for _, tt := range []struct {
		name    string
		in      *clusterv3.OutlierDetection
		own     *policyv1.Balancing // nil for a standard policy
		want    *resource.OutlierDetection
		ejected uint32
	}{
		{"none is none", nil, nil, nil, 50},
		{"one of nothing is by success rate (gRFC A50)", &clusterv3.OutlierDetection{}, nil, want(rate, nil), 10},
		{
			"all of it",
			&clusterv3.OutlierDetection{
				Interval: durationpb.New(time.Second), BaseEjectionTime: durationpb.New(0), MaxEjectionTime: durationpb.New(2 * time.Second),
				MaxEjectionPercent:   wrapperspb.UInt32(100),
				EnforcingSuccessRate: wrapperspb.UInt32(100), SuccessRateStdevFactor: wrapperspb.UInt32(0),
				SuccessRateMinimumHosts: wrapperspb.UInt32(1), SuccessRateRequestVolume: wrapperspb.UInt32(2),
				EnforcingFailurePercentage: wrapperspb.UInt32(100), FailurePercentageThreshold: wrapperspb.UInt32(0),
				FailurePercentageMinimumHosts: wrapperspb.UInt32(3), FailurePercentageRequestVolume: wrapperspb.UInt32(4),
			},
			nil,
			&resource.OutlierDetection{
				Interval: time.Second, MaxEjectionTime: 2 * time.Second,
				SuccessRate:       &resource.OutlierSuccessRate{MinimumHosts: 1, RequestVolume: 2},
				FailurePercentage: &resource.OutlierFailurePercentage{MinimumHosts: 3, RequestVolume: 4},
			},
			100,
		},
		{
			"algorithms that are not enforced are off, and those that are have defaults",
			&clusterv3.OutlierDetection{EnforcingSuccessRate: wrapperspb.UInt32(0), EnforcingFailurePercentage: wrapperspb.UInt32(100)},
			nil,
			want(nil, &resource.OutlierFailurePercentage{Threshold: 85, MinimumHosts: 5, RequestVolume: 50}),
			10,
		},
		{"the mesh's own without one has the standard one", &clusterv3.OutlierDetection{}, &policyv1.Balancing{}, want(rate, nil), 50},
		{
			"the mesh's own goes before the standard one",
			&clusterv3.OutlierDetection{MaxEjectionPercent: wrapperspb.UInt32(1)},
			&policyv1.Balancing{OutlierDetection: &policyv1.OutlierDetection{Interval: durationpb.New(time.Second)}, MaxEjectedPercent: 20},
			&resource.OutlierDetection{Interval: time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 5 * time.Minute},
			20,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := cluster(func(m *clusterv3.Cluster) { m.OutlierDetection = tt.in })
			if tt.own != nil {
				m.LoadBalancingPolicy = listed(t, tt.own)
			}
			got, err := resource.DecodeCluster(encode(t, m))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Balancing.Outlier); diff != "" || got.Balancing.MaxEjectedPercent != tt.ejected {
				t.Errorf("%d %% may be out, want %d; want - got +\n%s", got.Balancing.MaxEjectedPercent, tt.ejected, diff)
			}
		})
	}
}

func TestOutlierDetectionIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   *clusterv3.OutlierDetection
		want string
	}{
		{"with a negative interval", &clusterv3.OutlierDetection{Interval: durationpb.New(-1)}, "interval: is negative"},
		{"without a pause", &clusterv3.OutlierDetection{Interval: durationpb.New(0)}, "interval: is 0s, it must be at least 10ms"},
		{"with an interval that is none", &clusterv3.OutlierDetection{Interval: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "interval: is no valid duration"},
		{"with a negative time", &clusterv3.OutlierDetection{BaseEjectionTime: durationpb.New(-1)}, "base_ejection_time: is negative"},
		{"with an absurd time", &clusterv3.OutlierDetection{MaxEjectionTime: durationpb.New(25 * time.Hour)}, "max_ejection_time: is 25h0m0s, at most 24h0m0s is accepted"},
		{"of more than all", &clusterv3.OutlierDetection{MaxEjectionPercent: wrapperspb.UInt32(101)}, "max_ejection_percent: is 101, at most 100 is accepted"},
		{"with more than all failures", &clusterv3.OutlierDetection{FailurePercentageThreshold: wrapperspb.UInt32(101)}, "failure_percentage_threshold: is 101, at most 100 is accepted"},
		{"of some by success rate", &clusterv3.OutlierDetection{EnforcingSuccessRate: wrapperspb.UInt32(50)}, "enforcing_success_rate: is 50, it must be 0 or 100"},
		{"of some by failures", &clusterv3.OutlierDetection{EnforcingFailurePercentage: wrapperspb.UInt32(101)}, "enforcing_failure_percentage: is 101, it must be 0 or 100"},
		{"by errors in a row", &clusterv3.OutlierDetection{Consecutive_5Xx: wrapperspb.UInt32(5)}, "consecutive_5xx: is not what gRPC ejects by"},
		{"with jitter", &clusterv3.OutlierDetection{MaxEjectionTimeJitter: durationpb.New(1)}, "max_ejection_time_jitter: is not supported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := cluster(func(m *clusterv3.Cluster) { m.OutlierDetection = tt.in })
			wantRefused(t, resource.ClusterType, m, `Cluster "voting": outlier_detection.`+tt.want)
			m.LoadBalancingPolicy = listed(t, &policyv1.Balancing{OutlierDetection: &policyv1.OutlierDetection{}})
			wantRefused(t, resource.ClusterType, m, "outlier_detection."+tt.want) // also where it is not what counts
		})
	}
}
