package serve

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const warmUp = 30 * time.Second

func TestWarmUp(t *testing.T) {
	ab := full("a", "b")
	tests := []struct {
		name string
		run  func(r *rig)
	}{
		{"a delta client that comes back is not told that its endpoints are gone until it ends", func(r *rig) {
			r.publish(full("b"))
			c := r.delta("node")
			resume(c, eds, map[string]string{"a": "old"}, "a")
			time.Sleep(warmUp - time.Nanosecond)
			c.none()
			time.Sleep(time.Nanosecond)
			if diff := cmp.Diff(map[string]string{"a": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"nor given other endpoints than it holds", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			resume(c, eds, map[string]string{"a": "old", "b": version(eds, "b", "v1")}, "a", "b")
			c.none()
			r.publish(ab.with(eds, "b", "v2"))
			c.none()
			time.Sleep(warmUp)
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v2"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"but configuration it is given at once", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			resume(c, rds, map[string]string{"a": "old"}, "a")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"nor does one that is spared keep others from changing", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			resume(c, eds, map[string]string{"a": "old"}, "a", "b")
			got := c.one()
			if diff := cmp.Diff(map[string]string{"b": "v1"}, changes(got)); diff != "" {
				r.Fatal(diff)
			}
			ack(c, got)
			r.publish(ab.with(eds, "b", "v2"))
			if diff := cmp.Diff(map[string]string{"b": "v2"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"endpoints that come back as they were need not be sent at its end", func(r *rig) {
			r.publish(full("b"))
			c := r.delta("node")
			resume(c, eds, map[string]string{"a": version(eds, "a", "v1")}, "a")
			c.none()
			r.publish(ab)
			time.Sleep(warmUp)
			if diff := cmp.Diff(map[string]string{"a": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a new client is answered what is known, and not that a name is unknown", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, eds, nil, "a", "x")
			got := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v1"}, changes(got)); diff != "" {
				r.Fatal(diff)
			}
			ack(c, got)
			r.publish(ab.with(eds, "a", "v2")) // what it has from us it is given as it is
			got = c.one()
			if diff := cmp.Diff(map[string]string{"a": "v2"}, changes(got)); diff != "" {
				r.Fatal(diff)
			}
			ack(c, got)
			time.Sleep(warmUp)
			if diff := cmp.Diff(map[string]string{"x": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a stock client that comes back keeps its endpoints until it ends", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			ask(c, eds, resp("4711"), "a")
			c.none()
			time.Sleep(warmUp)
			if diff := cmp.Diff(map[string]string{"a": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a stock client that comes back is sent no listeners that lack one of its own", func(r *rig) {
			r.publish(full("b"))
			c := r.sotw("node")
			ask(c, lds, resp("4711"), "a", "b")
			c.none()
			time.Sleep(warmUp)
			if diff := cmp.Diff(map[string]string{"b": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"and is sent them as soon as all are known", func(r *rig) {
			r.publish(full("b"))
			c := r.sotw("node")
			ask(c, lds, resp("4711"), "a", "b")
			c.none()
			r.publish(ab)
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a new stock client is not answered that its listener is unknown", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			ask(c, lds, nil, "x")
			c.none()
			time.Sleep(warmUp)
			if got := c.one(); len(got.GetResources()) != 0 {
				r.Errorf("got %v, want an empty set", got)
			}
		}},
		{"a cluster that goes stays in what is sent until it ends", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			ask(c, cds, nil, "a", "b")
			ask(c, cds, c.one(), "a", "b")
			r.publish(ab.with(cds, "a", "").with(cds, "b", "v2"))
			got := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v2"}, contents(got)); diff != "" {
				r.Fatal(diff)
			}
			ask(c, cds, got, "a", "b")
			time.Sleep(warmUp)
			if diff := cmp.Diff(map[string]string{"b": "v2"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a wildcard is not answered by nothing", func(r *rig) {
			r.publish(world{})
			c := r.sotw("node")
			ask(c, lds, nil)
			c.none()
			time.Sleep(warmUp)
			c.one()
		}},
		{"it is over for who comes later", func(r *rig) {
			r.publish(ab)
			if !r.Warm() {
				r.Error("not warm at the start")
			}
			time.Sleep(warmUp)
			synctest.Wait()
			if r.Warm() {
				r.Error("warm at the end")
			}
			c := r.delta("node")
			resume(c, eds, map[string]string{"a": "old", "x": "old"}, "a", "x")
			if diff := cmp.Diff(map[string]string{"a": "v1", "x": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(c *Config) { c.WarmUntil = time.Now().Add(warmUp) }, tt.run)
		})
	}
}
