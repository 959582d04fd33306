package balancer_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// balanced is a service of one cluster that is balanced as the mesh does, changed.
func balanced(t *testing.T, s spec, change func(b *resource.Balancing)) *resource.Config {
	t.Helper()
	config := configOf(t, map[string]spec{service: s})
	b := resource.DefaultBalancing()
	if change != nil {
		change(&b)
	}
	config.Clusters[service].Cluster.Balancing = b
	return config
}

func TestConnectionsShareAnEndpointsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.up("a", "b")
		shared := balancer.NewShared()
		x, y := newOurs(t, w, shared), newOurs(t, w, shared)
		config := balanced(t, one("ab"), func(b *resource.Balancing) { b.MaxRequestsPerEndpoint = 2 })
		x.set(config)
		y.set(config)
		synctest.Wait()

		var held sync.WaitGroup
		results := make(chan string, 10)
		for i := range 10 {
			conn := []*ours{x, y}[i%2].conn
			held.Go(func() { results <- who(routed(t, service), conn, holdMethod) })
		}
		synctest.Wait()
		close(w.hold)
		held.Wait()
		got := make(map[string]int)
		for range len(results) {
			got[<-results]++
		}
		if got["a"] != 2 || got["b"] != 2 || got["Unavailable"] != 6 {
			t.Errorf("of 10 calls %v, want two to each of two and six refused", got)
		}
	})
}

// A message that cannot be encoded is found out after the pick, and is no fault of the
// endpoint it would have gone to.
func TestWhatTheCallerDoesWrongOpensNoBreaker(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func(ctx context.Context, conn *grpc.ClientConn) error
		want codes.Code
	}{
		{"a message that cannot be encoded", func(ctx context.Context, conn *grpc.ClientConn) error {
			return conn.Invoke(ctx, whoMethod, "no message", &emptypb.Empty{})
		}, codes.Internal},
		{"a message that is too large", func(ctx context.Context, conn *grpc.ClientConn) error {
			return conn.Invoke(ctx, whoMethod, &emptypb.Empty{}, &emptypb.Empty{}, grpc.MaxCallRecvMsgSize(0))
		}, codes.ResourceExhausted},
		{"a call that is given up", func(ctx context.Context, conn *grpc.ClientConn) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return conn.Invoke(ctx, holdMethod, &emptypb.Empty{}, &emptypb.Empty{})
		}, codes.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.up("a", "b")
				o := newOurs(t, w, nil)
				o.set(balanced(t, one("ab"), func(b *resource.Balancing) { b.Policy = resource.RoundRobin }))
				synctest.Wait()
				for range 40 {
					if got := status.Code(tt.call(routed(t, service), o.conn)); got != tt.want {
						t.Fatalf("a call got %v, want %v", got, tt.want)
					}
				}
				if got := tally(routed(t, service), o.conn, 20); got["a"] == 0 || got["b"] == 0 {
					t.Errorf("after it calls go to %v", got)
				}
			})
		})
	}
}

// A server that takes calls and answers none is found out by the deadlines of callers.
func TestABlackHoleIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.up("a", "b", "c")
		o := newOurs(t, w, nil)
		o.set(balanced(t, one("abc"), nil))
		synctest.Wait()
		w.deaf("b")
		lost := 0
		for range 300 {
			ctx, cancel := context.WithTimeout(routed(t, service), time.Second)
			if got := who(ctx, o.conn, whoMethod); got == "DeadlineExceeded" {
				lost++
			}
			cancel()
			time.Sleep(10 * time.Millisecond)
		}
		if lost > 6 {
			t.Errorf("%d of 300 calls were lost", lost)
		}
	})
}

func TestAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.up("a", "b", "c", "d")
		o := newOurs(t, w, nil)
		config := balanced(t, spec{localities: []place{{zone: "x", backends: "ab"}, {zone: "y", backends: "cd"}}}, nil)
		set := func(region, zone string) {
			state := stateOf(config, nil)
			state.Attributes = balancer.WithZone(state.Attributes, region, zone)
			o.resolver.UpdateState(state)
			o.conn.Connect()
			synctest.Wait()
		}
		for _, tt := range []struct{ region, zone, want string }{
			{"", "y", "cd"},
			{"", "x", "ab"},
			{"", "", "abcd"},
			{"", "z", "abcd"},
			{"elsewhere", "x", "abcd"},
		} {
			set(tt.region, tt.zone)
			got := tally(routed(t, service), o.conn, 100)
			for _, r := range "abcd" {
				if name := string(r); (got[name] > 0) != strings.Contains(tt.want, name) {
					t.Errorf("from zone %q of region %q calls go to %v, want %s", tt.zone, tt.region, got, tt.want)
				}
			}
		}
	})
}

// What calls have taught survives changes of the configuration.
func TestLearningOutlivesConfigurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.up("a", "b", "c")
		o := newOurs(t, w, nil)
		rr := func(b *resource.Balancing) { b.Policy = resource.RoundRobin }
		o.set(balanced(t, one("abc"), rr))
		synctest.Wait()
		w.broken("b")
		failed := 0
		for i := range 200 {
			if i%10 == 0 {
				o.set(balanced(t, one([]string{"abc", "bca"}[i/10%2]), rr))
				synctest.Wait()
			}
			rpc := &call.Call{Context: t.Context(), Cluster: service}
			if got := who(rpc, o.conn, whoMethod); got == "Unavailable" {
				failed++
			}
		}
		if failed != 7 {
			t.Errorf("%d of 200 calls failed while the configuration changed, want 7", failed)
		}
	})
}
