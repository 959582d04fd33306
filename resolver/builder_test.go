package resolver

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// The parts arrive one by one; a Config is there when the last one is.
func TestAConfigIsPublishedWhole(t *testing.T) {
	t.Run("whatever comes last", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			for _, step := range []struct {
				what string
				do   func()
			}{
				{"nothing", func() {}},
				{"a listener", func() { src.listener("voting", "routes") }},
				{"a route", func() { src.route("routes", "voting/v1", "voting/v2") }},
				{"a cluster", func() { src.cluster("voting/v1", "voting/v1") }},
				{"its endpoints", func() { src.endpoints("voting/v1", "10.0.0.1:1") }},
				{"another cluster", func() { src.cluster("voting/v2", "voting/v2") }},
			} {
				step.do()
				synctest.Wait()
				if n := c.updates(); n != 0 {
					t.Fatalf("with %s there are %d updates", step.what, n)
				}
			}
			if got := b.Targets()[0].Waiting; !slices.Equal(got, []string{`endpoints of Cluster "voting/v2"`}) {
				t.Errorf("waiting for %q", got)
			}

			src.endpoints("voting/v2", "10.0.0.2:1", "10.0.0.1:1")
			synctest.Wait()
			if n := c.updates(); n != 1 {
				t.Fatalf("with all there are %d updates", n)
			}
			config := c.config()
			if config.Service != "voting" || config.Revision == 0 || config.Listener == nil || config.VirtualHost == nil {
				t.Errorf("config = %+v", config)
			}
			if got := slices.Sorted(maps.Keys(config.Clusters)); !slices.Equal(got, []string{"voting/v1", "voting/v2"}) {
				t.Errorf("clusters = %q", got)
			}
			if got := c.addresses(); !slices.Equal(got, []string{"10.0.0.1:1", "10.0.0.2:1"}) {
				t.Errorf("addresses = %q, each once", got)
			}
		})
	})

	t.Run("with routes in the listener", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			src.set(resource.ListenerType, "voting", known(&resource.Listener{
				Name: "voting",
				Routes: &resource.RouteConfiguration{VirtualHosts: []*resource.VirtualHost{{
					Domains: []string{"voting"},
					Routes:  []*resource.Route{{Clusters: []resource.WeightedCluster{{Name: "voting", Weight: 1}}, TotalWeight: 1}},
				}}},
			}))
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			if c.updates() != 1 || src.watched(resource.RouteType, "voting") {
				t.Errorf("%d updates; routes watched: %v", c.updates(), src.watched(resource.RouteType, "voting"))
			}
		})
	})

	t.Run("with a cluster that is known not to be", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			src.route("voting", "voting", "gone", "empty")
			src.fail(resource.ClusterType, "gone", errNotFound)
			src.cluster("empty", "empty")
			src.fail(resource.EndpointsType, "empty", errRefused)
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			got := c.config()
			if got == nil {
				t.Fatal("no config")
			}
			if gone := got.Clusters["gone"]; gone.Cluster != nil || gone.Endpoints != nil || !errors.Is(gone.Err, errNotFound) {
				t.Errorf("gone = %+v", gone)
			}
			if empty := got.Clusters["empty"]; empty.Cluster == nil || empty.Endpoints != nil || !errors.Is(empty.Err, errRefused) {
				t.Errorf("empty = %+v", empty)
			}
			if good := got.Clusters["voting"]; good.Cluster == nil || good.Endpoints == nil || good.Err != nil {
				t.Errorf("voting = %+v", good)
			}
		})
	})

	t.Run("with no endpoints at all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			src.endpoints("voting")
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			if s := c.last(); c.updates() != 1 || s.Endpoints == nil || len(s.Endpoints) != 0 {
				t.Errorf("%d updates, endpoints %v: want an empty list, not nil", c.updates(), s.Endpoints)
			}
		})
	})
}

func TestTheStateOfAConnection(t *testing.T) {
	t.Run("holds attributes and service config", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			type sharedKey struct{}
			src := newFakeSource()
			src.voting()
			src.set(resource.EndpointsType, "voting", known(&resource.Endpoints{Localities: []resource.Locality{
				{Weight: 1, Endpoints: []resource.Endpoint{{Addresses: []string{"10.0.0.2:1", "[fd00::2]:1"}, Weight: 1}}},
				{Weight: 1, Priority: 1, Endpoints: []resource.Endpoint{
					{Addresses: []string{"[fd00::2]:1", "10.0.0.2:1"}, Weight: 1}, // the same, otherwise preferred
					{Addresses: []string{"10.0.0.2:1"}, Weight: 1},                // another: it has one address
				}},
			}}))
			b := newRunning(t, src)
			b.attrs = attributes.New(sharedKey{}, "shared")
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			if got := c.last().Attributes.Value(sharedKey{}); got != "shared" {
				t.Errorf("the builder's attribute = %v", got)
			}
			if c.last().ServiceConfig == nil {
				t.Error("no service config")
			}
			want := []resolver.Endpoint{
				{Addresses: []resolver.Address{{Addr: "10.0.0.2:1"}, {Addr: "[fd00::2]:1"}}},
				{Addresses: []resolver.Address{{Addr: "10.0.0.2:1"}}},
			}
			if diff := cmp.Diff(want, c.last().Endpoints); diff != "" {
				t.Error(diff)
			}
		})
	})
}

// gRFC A74: a route never leads to a cluster that is not there yet.
func TestANewRouteWaitsForItsClusters(t *testing.T) {
	t.Run("and the old one goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			old := c.config()

			src.route("voting", "voting/v2")
			synctest.Wait()
			if c.config() != old {
				t.Fatal("the new route is published without its cluster")
			}
			src.endpoints("voting", "10.0.0.9:1")
			synctest.Wait()
			if got := c.config(); got.VirtualHost != old.VirtualHost || !slices.Equal(c.addresses(), []string{"10.0.0.9:1"}) {
				t.Errorf("endpoints of the old route stand still while the new one waits: %q", c.addresses())
			}

			// What the old one needs is closed when the new one is published, not before.
			c.onUpdate = func(config *resource.Config) {
				if config.Clusters["voting/v2"] != nil && !src.watched(resource.EndpointsType, "voting") {
					t.Error("the old cluster was let go before the new config was published")
				}
			}
			src.cluster("voting/v2", "voting/v2")
			src.endpoints("voting/v2", "10.0.0.2:1")
			synctest.Wait()
			if got := slices.Sorted(maps.Keys(c.config().Clusters)); !slices.Equal(got, []string{"voting/v2"}) {
				t.Errorf("clusters = %q", got)
			}
			if src.watched(resource.ClusterType, "voting") || src.watched(resource.EndpointsType, "voting") {
				t.Error("the old cluster is still watched")
			}
			if c.config().Revision <= old.Revision {
				t.Errorf("revision %d after %d", c.config().Revision, old.Revision)
			}
		})
	})

	t.Run("unless a newer one is there first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			src.route("voting", "voting", "never")
			synctest.Wait()
			src.cluster("voting/v2", "voting/v2")
			src.endpoints("voting/v2", "10.0.0.2:1")
			src.route("voting", "voting/v2")
			synctest.Wait()
			if got := slices.Sorted(maps.Keys(c.config().Clusters)); !slices.Equal(got, []string{"voting/v2"}) {
				t.Errorf("clusters = %q", got)
			}
			if src.watched(resource.ClusterType, "never") {
				t.Error("the cluster of the route in between is still watched")
			}
			if got := b.Targets()[0].Waiting; len(got) != 0 {
				t.Errorf("waiting for %q", got)
			}
		})
	})

	t.Run("also one under another name", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			old := c.config()
			src.listener("voting", "other")
			synctest.Wait()
			if c.config() != old || !src.watched(resource.RouteType, "other") {
				t.Error("the listener's new routes are not waited for")
			}
			src.route("other", "voting")
			synctest.Wait()
			if c.config() == old || src.watched(resource.RouteType, "voting") {
				t.Error("the old routes are still in use")
			}
		})
	})
}

func TestAClusterWhoseEndpointsAreElsewhereKeepsThoseItHas(t *testing.T) {
	t.Run("until the others are there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			old := c.config().Clusters["voting"]

			src.cluster("voting", "elsewhere")
			src.endpoints("voting", "10.0.0.5:1")
			synctest.Wait()
			if got := c.config().Clusters["voting"]; got.Cluster != old.Cluster || !slices.Equal(c.addresses(), []string{"10.0.0.5:1"}) {
				t.Errorf("the pair before is not kept up to date: %+v, %q", got, c.addresses())
			}
			src.endpoints("elsewhere", "10.0.0.6:1")
			synctest.Wait()
			if got := c.config().Clusters["voting"]; got.Cluster == old.Cluster || !slices.Equal(c.addresses(), []string{"10.0.0.6:1"}) {
				t.Errorf("the new pair is not in use: %+v, %q", got, c.addresses())
			}
			if src.watched(resource.EndpointsType, "voting") {
				t.Error("the old endpoints are still watched")
			}

			src.cluster("voting", "third")
			synctest.Wait()
			src.cluster("voting", "elsewhere")
			synctest.Wait()
			if src.watched(resource.EndpointsType, "third") || !src.watched(resource.EndpointsType, "elsewhere") {
				t.Error("endpoints that nothing leads to any more are watched")
			}
		})
	})
}

func TestWhatCannotBeUsed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spoil  func(*fakeSource)
		reason call.Reason
		want   string
	}{
		{
			"an unknown service",
			func(s *fakeSource) { s.fail(resource.ListenerType, "voting", errNotFound) },
			call.UnknownService,
			`mesh: the control plane knows no service "voting": xdsclient: Listener "voting" is not known to xds.test; ` +
				`try: xdsserver endpoints, for those it knows`,
		},
		{
			"a refused listener",
			func(s *fakeSource) { s.fail(resource.ListenerType, "voting", errRefused) },
			call.BadConfig,
			`mesh: the configuration of "voting" cannot be used: refused; try: xdsserver check`,
		},
		{
			"unknown routes",
			func(s *fakeSource) { s.fail(resource.RouteType, "voting", errNotFound) },
			call.BadConfig,
			`mesh: the configuration of "voting" cannot be used: xdsclient: Listener "voting" is not known to xds.test; try: xdsserver check`,
		},
		{
			"routes for others",
			func(s *fakeSource) {
				s.set(resource.RouteType, "voting", known(&resource.RouteConfiguration{
					Name: "voting", VirtualHosts: []*resource.VirtualHost{{Domains: []string{"emoji"}}},
				}))
			},
			call.BadConfig,
			`mesh: the configuration of "voting" cannot be used: no virtual host of RouteConfiguration "voting" has the domain "voting"; ` +
				`try: xdsserver check`,
		},
	} {
		t.Run(tt.name+" is reported", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFakeSource()
				src.voting()
				tt.spoil(src)
				b := newRunning(t, src)
				var c fakeConn
				build(t, b, "mesh:///voting", &c)
				synctest.Wait()
				e := call.AsError(c.lastErr())
				if e == nil || e.Reason != tt.reason || e.Error() != tt.want || c.updates() != 0 {
					t.Fatalf("%d updates, error\n\t%v\nwant\n\t%s", c.updates(), c.lastErr(), tt.want)
				}
				if got := b.Targets()[0].Err; !errors.Is(got, e) {
					t.Errorf("status = %v", got)
				}
				src.voting()
				synctest.Wait()
				if c.updates() != 1 || b.Targets()[0].Err != nil {
					t.Errorf("healed, but %d updates and status %v", c.updates(), b.Targets()[0].Err)
				}
			})
		})
		t.Run(tt.name+" does not replace what is good", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFakeSource()
				src.voting()
				b := newRunning(t, src)
				var c fakeConn
				build(t, b, "mesh:///voting", &c)
				synctest.Wait()
				good := c.config()
				tt.spoil(src)
				synctest.Wait()
				if c.config() != good || c.lastErr() != nil || b.Targets()[0].Revision != good.Revision {
					t.Errorf("the last good config is gone: %v", c.lastErr())
				}
				if b.Targets()[0].Err == nil {
					t.Error("the status says nothing")
				}
				src.endpoints("voting", "10.0.0.7:1")
				synctest.Wait()
				if !slices.Equal(c.addresses(), []string{"10.0.0.7:1"}) {
					t.Errorf("the last good config stands still: %q", c.addresses())
				}
			})
		})
	}
}

func TestConnectionsShareATarget(t *testing.T) {
	t.Run("under each of its names", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var first, second fakeConn
			r := build(t, b, "mesh:///voting", &first)
			synctest.Wait()
			subscriptions := src.open()
			build(t, b, "mesh:///voting.default", &second)
			synctest.Wait()
			if src.open() != subscriptions || second.config() == nil || second.config() != first.config() {
				t.Errorf("%d subscriptions, then %d; configs %p and %p", subscriptions, src.open(), first.config(), second.config())
			}
			if first.updates() != 1 {
				t.Errorf("the first connection was told %d times", first.updates())
			}

			r.Close()
			synctest.Wait()
			src.endpoints("voting", "10.0.0.3:1")
			synctest.Wait()
			if first.updates() != 1 || second.updates() != 2 {
				t.Errorf("after the first closed: %d and %d updates", first.updates(), second.updates())
			}
			if got := b.Targets(); len(got) != 1 || got[0].Connections != 1 {
				t.Errorf("targets = %+v", got)
			}
		})
	})
}

func TestTheLastConnectionEndsAllInterest(t *testing.T) {
	t.Run("and a new one finds it again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var c fakeConn
			r := build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			r.Close()
			synctest.Wait()
			if src.open() != 0 || len(b.Targets()) != 0 {
				t.Errorf("%d subscriptions and targets %+v", src.open(), b.Targets())
			}
			r.Close() // grpc closes once; a second does no harm
			before := c.config().Revision
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			if c.updates() != 2 || c.config().Revision <= before {
				t.Errorf("%d updates, revision %d after %d", c.updates(), c.config().Revision, before)
			}
		})
	})
}

func TestStatus(t *testing.T) {
	t.Run("names what each service stands on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			state := known(endpoints("voting", "10.0.0.1:1"))
			state.Stale = true
			src.set(resource.EndpointsType, "voting", state)
			b := newRunning(t, src)
			var c, other fakeConn
			build(t, b, "mesh:///voting", &c)
			build(t, b, "mesh:///emoji.shop", &other)
			src.set(resource.ListenerType, "emoji.shop", xdsclient.State{Err: errRefused}) // not known: it may yet come
			synctest.Wait()
			want := []TargetStatus{
				{Service: "emoji.shop", Connections: 1, Waiting: []string{`Listener "emoji.shop"`}},
				{Service: "voting", Connections: 1, Revision: 1, Clusters: []string{"voting"}, Stale: true},
			}
			if diff := cmp.Diff(want, b.Targets()); diff != "" {
				t.Error(diff)
			}
		})
	})
}

func TestBuildRefuses(t *testing.T) {
	src := newFakeSource()
	b := newBuilder(src, Config{})
	for _, tt := range []struct {
		name, target string
		parsing      error
		opts         resolver.BuildOptions
		want         string
	}{
		{"a name that is none", "mesh:///Voting!", nil, resolver.BuildOptions{}, `service "Voting!": name may hold only`},
		{
			"a program without the balancer", "mesh:///voting", errors.New("no policy"),
			resolver.BuildOptions{},
			"resolver: the mesh's balancer is not linked: import github.com/tulle-mesh/tulle/balancer: no policy",
		},
		{
			"a connection that takes no service config", "mesh:///voting", nil,
			resolver.BuildOptions{DisableServiceConfig: true},
			"resolver: grpc.WithDisableServiceConfig keeps the mesh's balancer out: remove it",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := b.Build(parse(t, tt.target), &fakeConn{parsing: tt.parsing}, tt.opts)
			if err == nil || r != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want %s", r, err, tt.want)
			}
		})
	}
	if len(b.Targets()) != 0 {
		t.Errorf("refused targets are kept: %+v", b.Targets())
	}
}
