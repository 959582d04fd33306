package mesh_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// A chain is three services, each of which calls the next to serve a call, and a
// caller of the first.
type chain struct {
	front *meshtest.Mesh
	last  [2]*worker
}

func newChain(t *testing.T) *chain {
	t.Helper()
	m := meshtest.New(t)
	c := &chain{front: m}
	for i, name := range []string{"c-0", "c-1"} {
		c.last[i] = newWorker(name, ways{takes: about(2 * time.Millisecond)})
		m.Serve("c", c.last[i].register)
	}
	for _, link := range []struct{ service, next string }{{"b", "c"}, {"a", "b"}} {
		for range 2 {
			w := newWorker(link.service, ways{})
			in := m.ServeAs(mesh.Config{Service: link.service}, w.register)
			conn, err := in.Mesh.NewClient("mesh:///" + link.next)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			w.become(ways{next: func(ctx context.Context) error {
				_, err := do(ctx, conn)
				return err
			}})
		}
		m.Apply(service(link.next, "  retry: {on: [unavailable], attempts: 3, idempotent: true}\n"))
	}
	m.Apply(service("a", "  retry: {on: [unavailable], attempts: 3, idempotent: true}\n"))
	return c
}

// service is a Service with a spec, indented by two.
func service(name, spec string) string {
	return "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: " + name + "}\nspec:\n" + spec
}

func (c *chain) served() int64 { return c.last[0].served.Load() + c.last[1].served.Load() }

// Each of three hops may make three attempts: without a budget that is carried down
// the chain the last one would have 27 times the calls.
func TestRetriesDoNotMultiplyDownTheChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(t)
		conn := c.front.Client("mesh:///a")
		work(t, conn, 100, time.Second)
		for _, w := range c.last {
			w.become(ways{fails: 1, code: codes.Unavailable})
		}
		before := c.served()
		got := work(t, conn, 500, 30*time.Second)
		attempts := float64(c.served()-before) / float64(len(got))
		failed, err := got.failed()
		t.Logf("%d calls, %d failed; %.3f attempts at the last service for each; one of the errors: %v", len(got), failed, attempts, err)
		if attempts > 1.25 {
			t.Errorf("%.3f attempts at the last service for each call, want at most 1.25", attempts)
		}
		if failed != len(got) {
			t.Errorf("%d of %d calls failed, want all: the scenario shows nothing", failed, len(got))
		}

		// No metastable state: it heals as soon as the service does.
		for _, w := range c.last {
			w.become(ways{takes: about(2 * time.Millisecond)})
		}
		work(t, conn, 100, 5*time.Second)
		if failed, err := work(t, conn, 100, 5*time.Second).failed(); failed > 5 {
			t.Errorf("5 s after the service healed %d of 500 calls fail: %v", failed, err)
		}
	})
}

func TestRetriesHideAFewFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(t)
		conn := c.front.Client("mesh:///a")
		for _, w := range c.last {
			w.become(ways{fails: .05, code: codes.Unavailable, takes: about(2 * time.Millisecond)})
		}
		got := work(t, conn, 500, 20*time.Second)
		failed, err := got.failed()
		success := 1 - float64(failed)/float64(len(got))
		t.Logf("%d calls, %.3f %% succeeded; %.3f attempts each", len(got), 100*success, float64(c.served())/float64(len(got)))
		if success < .999 {
			t.Errorf("%.3f %% of the calls succeeded, want 99.9: %v", 100*success, err)
		}
	})
}
