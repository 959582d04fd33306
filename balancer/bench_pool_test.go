package balancer_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	tulle "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// BenchmarkPickOfPolicy is a pick and its Done with 100 ready endpoints, of each of our
// policies and, in the same run, of grpc-go's least_request.
func BenchmarkPickOfPolicy(b *testing.B) {
	const n = 100
	run := func(name string, p balancer.Picker) {
		b.Run(name, func(b *testing.B) {
			// A call is picked for once: the next one has not been tried anywhere.
			var calls [1024]call.Call
			k := len(calls)
			b.ReportAllocs()
			for b.Loop() {
				if k++; k >= len(calls) {
					b.StopTimer()
					for k = range calls {
						calls[k] = call.Call{Context: b.Context(), Cluster: service}
					}
					k = 0
					b.StartTimer()
				}
				info := balancer.PickInfo{Ctx: &calls[k]}
				result, err := p.Pick(info)
				if err != nil {
					b.Fatal(err)
				}
				result.Done(balancer.DoneInfo{BytesSent: true, BytesReceived: true})
			}
		})
	}
	for _, policy := range []resource.Policy{resource.PeakEWMA, resource.RoundRobin, resource.LeastRequest, resource.RingHash, resource.WeightedRoundRobin} {
		config := many(n)
		c := resource.DefaultBalancing()
		c.Policy = policy
		config.Clusters[service].Cluster.Balancing = c
		f := newFake(b)
		f.update(b, stateOf(config, nil))
		run(fmt.Sprintf("ours=%s", policy), f.state.Picker)
	}
	run("grpc-go=least_request", theirLeastRequest(b, n))
}

// theirLeastRequest is grpc-go's picker of n ready endpoints.
func theirLeastRequest(b *testing.B, n int) balancer.Picker {
	b.Helper()
	f := &fakeConn{events: make(chan func(), 1<<12), conns: make(map[string]*fakeSubConn)}
	builder := balancer.Get(leastrequest.Name)
	f.policy = builder.Build(f, balancer.BuildOptions{})
	b.Cleanup(f.policy.Close)
	config, err := builder.(balancer.ConfigParser).ParseConfig(json.RawMessage(`{"choiceCount":2}`))
	if err != nil {
		b.Fatal(err)
	}
	f.updateWith(b, stateOf(many(n), nil), config)
	if f.state.ConnectivityState != connectivity.Ready {
		b.Fatalf("their channel is %v", f.state.ConnectivityState)
	}
	return f.state.Picker
}

func (f *fakeConn) updateWith(t testing.TB, state resolver.State, config serviceconfig.LoadBalancingConfig) {
	t.Helper()
	if err := f.policy.UpdateClientConnState(balancer.ClientConnState{ResolverState: state, BalancerConfig: config}); err != nil {
		t.Fatal(err)
	}
	f.settle()
}

// BenchmarkReview is what the one pick pays for that finds something due, with n ready
// endpoints: ten a second at most where nothing changes.
func BenchmarkReview(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			members := make([]tulle.Member, n)
			for i := range members {
				e := &many(i + 1).Clusters[service].Endpoints.Localities[0].Endpoints[i]
				members[i] = tulle.Member{Endpoint: e, Picker: readyConn{}, Node: tulle.NewNode(e.Addresses[0])}
			}
			config := resource.DefaultBalancing()
			pool := tulle.NewPool(&config, members)
			info := balancer.PickInfo{Ctx: b.Context()}
			out := false
			b.ReportAllocs()
			for b.Loop() {
				out = !out
				members[0].Node.Eject(out) // makes it due
				result, err := pool.Pick(info, nil)
				if err != nil {
					b.Fatal(err)
				}
				result.Done(balancer.DoneInfo{BytesSent: true})
			}
		})
	}
}

type readyConn struct{}

func (readyConn) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{}, nil
}
