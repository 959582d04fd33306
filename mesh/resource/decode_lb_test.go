package resource_test

import (
	"math"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	cswrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	pickfirstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/pick_first/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// listed is a list of balancing policies.
func listed(t testing.TB, messages ...proto.Message) *clusterv3.LoadBalancingPolicy {
	t.Helper()
	list := &clusterv3.LoadBalancingPolicy{}
	for _, m := range messages {
		list.Policies = append(list.Policies, &clusterv3.LoadBalancingPolicy_Policy{TypedExtensionConfig: &corev3.TypedExtensionConfig{
			Name: string(m.ProtoReflect().Descriptor().Name()), TypedConfig: packed(t, m),
		}})
	}
	return list
}

// weighing are policies within localities by weight.
func weighing(t testing.TB, messages ...proto.Message) *wrrv3.WrrLocality {
	t.Helper()
	return &wrrv3.WrrLocality{EndpointPickingPolicy: listed(t, messages...)}
}

func balancedBy(t testing.TB, messages ...proto.Message) *clusterv3.Cluster {
	t.Helper()
	return cluster(func(m *clusterv3.Cluster) { m.LoadBalancingPolicy = listed(t, messages...) })
}

func ringOf(minimum, maximum uint64) *ringv3.RingHash {
	return &ringv3.RingHash{
		HashFunction: ringv3.RingHash_XX_HASH, MinimumRingSize: wrapperspb.UInt64(minimum), MaximumRingSize: wrapperspb.UInt64(maximum),
	}
}

func drawing(n uint32) *leastv3.LeastRequest {
	return &leastv3.LeastRequest{ChoiceCount: wrapperspb.UInt32(n)}
}

// standard is a standard policy with changes.
func standard(policy resource.Policy, changes ...func(*resource.Balancing)) resource.Balancing {
	b := resource.StandardBalancing(policy)
	for _, change := range changes {
		change(&b)
	}
	return b
}

func ring(minimum, maximum uint32) resource.Balancing {
	return standard(resource.RingHash, func(b *resource.Balancing) { b.RingHash = resource.RingHashConfig{MinSize: minimum, MaxSize: maximum} })
}

func choosing(n uint32) resource.Balancing {
	return standard(resource.LeastRequest, func(b *resource.Balancing) { b.Choices = n })
}

func TestBalancingIsDecoded(t *testing.T) {
	byLBPolicy := func(p clusterv3.Cluster_LbPolicy, changes ...func(*clusterv3.Cluster)) *clusterv3.Cluster {
		return cluster(append(changes, func(m *clusterv3.Cluster) { m.LbPolicy = p })...)
	}
	for _, tt := range []struct {
		name string
		in   *clusterv3.Cluster
		want resource.Balancing
	}{
		{"lb_policy of nothing is round robin", cluster(), standard(resource.RoundRobin)},
		{"lb_policy of least request draws 2", byLBPolicy(clusterv3.Cluster_LEAST_REQUEST), choosing(2)},
		{"lb_policy of least request may draw more", byLBPolicy(clusterv3.Cluster_LEAST_REQUEST, func(m *clusterv3.Cluster) {
			m.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{ChoiceCount: wrapperspb.UInt32(5)}}
		}), choosing(5)},
		{"lb_policy of ring hash", byLBPolicy(clusterv3.Cluster_RING_HASH), ring(1024, 4096)},
		{"lb_policy of ring hash with sizes", byLBPolicy(clusterv3.Cluster_RING_HASH, func(m *clusterv3.Cluster) {
			m.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
				MinimumRingSize: wrapperspb.UInt64(10), MaximumRingSize: wrapperspb.UInt64(20),
			}}
		}), ring(10, 20)},

		{"a list goes before lb_policy", cluster(func(m *clusterv3.Cluster) {
			m.LbPolicy, m.LoadBalancingPolicy = clusterv3.Cluster_RING_HASH, listed(t, weighing(t, &roundv3.RoundRobin{}))
		}), standard(resource.RoundRobin)},
		{"round robin within localities", balancedBy(t, weighing(t, &roundv3.RoundRobin{})), standard(resource.RoundRobin)},
		{"round robin", balancedBy(t, &roundv3.RoundRobin{}), standard(resource.RoundRobin)},
		{"least request within localities", balancedBy(t, weighing(t, &leastv3.LeastRequest{})), choosing(2)},
		{"least request of 10", balancedBy(t, drawing(10)), choosing(10)},
		{"least request of more than 10 draws 10 (gRFC A48)", balancedBy(t, drawing(math.MaxUint32)), choosing(10)},
		{"ring hash", balancedBy(t, &ringv3.RingHash{HashFunction: ringv3.RingHash_XX_HASH}), ring(1024, 4096)},
		{"ring hash with sizes", balancedBy(t, ringOf(10, 20)), ring(10, 20)},
		{"rings are capped (gRFC A42)", balancedBy(t, ringOf(5_000, 8<<20)), ring(4096, 4096)},
		{"rings of zero are as those of nothing", balancedBy(t, ringOf(0, 0)), ring(1024, 4096)},
		{"weighted round robin", balancedBy(t, weighing(t, &cswrrv3.ClientSideWeightedRoundRobin{})), standard(resource.WeightedRoundRobin)},
		{
			"weighted round robin with all of it, where zero is zero",
			balancedBy(t, &cswrrv3.ClientSideWeightedRoundRobin{
				EnableOobLoadReport: wrapperspb.Bool(false), BlackoutPeriod: durationpb.New(0), WeightExpirationPeriod: durationpb.New(time.Minute),
				WeightUpdatePeriod: durationpb.New(time.Millisecond), ErrorUtilizationPenalty: wrapperspb.Float(0),
			}),
			standard(resource.WeightedRoundRobin, func(b *resource.Balancing) {
				b.WeightedRoundRobin = resource.WeightedRoundRobinConfig{WeightExpirationPeriod: time.Minute, WeightUpdatePeriod: 100 * time.Millisecond}
			}),
		},
		{
			"what is not known is skipped, and what comes behind the first that is known is not read",
			balancedBy(t, wrapperspb.Bool(true), wrapperspb.Bool(true), drawing(3), ringOf(2, 1), drawing(0)),
			choosing(3),
		},
		{"the same within localities", balancedBy(t, weighing(t, wrapperspb.Bool(true), drawing(3), drawing(0))), choosing(3)},
		{"the mesh's own, with a standard one behind it", balancedBy(t, &policyv1.Balancing{}, weighing(t, drawing(2))), resource.DefaultBalancing()},
		{"a standard one before the mesh's own", balancedBy(t, drawing(2), &policyv1.Balancing{}), choosing(2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resource.DecodeCluster(encode(t, tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Balancing); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}

func TestBalancingIsRefused(t *testing.T) {
	const first = `Cluster "voting": load_balancing_policy.policies[0].typed_extension_config.typed_config`
	const within = first + ".endpoint_picking_policy.policies"
	wrr := func(change func(*cswrrv3.ClientSideWeightedRoundRobin)) *clusterv3.Cluster {
		m := &cswrrv3.ClientSideWeightedRoundRobin{}
		change(m)
		return balancedBy(t, m)
	}
	broken := listed(t, &roundv3.RoundRobin{})
	broken.Policies[0].TypedExtensionConfig.TypedConfig.Value = []byte{0xff}
	for _, tt := range []struct {
		name string
		in   *clusterv3.Cluster
		want string
	}{
		{"by lb_policy of least request that draws 1", cluster(func(m *clusterv3.Cluster) {
			m.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
			m.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{ChoiceCount: wrapperspb.UInt32(1)}}
		}), "least_request_lb_config.choice_count: is 1, it must be at least 2"},
		{"by lb_policy of least request with a bias", cluster(func(m *clusterv3.Cluster) {
			m.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
			m.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{ActiveRequestBias: &corev3.RuntimeDouble{}}}
		}), "least_request_lb_config.active_request_bias: is not supported"},
		{"by lb_policy of ring hash with another hash", cluster(func(m *clusterv3.Cluster) {
			m.LbPolicy = clusterv3.Cluster_RING_HASH
			m.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{HashFunction: clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2}}
		}), "ring_hash_lb_config.hash_function: MURMUR_HASH_2 is not supported; use XX_HASH"},
		{"by lb_policy with the settings of another", cluster(func(m *clusterv3.Cluster) {
			m.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{}}
		}), "ring_hash_lb_config: belongs to the lb_policy RING_HASH, which is not set"},
		{"by lb_policy with the settings of yet another", cluster(func(m *clusterv3.Cluster) {
			m.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{}}
		}), "least_request_lb_config: belongs to the lb_policy LEAST_REQUEST, which is not set"},
		{"by an lb_policy that a list overrules, and that grpc refuses", cluster(func(m *clusterv3.Cluster) {
			m.LbPolicy, m.LoadBalancingPolicy = clusterv3.Cluster_MAGLEV, listed(t, &roundv3.RoundRobin{})
		}), "lb_policy: MAGLEV is not supported"},

		{"by an empty list", balancedBy(t), "load_balancing_policy.policies: have none that is known here: add one of round_robin"},
		{"by a list of what is not known", balancedBy(t, wrapperspb.Bool(true)), "load_balancing_policy.policies: have none that is known here"},
		{"by an entry without a policy", cluster(func(m *clusterv3.Cluster) {
			m.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{}}}
		}), "load_balancing_policy.policies: have none that is known here"},
		{"by the first endpoint", balancedBy(t, &pickfirstv3.PickFirst{}, &roundv3.RoundRobin{}), first + ": is not done here: one endpoint would take every call"},
		{"by bytes that are no message", cluster(func(m *clusterv3.Cluster) { m.LoadBalancingPolicy = broken }), first + ": "},
		{"by localities with nothing in them", balancedBy(t, weighing(t)), within + ": have none that is known here"},
		{"by localities in localities", balancedBy(t, weighing(t, weighing(t, &roundv3.RoundRobin{}))), within + "[0].typed_extension_config.typed_config: stands in another WrrLocality"},
		{"by a ring within each locality", balancedBy(t, weighing(t, ringOf(1, 2))), within + "[0].typed_extension_config.typed_config: is not balanced within localities here"},
		{"by the mesh's own within each locality", balancedBy(t, weighing(t, &policyv1.Balancing{})), within + "[0].typed_extension_config.typed_config: is not balanced within localities here"},
		{"by the least of 1", balancedBy(t, drawing(1)), first + ".choice_count: is 1, it must be at least 2"},
		{"by the least of 0", balancedBy(t, weighing(t, drawing(0))), within + "[0].typed_extension_config.typed_config.choice_count: is 0, it must be at least 2"},
		{"by the least of all", balancedBy(t, &leastv3.LeastRequest{EnableFullScan: wrapperspb.Bool(true)}), first + ".enable_full_scan: is not supported"},
		{"round robin with a slow start", balancedBy(t, &roundv3.RoundRobin{SlowStartConfig: &commonv3.SlowStartConfig{}}), first + ".slow_start_config: is not supported"},
		{"by a ring of no hash", balancedBy(t, &ringv3.RingHash{}), first + ".hash_function: DEFAULT_HASH is not supported"},
		{"by a ring with too high a minimum", balancedBy(t, ringOf(8<<20+1, 8<<20)), first + ".minimum_ring_size: is 8388609, at most 8388608 is accepted"},
		{"by a ring with too high a maximum", balancedBy(t, ringOf(1, 8<<20+1)), first + ".maximum_ring_size: is 8388609, at most 8388608 is accepted"},
		{"by a ring with its bounds crossed", balancedBy(t, ringOf(3, 2)), first + ".minimum_ring_size: is 3, above maximum_ring_size of 2"},
		{"by a ring with bounded load", balancedBy(t, &ringv3.RingHash{HashFunction: ringv3.RingHash_XX_HASH, HashBalanceFactor: wrapperspb.UInt32(150)}), first + ".hash_balance_factor: is not supported"},
		{"by reports out of band", wrr(func(m *cswrrv3.ClientSideWeightedRoundRobin) { m.EnableOobLoadReport = wrapperspb.Bool(true) }), first + ".enable_oob_load_report: is not supported: weights come from the reports of calls"},
		{"by weights with a negative period", wrr(func(m *cswrrv3.ClientSideWeightedRoundRobin) { m.BlackoutPeriod = durationpb.New(-1) }), first + ".blackout_period: is negative"},
		{"by weights with an absurd period", wrr(func(m *cswrrv3.ClientSideWeightedRoundRobin) { m.WeightUpdatePeriod = durationpb.New(25 * time.Hour) }), first + ".weight_update_period: is 25h0m0s, at most 24h0m0s is accepted"},
		{"by weights with a negative penalty", wrr(func(m *cswrrv3.ClientSideWeightedRoundRobin) { m.ErrorUtilizationPenalty = wrapperspb.Float(-1) }), first + ".error_utilization_penalty: is -1, it must be 0 to"},
		{"by weights with a penalty that is no number", wrr(func(m *cswrrv3.ClientSideWeightedRoundRobin) {
			m.ErrorUtilizationPenalty = wrapperspb.Float(float32(math.NaN()))
		}), first + ".error_utilization_penalty: is NaN"},
		{"by weights with an infinite penalty", wrr(func(m *cswrrv3.ClientSideWeightedRoundRobin) {
			m.ErrorUtilizationPenalty = wrapperspb.Float(float32(math.Inf(1)))
		}), first + ".error_utilization_penalty: is +Inf"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.ClusterType, tt.in, tt.want)
		})
	}
}
