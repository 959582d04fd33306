package resolver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	_ "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type key struct{ typeURL, name string }

// fakeSource is a control plane in memory: what is set is what is known.
type fakeSource struct {
	mu     sync.Mutex
	states map[key]xdsclient.State
	subs   map[*fakeSub]struct{}
	events []string // "open" and "close" of resources, as they happen
}

type fakeSub struct {
	source *fakeSource
	key    key
	notify func()
}

func newFakeSource() *fakeSource {
	return &fakeSource{states: make(map[key]xdsclient.State), subs: make(map[*fakeSub]struct{})}
}

func (f *fakeSource) subscribe(typeURL, name string, notify func()) subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &fakeSub{f, key{typeURL, name}, notify}
	f.subs[s] = struct{}{}
	f.events = append(f.events, "open "+name)
	return s
}

func (s *fakeSub) State() xdsclient.State {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	return s.source.states[s.key]
}

func (s *fakeSub) Close() {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	if _, ok := s.source.subs[s]; ok {
		s.source.events = append(s.source.events, "close "+s.key.name)
	}
	delete(s.source.subs, s)
}

// set makes a state known, and tells whom it concerns.
func (f *fakeSource) set(typeURL, name string, state xdsclient.State) {
	f.mu.Lock()
	f.states[key{typeURL, name}] = state
	var notify []func()
	for s := range f.subs {
		if s.key == (key{typeURL, name}) {
			notify = append(notify, s.notify)
		}
	}
	f.mu.Unlock()
	for _, n := range notify {
		n()
	}
}

func (f *fakeSource) fail(typeURL, name string, err error) {
	f.set(typeURL, name, xdsclient.State{Err: err, Known: true})
}

func known(v any) xdsclient.State { return xdsclient.State{Value: v, Version: "1", Known: true} }

// listener sends the service to the RouteConfiguration of that name.
func (f *fakeSource) listener(service, routes string) {
	f.set(resource.ListenerType, service, known(&resource.Listener{Name: service, RouteName: routes}))
}

// route sends all calls to the clusters, in equal shares.
func (f *fakeSource) route(name string, clusters ...string) {
	r := &resource.Route{TotalWeight: uint32(len(clusters))}
	for _, c := range clusters {
		r.Clusters = append(r.Clusters, resource.WeightedCluster{Name: c, Weight: 1})
	}
	f.set(resource.RouteType, name, known(&resource.RouteConfiguration{
		Name:         name,
		VirtualHosts: []*resource.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: []*resource.Route{r}}},
	}))
}

// mirror is route with a copy of each call for another cluster.
func (f *fakeSource) mirror(name, to, copies string) {
	traffic := *resource.DefaultTraffic()
	traffic.Mirrors = []resource.Mirror{{Cluster: copies, PerMillion: 1_000_000, Timeout: time.Second}}
	f.set(resource.RouteType, name, known(&resource.RouteConfiguration{
		Name: name,
		VirtualHosts: []*resource.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: []*resource.Route{{
			TotalWeight: 1, Clusters: []resource.WeightedCluster{{Name: to, Weight: 1}}, Traffic: &traffic,
		}}}},
	}))
}

func (f *fakeSource) cluster(name, endpoints string) {
	f.set(resource.ClusterType, name, known(&resource.Cluster{
		Name: name, EndpointsName: endpoints, MaxRequests: resource.DefaultMaxRequests, Balancing: resource.StandardBalancing(resource.RoundRobin),
	}))
}

// endpoints sets endpoints of one address each.
func (f *fakeSource) endpoints(name string, addresses ...string) {
	f.set(resource.EndpointsType, name, known(endpoints(name, addresses...)))
}

func endpoints(name string, addresses ...string) *resource.Endpoints {
	e := &resource.Endpoints{Name: name}
	if len(addresses) == 0 {
		return e
	}
	l := resource.Locality{Zone: "a", Weight: uint32(len(addresses))}
	for _, a := range addresses {
		l.Endpoints = append(l.Endpoints, resource.Endpoint{Addresses: []string{a}, Weight: 1})
	}
	e.Localities = []resource.Locality{l}
	return e
}

// voting is a service with one cluster and one endpoint.
func (f *fakeSource) voting() {
	f.listener("voting", "voting")
	f.route("voting", "voting")
	f.cluster("voting", "voting")
	f.endpoints("voting", "10.0.0.1:1")
}

// open returns how many subscriptions there are.
func (f *fakeSource) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

// watched tells whether a resource is subscribed to.
func (f *fakeSource) watched(typeURL, name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		if s.key == (key{typeURL, name}) {
			return true
		}
	}
	return false
}

// newRunning returns a Builder that runs until the test ends. It belongs in a
// bubble: after synctest.Wait it has done all there is to do.
func newRunning(t *testing.T, src source) *Builder {
	t.Helper()
	b := newBuilder(src, Config{Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return b
}

// fakeConn is a connection's side of the resolver API.
type fakeConn struct {
	resolver.ClientConn

	onUpdate func(*resource.Config)

	mu      sync.Mutex
	states  []resolver.State
	errs    []error
	parsing error
}

func (c *fakeConn) ParseServiceConfig(string) *serviceconfig.ParseResult {
	return &serviceconfig.ParseResult{Err: c.parsing}
}

func (c *fakeConn) UpdateState(s resolver.State) error {
	if c.onUpdate != nil {
		c.onUpdate(resource.ConfigFrom(s.Attributes))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = append(c.states, s)
	return nil
}

func (c *fakeConn) ReportError(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

// updates returns how many there were.
func (c *fakeConn) updates() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.states)
}

func (c *fakeConn) last() resolver.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.states) == 0 {
		return resolver.State{}
	}
	return c.states[len(c.states)-1]
}

// addresses are those of the last update, in order.
func (c *fakeConn) addresses() []string {
	var all []string
	for _, e := range c.last().Endpoints {
		for _, a := range e.Addresses {
			all = append(all, a.Addr)
		}
	}
	return all
}

func (c *fakeConn) config() *resource.Config { return resource.ConfigFrom(c.last().Attributes) }

func (c *fakeConn) lastErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.errs) == 0 {
		return nil
	}
	return c.errs[len(c.errs)-1]
}

// build makes c a connection to target.
func build(t *testing.T, b *Builder, target string, c *fakeConn) resolver.Resolver {
	t.Helper()
	r, err := b.Build(parse(t, target), c, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// dial makes a real connection, of which the test needs the target and the state.
func dial(t *testing.T, b *Builder, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(target, append(dialOptions(b), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// dialOptions are those of every real connection. The endpoints of most tests
// are nobody's: dialling them takes long.
func dialOptions(b *Builder) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithResolvers(b),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}),
	}
}

// resolverOptions are those of a connection with none of its own.
var resolverOptions resolver.BuildOptions

var errNotFound = &xdsclient.NotFoundError{Type: resource.ListenerType, Name: "voting", Server: "xds.test"}

var errRefused = errors.New("refused")
