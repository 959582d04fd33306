package e2e

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

// Config entries and intentions that are written with Consul's own API, and nothing
// else, change where calls go as Consul documents it, and back when they are deleted.
func TestConfigEntriesOfConsulChangeTraffic(t *testing.T) {
	agent := consultest.Start(t)
	entries := agent.Client(t).ConfigEntries()
	write := func(t *testing.T, e api.ConfigEntry) {
		t.Helper()
		if ok, _, err := entries.Set(e, nil); err != nil || !ok {
			t.Fatalf("%s %s: %v, %v", e.GetKind(), e.GetName(), ok, err)
		}
		t.Cleanup(func() {
			if _, err := entries.Delete(e.GetKind(), e.GetName(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	s := startServer(t, "--consul", agent.Address())
	first, _ := s.echo(t, "voting", "v1")
	second, _ := s.echo(t, "voting", "v2")
	s.echo(t, "standby", "standby")
	s.awaitEndpoints(t, "voting", 2)
	s.awaitEndpoints(t, "standby", 1)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")

	// Routers and splitters are for services that speak HTTP, Consul says.
	for _, name := range []string{"voting", "standby"} {
		write(t, &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: name, Protocol: "grpc"})
	}
	subsets := map[string]api.ServiceResolverSubset{
		"one": {Filter: `Service.Meta.version == "v1"`},
		"two": {Filter: `Service.Meta.version == "v2"`},
	}
	write(t, &api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: "voting", Subsets: subsets})

	t.Run("splitter", func(t *testing.T) {
		write(t, &api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: "voting", Splits: []api.ServiceSplit{
			{Weight: 80, ServiceSubset: "one"}, {Weight: 20, ServiceSubset: "two"},
		}})
		becomes(t, conn, "a share of v2 between 10 and 30 percent", func(v map[string]int, n int) bool {
			return v["v2"] > n/10 && v["v2"] < n*3/10
		})
		const calls = 5000
		got := float64(versions(t, conn, calls)["v2"])
		deviation := math.Sqrt(calls * 0.2 * 0.8)
		t.Logf("%.0f of %d calls at v2, %.1f standard deviations from 20 percent", got, calls, (got-calls*0.2)/deviation)
		if math.Abs(got-calls*0.2) > 4*deviation {
			t.Errorf("%.0f of %d calls at v2, want 20 percent", got, calls)
		}
	})
	t.Run("router", func(t *testing.T) {
		write(t, &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: "voting", Routes: []api.ServiceRoute{
			{
				Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{
					PathPrefix: "/tulle.e2e.Echo/", Header: []api.ServiceRouteHTTPMatchHeader{{Name: "x-canary", Exact: "yes"}},
				}},
				Destination: &api.ServiceRouteDestination{Service: "voting", ServiceSubset: "two"},
			},
			{Destination: &api.ServiceRouteDestination{Service: "voting", ServiceSubset: "one"}},
		}})
		// Without a router the calls of one caller may all go to the faster of two: only both
		// together say that it is there.
		eventually(t, 20*time.Second, "the header decides", func(context.Context) bool {
			return versions(t, conn, 50, "x-canary", "yes")["v2"] == 50 && versions(t, conn, 50)["v1"] == 50
		})
		with := versions(t, conn, 500, "x-canary", "yes")
		without := versions(t, conn, 500, "x-canary", "no")
		t.Logf("with the header %v, without %v", with, without)
		if with["v2"] != 500 || without["v1"] != 500 {
			t.Errorf("with the header %v, without %v", with, without)
		}
	})
	whole := t
	t.Run("failover", func(t *testing.T) {
		write(t, &api.ServiceResolverConfigEntry{
			Kind: api.ServiceResolver, Name: "voting", Subsets: subsets,
			Failover: map[string]api.ServiceResolverFailover{"*": {Service: "standby"}},
		})
		becomes(t, conn, "both versions", func(v map[string]int, n int) bool { return v["v1"] > 0 && v["v2"] > 0 && v["standby"] == 0 })
		l := startLoad(t, conn, 100)
		first.stop(t)
		second.stop(t)
		becomes(t, conn, "the standby takes all", func(v map[string]int, n int) bool { return v["standby"] == n })
		l.mustNotHaveFailed(t)
		s.echo(whole, "voting", "v1") // the next part of the test calls it, too
		becomes(t, conn, "the service itself takes all again", func(v map[string]int, n int) bool { return v["v1"] == n })
	})
	t.Run("intention", func(t *testing.T) {
		write(t, &api.ServiceIntentionsConfigEntry{Kind: api.ServiceIntentions, Name: "voting", Sources: []*api.SourceIntention{{
			Name: "tester", Permissions: []*api.IntentionPermission{
				{
					Action: api.IntentionActionAllow,
					HTTP: &api.IntentionHTTPPermission{
						PathExact: whereMethod, Header: []api.IntentionHTTPHeaderPermission{{Name: "x-role", Exact: "admin"}},
					},
				},
				// Without it Consul allows the rest, since it has no ACLs here.
				{Action: api.IntentionActionDeny, HTTP: &api.IntentionHTTPPermission{PathPrefix: "/"}},
			},
		}}})
		code := func(pairs ...string) codes.Code {
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), pairs...), 5*time.Second)
			defer cancel()
			_, _, err := where(ctx, conn)
			return status.Code(err)
		}
		eventually(t, 10*time.Second, "calls without the role are denied", func(context.Context) bool { return code() == codes.PermissionDenied })
		if got := code("x-role", "admin"); got != codes.OK {
			t.Errorf("with the role: got %v", got)
		}
		if got := code("x-role", "guest"); got != codes.PermissionDenied {
			t.Errorf("with another role: got %v", got)
		}
	})
	becomes(t, conn, "without entries calls go on", func(v map[string]int, n int) bool { return v["v1"] == n })
}

// versions makes calls and counts who answered.
func versions(t *testing.T, conn *grpc.ClientConn, n int, pairs ...string) map[string]int {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), pairs...)
	got := map[string]int{}
	for range n {
		version, _, err := where(ctx, conn)
		if err != nil {
			t.Fatal(err)
		}
		got[version]++
	}
	return got
}

// becomes waits until a hundred calls are as they should be.
func becomes(t *testing.T, conn *grpc.ClientConn, what string, so func(versions map[string]int, n int) bool) {
	t.Helper()
	const calls = 100
	var last error
	var seen map[string]int
	defer func() {
		if t.Failed() {
			t.Logf("the last calls were answered by %v, the last error is %v", seen, last)
		}
	}()
	took := eventually(t, 20*time.Second, what, func(ctx context.Context) bool {
		got := map[string]int{}
		for range calls {
			version, _, err := where(ctx, conn)
			if err == nil {
				got[version]++
			} else if ctx.Err() == nil {
				last = err
			}
		}
		seen = got
		return so(got, calls)
	})
	t.Logf("%s after %v", what, took.Round(10*time.Millisecond))
}
