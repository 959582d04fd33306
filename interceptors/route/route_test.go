package route_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/interceptors/route"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// routes decodes a RouteConfiguration as a client does, into a Config of voting.
func routes(tb testing.TB, virtualHost string) *resource.Config {
	tb.Helper()
	m := &routev3.RouteConfiguration{}
	json := fmt.Sprintf(`{"name": "voting", "virtualHosts": [{"name": "voting", "domains": ["*"], "routes": %s}]}`, virtualHost)
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		tb.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	decoded, err := resource.DecodeRouteConfiguration(b)
	if err != nil {
		tb.Fatal(err)
	}
	return &resource.Config{
		Service:     "voting",
		Listener:    &resource.Listener{},
		VirtualHost: decoded.VirtualHost("voting"),
	}
}

const table = `[
	{"match": {"path": "/voting.v1.Voting/Vote"}, "route": {"cluster": "voting/v2"}},
	{"match": {"path": "/voting.v1.Voting/Moved"}, "redirect": {"hostRedirect": "elsewhere"}},
	{"match": {"prefix": "/voting.v1.Voting/"}, "route": {"cluster": "voting"}}
]`

func TestChoose(t *testing.T) {
	config := routes(t, table)
	for _, tt := range []struct {
		name, method, want string
	}{
		{"the first route that matches wins", "/voting.v1.Voting/Vote", "voting/v2"},
		{"a later route takes the rest", "/voting.v1.Voting/Results", "voting"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, cluster, failure := route.Choose(t.Context(), config, tt.method)
			if failure != nil {
				t.Fatal(failure)
			}
			if cluster.Name != tt.want {
				t.Errorf("cluster = %q, want %q", cluster.Name, tt.want)
			}
		})
	}
}

func TestACallWithoutAWay(t *testing.T) {
	config := routes(t, table)
	for _, tt := range []struct {
		name, method, want string
	}{
		{
			"no route matches", "/other.v1.Other/Call",
			`mesh: no route of "voting" matches /other.v1.Other/Call; try: xdsserver explain voting --method /other.v1.Other/Call`,
		},
		{
			"the route is for others", "/voting.v1.Voting/Moved",
			`mesh: the route of "voting" for /voting.v1.Voting/Moved cannot be followed: ` +
				config.VirtualHost.Routes[1].Unsupported + `; try: xdsserver explain voting --method /voting.v1.Voting/Moved`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, failure := route.Choose(t.Context(), config, tt.method)
			if failure == nil {
				t.Fatal("the call found a way")
			}
			if diff := cmp.Diff(tt.want, failure.Error()); diff != "" {
				t.Error(diff)
			}
			if failure.Code != codes.Unavailable || failure.Reason != call.NoRoute || failure.Service != "voting" {
				t.Errorf("got %+v", failure)
			}
		})
	}
}

func TestASplitFallsWithinThreeStandardDeviations(t *testing.T) {
	config := routes(t, `[{"match": {"prefix": "/"}, "route": {"weightedClusters": {"clusters": [
		{"name": "voting/v1", "weight": 90}, {"name": "voting/v2", "weight": 10}]}}}]`)
	const calls = 10_000
	got := map[string]float64{}
	for range calls {
		_, cluster, failure := route.Choose(t.Context(), config, "/voting.v1.Voting/Vote")
		if failure != nil {
			t.Fatal(failure)
		}
		got[cluster.Name]++
	}
	if off := 5 * math.Sqrt(calls*0.9*0.1); math.Abs(got["voting/v1"]-0.9*calls) > off {
		t.Errorf("split = %v, want 90 %% and 10 %% of %d within %.0f", got, calls, off)
	}
}

func TestBound(t *testing.T) {
	for _, tt := range []struct {
		name     string
		own      time.Duration // the application's deadline, zero for none
		timeout  time.Duration
		want     time.Duration // zero for none
		wantOwns bool          // whether the context is a new one
	}{
		{"without any bound the context stays", 0, 0, 0, false},
		{"the route's timeout bounds a call without a deadline", 0, time.Second, time.Second, true},
		{"the route's timeout bounds a longer deadline", time.Minute, time.Second, time.Second, true},
		{"the application's shorter deadline wins", time.Second, time.Minute, time.Second, false},
		{"the same deadline costs no second timer", time.Second, time.Second, time.Second, false},
		{"no timeout leaves the application's deadline", time.Second, 0, time.Second, false},
		{"a negative timeout is none", 0, -time.Second, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.own > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.own)
					defer cancel()
				}
				bounded, cancel := route.Bound(ctx, tt.timeout)
				if cancel != nil {
					defer cancel()
				}
				if owns := cancel != nil; owns != tt.wantOwns || owns == (bounded == ctx) {
					t.Errorf("new context: %v, want %v", owns, tt.wantOwns)
				}
				deadline, ok := bounded.Deadline()
				if ok != (tt.want > 0) || ok && time.Until(deadline) != tt.want {
					t.Errorf("deadline in %v, want %v", time.Until(deadline), tt.want)
				}
			})
		})
	}
}

func BenchmarkChoose(b *testing.B) {
	config := routes(b, table)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, failure := route.Choose(b.Context(), config, "/voting.v1.Voting/Results"); failure != nil {
			b.Fatal(failure)
		}
	}
}
