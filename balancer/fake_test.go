package balancer_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	tulle "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A fakeConn is grpc-go's side of the policy without a network: connections are
// ready once their events are let happen.
type fakeConn struct {
	balancer.ClientConn

	policy balancer.Balancer
	state  balancer.State          // published last
	events chan func()             // of connections, in order
	conns  map[string]*fakeSubConn // by address
}

type fakeSubConn struct {
	balancer.SubConn

	cc     *fakeConn
	listen func(balancer.SubConnState)
}

func newFake(t testing.TB) *fakeConn { return newFakeWith(t, balancer.BuildOptions{}) }

func newFakeWith(t testing.TB, opts balancer.BuildOptions) *fakeConn {
	t.Helper()
	f := &fakeConn{events: make(chan func(), 1<<12), conns: make(map[string]*fakeSubConn)}
	f.policy = balancer.Get(tulle.Name).Build(f, opts)
	t.Cleanup(f.policy.Close)
	return f
}

func (f *fakeConn) UpdateState(s balancer.State) { f.state = s }

func (f *fakeConn) NewSubConn(addrs []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	sc := &fakeSubConn{cc: f, listen: opts.StateListener}
	f.conns[addrs[0].Addr] = sc
	return sc, nil
}

func (f *fakeConn) ResolveNow(resolver.ResolveNowOptions) {}

// Connect is called under pick_first's lock, so the connection answers later.
func (sc *fakeSubConn) Connect() {
	sc.is(connectivity.Connecting)
	sc.is(connectivity.Ready)
}

func (sc *fakeSubConn) Shutdown() {}

// RegisterHealthListener is how grpc-go's own policies hear that a connection is ready.
func (sc *fakeSubConn) RegisterHealthListener(listen func(balancer.SubConnState)) {
	sc.cc.events <- func() { listen(balancer.SubConnState{ConnectivityState: connectivity.Ready}) }
}

func (sc *fakeSubConn) is(state connectivity.State) {
	sc.cc.events <- func() { sc.listen(balancer.SubConnState{ConnectivityState: state}) }
}

// settle lets all happen that has begun.
func (f *fakeConn) settle() {
	for len(f.events) > 0 {
		(<-f.events)()
	}
}

// await lets n events happen, which may not have begun.
func (f *fakeConn) await(n int) {
	for range n {
		(<-f.events)()
	}
}

func (f *fakeConn) update(t testing.TB, state resolver.State) {
	t.Helper()
	if err := f.policy.UpdateClientConnState(balancer.ClientConnState{ResolverState: state}); err != nil {
		t.Fatal(err)
	}
	f.settle()
}

// many is a service of one cluster with n endpoints in one locality.
func many(n int) *resource.Config {
	locality := resource.Locality{Zone: "z", Weight: 1}
	for i := range n {
		locality.Endpoints = append(locality.Endpoints, resource.Endpoint{
			Addresses: []string{fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256)},
			Weight:    1,
		})
	}
	return &resource.Config{
		Service: service,
		Clusters: map[string]*resource.ClusterConfig{service: {
			Cluster:   &resource.Cluster{Name: service, EndpointsName: service, MaxRequests: 1 << 30, Balancing: resource.StandardBalancing(resource.RoundRobin)},
			Endpoints: &resource.Endpoints{Name: service, Localities: []resource.Locality{locality}},
		}},
	}
}
