package balancer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestClusters(t *testing.T) {
	t.Run("an endpoint of two clusters has one connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a", "b")
			o := newOurs(t, w, nil)
			o.set(configOf(t, map[string]spec{service: one("ab"), "voting/v2": one("b")}))
			synctest.Wait()

			for _, name := range []string{"a", "b"} {
				if got := w.dialled(name); got != 1 {
					t.Errorf("%s was dialled %d times", name, got)
				}
			}
			if got := tally(routed(t, "voting/v2"), o.conn, 10); got["b"] != 10 {
				t.Errorf("calls to voting/v2 went to %v", got)
			}
			if got := tally(routed(t, service), o.conn, 10); got["a"] != 5 || got["b"] != 5 {
				t.Errorf("calls to voting went to %v", got)
			}
		})
	})
	t.Run("a call whose cluster is gone is routed anew", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a")
			o := newOurs(t, w, nil)
			o.update(one("a"))

			if got := who(routed(t, "voting/v1"), o.conn, whoMethod); got != "a" {
				t.Errorf("the call got %s", got)
			}
		})
	})
	t.Run("a call that no route takes ends and says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			o := newOurs(t, w, nil)
			config := configOf(t, map[string]spec{service: one("a")})
			config.VirtualHost = nil
			o.set(config)

			rpc := &call.Call{Context: t.Context()}
			if got := who(rpc, o.conn, whoMethod, grpc.WaitForReady(true)); got != "Unavailable" {
				t.Errorf("the call got %s", got)
			}
			if rpc.Failure == nil || rpc.Failure.Reason != call.NoRoute {
				t.Errorf("Failure = %v", rpc.Failure)
			}
		})
	})
	t.Run("a cluster in error fails its calls and no others", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a")
			o := newOurs(t, w, nil)
			config := configOf(t, map[string]spec{service: one("a")})
			config.Clusters["voting/v2"] = &resource.ClusterConfig{Err: errors.New("resource not found")}
			o.set(config)

			rpc := &call.Call{Context: t.Context(), Cluster: "voting/v2"}
			if got := who(rpc, o.conn, whoMethod); got != "Unavailable" {
				t.Errorf("the call got %s", got)
			}
			want := `mesh: the cluster "voting/v2" cannot be used: resource not found; try: xdsserver endpoints voting`
			if rpc.Failure == nil || rpc.Failure.Error() != want {
				t.Errorf("Failure = %v, want %s", rpc.Failure, want)
			}
			if got := who(t.Context(), o.conn, whoMethod); got != "a" {
				t.Errorf("the other call got %s", got)
			}
		})
	})
}

func TestChannelState(t *testing.T) {
	steps := []struct {
		name string
		do   func(w *world, o *ours)
		want connectivity.State
	}{
		{"no cluster has an endpoint", func(_ *world, o *ours) {
			o.set(configOf(o.t, map[string]spec{service: one(""), "voting/v2": one("")}))
		}, connectivity.TransientFailure},
		{"one cluster is connecting", func(w *world, o *ours) {
			w.silence("a")
			o.set(configOf(o.t, map[string]spec{service: one(""), "voting/v2": one(""), "voting/v3": one("a")}))
		}, connectivity.Connecting},
		{"one cluster is ready", func(w *world, o *ours) {
			w.up("b")
			o.set(configOf(o.t, map[string]spec{service: one("b"), "voting/v3": one("a")}))
		}, connectivity.Ready},
		{"the ready cluster left", func(_ *world, o *ours) {
			o.set(configOf(o.t, map[string]spec{"voting/v3": one("a")}))
		}, connectivity.Connecting},
		{"all endpoints are down", func(w *world, _ *ours) {
			w.down("a")
			time.Sleep(time.Minute)
		}, connectivity.TransientFailure},
		{"the endpoints that are down are tried again", func(w *world, _ *ours) {
			w.silence("a")
			time.Sleep(5 * time.Minute)
		}, connectivity.TransientFailure},
		{"a new endpoint of theirs is connecting", func(w *world, o *ours) {
			w.silence("c")
			o.set(configOf(o.t, map[string]spec{"voting/v3": one("ac")}))
		}, connectivity.TransientFailure},
		{"all endpoints left", func(_ *world, o *ours) {
			o.set(configOf(o.t, map[string]spec{service: one("")}))
		}, connectivity.TransientFailure},
	}
	t.Run("the channel is as well as its best cluster", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			o := newOurs(t, w, nil)
			for _, s := range steps {
				s.do(w, o)
				synctest.Wait()
				if got := o.conn.GetState(); got != s.want {
					t.Errorf("%s: the channel is %v, want %v", s.name, got, s.want)
				}
			}
		})
	})
}

func TestConfigurations(t *testing.T) {
	t.Run("an error of the resolver does not touch a configuration in use", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a")
			o := newOurs(t, w, nil)
			o.update(one("a"))
			synctest.Wait()
			o.resolver.CC().ReportError(errors.New("gone"))
			synctest.Wait()

			if got := tally(t.Context(), o.conn, 10); got["a"] != 10 {
				t.Errorf("calls got %v", got)
			}
		})
	})
	t.Run("a foreign resolver is told off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			o := newOurs(t, w, nil)
			var told error
			o.resolver.UpdateStateCallback = func(err error) { told = err }
			o.conn.Connect()
			synctest.Wait()
			state := stateOf(configOf(t, map[string]spec{service: one("a")}), nil)
			state.Attributes = nil
			o.resolver.UpdateState(state)
			synctest.Wait()

			if told == nil {
				t.Error("the resolver got no error")
			}
			rpc := &call.Call{Context: t.Context()}
			if got := who(rpc, o.conn, whoMethod); got != "Unavailable" {
				t.Errorf("the call got %s", got)
			}
			if rpc.Failure == nil || rpc.Failure.Reason != call.NoConfig {
				t.Errorf("Failure = %v", rpc.Failure)
			}
		})
	})
	t.Run("a change of routes does not touch connections", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a", "b")
			o := newOurs(t, w, nil)
			o.set(configOf(t, map[string]spec{service: one("ab")}))
			synctest.Wait()
			for range 10 {
				o.set(configOf(t, map[string]spec{service: one("ab"), "voting/v2": one("b")}))
				o.set(configOf(t, map[string]spec{service: one("ba")}))
			}
			synctest.Wait()
			if got := w.dialled("a") + w.dialled("b"); got != 2 {
				t.Errorf("%d dials for 2 endpoints", got)
			}
		})
	})
}

// routed is the context of a call that an interceptor routed.
func routed(t *testing.T, cluster string) context.Context {
	t.Helper()
	return &call.Call{Context: t.Context(), Cluster: cluster}
}
