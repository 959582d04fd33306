package serve

import (
	"strconv"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
)

func TestStateOfTheWorld(t *testing.T) {
	ab := full("a", "b")
	tests := []struct {
		name string
		run  func(r *rig, c *sotwClient)
	}{
		{"a listener that is asked for is answered at once", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, lds, nil, "a")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a stream that opens before the first snapshot waits for it", func(r *rig, c *sotwClient) {
			ask(c, lds, nil, "a", "x")
			c.none()
			r.publish(ab)
			if diff := cmp.Diff(map[string]string{"a": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"an unknown listener is answered by an empty set", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, lds, nil, "x")
			got := c.one()
			if len(got.GetResources()) != 0 || got.GetNonce() == "" {
				r.Errorf("got %v, want an empty response with a nonce", got)
			}
			ask(c, lds, got, "x")
			c.none()
		}},
		{"unknown endpoints are not answered until they are known", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "x")
			c.none()
			r.publish(ab.with(eds, "x", "v1"))
			if diff := cmp.Diff(map[string]string{"x": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a response of listeners carries all that are subscribed to", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, lds, nil, "a", "b", "x")
			ask(c, lds, c.one(), "a", "b", "x")
			r.publish(ab.with(lds, "b", "v2"))
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v2"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a response of endpoints carries what changed and no more", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "a", "b")
			ask(c, eds, c.one(), "a", "b")
			r.publish(ab.with(eds, "b", "v2"))
			if diff := cmp.Diff(map[string]string{"b": "v2"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a change of a name that is not subscribed to says nothing", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "a")
			ask(c, eds, c.one(), "a")
			r.publish(ab.with(eds, "b", "v2").with(lds, "a", "v2"))
			c.none()
		}},
		{"the same snapshot again says nothing", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, lds, nil, "a")
			ask(c, lds, c.one(), "a")
			r.publish(ab)
			c.none()
		}},
		{"a removed cluster is missing in the next full response", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, cds, nil, "a", "b")
			ask(c, cds, c.one(), "a", "b")
			r.publish(ab.with(cds, "a", ""))
			if diff := cmp.Diff(map[string]string{"b": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"changes go out in the order clusters, endpoints, listeners, routes", func(r *rig, c *sotwClient) {
			r.publish(ab)
			for _, u := range []string{rds, lds, eds, cds} {
				ask(c, u, nil, "a")
				ask(c, u, c.one(), "a")
			}
			r.publish(ab.with(cds, "a", "v2").with(eds, "a", "v2").with(lds, "a", "v2").with(rds, "a", "v2"))
			want := []string{"Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"}
			if diff := cmp.Diff(want, order(c.pending())); diff != "" {
				r.Error(diff)
			}
		}},
		{"routes wait for clusters that wait for an answer", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, rds, nil, "a")
			ask(c, rds, c.one(), "a")
			ask(c, cds, nil, "a")
			ask(c, cds, c.one(), "a")
			r.publish(ab.with(cds, "a", "v2"))
			second := c.one()
			r.publish(ab.with(cds, "a", "v3").with(rds, "a", "v2"))
			c.none()
			ask(c, cds, second, "a")
			if diff := cmp.Diff([]string{"Cluster", "RouteConfiguration"}, order(c.pending())); diff != "" {
				r.Error(diff)
			}
		}},
		{"endpoints never wait for clusters, whose answer may wait for them", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, cds, nil, "a")
			c.one() // not answered
			r.publish(ab.with(cds, "a", "v2"))
			ask(c, eds, nil, "a")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a cluster goes away after the route that led to it", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, rds, nil, "a")
			ask(c, rds, c.one(), "a")
			ask(c, cds, nil, "a", "b")
			ask(c, cds, c.one(), "a", "b")
			r.publish(ab.with(cds, "b", "").with(rds, "a", "v2"))
			route := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v2"}, contents(route)); diff != "" {
				r.Fatal(diff)
			}
			ask(c, rds, route, "a")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"one response of a type is under way at most, and the next brings the latest", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "a")
			first := c.one()
			for _, v := range []string{"v2", "v3", "v4"} {
				r.publish(ab.with(eds, "a", v))
			}
			c.none()
			ask(c, eds, first, "a")
			if diff := cmp.Diff(map[string]string{"a": "v4"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a name that is dropped and comes back is answered again", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "a", "b")
			first := c.one()
			ask(c, eds, first, "a", "b")
			ask(c, eds, first, "b")
			c.none()
			ask(c, eds, first, "a", "b")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a subscription that was emptied and comes back is answered again", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, lds, nil, "a")
			first := c.one()
			ask(c, lds, first, "a")
			ask(c, lds, first)
			c.none()
			r.publish(ab.with(lds, "a", "v2"))
			c.none()
			ask(c, lds, first, "a")
			if diff := cmp.Diff(map[string]string{"a": "v2"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a stale nonce is not answered", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "a")
			first := c.one()
			ask(c, eds, first, "a")
			r.publish(ab.with(eds, "a", "v2"))
			second := c.one()
			ask(c, eds, second, "a")
			ask(c, eds, first, "a", "b")
			nack(c, first, "stale", "a", "b")
			c.none()
			if got := len(r.Ledger().Rejections); got != 0 {
				r.Errorf("%d rejections after a stale one, want none", got)
			}
		}},
		{"nobody can answer what he has not read", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "a")
			first := c.one()
			ask(c, eds, first, "a")
			r.publish(ab.with(eds, "a", "v2"))
			c.one()
			n, err := strconv.ParseUint(first.GetNonce(), 10, 64)
			if err != nil {
				r.Fatal(err)
			}
			for _, guess := range []uint64{2, n + 1, n + 1<<32} {
				c.send(&discoveryv3.DiscoveryRequest{
					TypeUrl: eds, ResourceNames: []string{"a"}, ResponseNonce: strconv.FormatUint(guess, 10),
				})
			}
			r.publish(ab.with(eds, "a", "v3"))
			c.none()
		}},
		{"a request that crossed a response does not answer it", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "a", "b")
			first := c.one()
			ask(c, eds, first, "a", "b")
			r.publish(ab.with(eds, "b", "v2"))
			second := c.one()
			ask(c, eds, first, "b")      // crossed: a is dropped ...
			ask(c, eds, first, "a", "b") // ... and back
			c.none()
			ask(c, eds, second, "a", "b")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a first request with no names asks for all listeners", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, lds, nil)
			first := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v1"}, contents(first)); diff != "" {
				r.Fatal(diff)
			}
			ask(c, lds, first)
			c.none()
			r.publish(ab.with(lds, "c", "v1"))
			second := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v1", "c": "v1"}, contents(second)); diff != "" {
				r.Fatal(diff)
			}
			ask(c, lds, second)
			r.publish(ab.with(lds, "a", ""))
			if diff := cmp.Diff(map[string]string{"b": "v1"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a wildcard over nothing is answered by nothing", func(r *rig, c *sotwClient) {
			r.publish(world{})
			ask(c, cds, nil)
			got := c.one()
			ask(c, cds, got)
			c.none()
		}},
		{"a star asks for all clusters, and names beside it change nothing", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, cds, nil, "*", "a")
			first := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v1"}, contents(first)); diff != "" {
				r.Fatal(diff)
			}
			ask(c, cds, first, "a")
			c.none()
			r.publish(ab.with(cds, "b", "v2"))
			c.none()
		}},
		{"no names means no endpoints: there is no wildcard of these", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil)
			ask(c, rds, nil)
			c.none()
		}},
		{"equal content has an equal version on every server", func(r *rig, c *sotwClient) {
			r.publish(full("z"))
			r.publish(ab)
			ask(c, lds, nil, "b", "a")
			got := c.one().GetVersionInfo()

			other := newRig(r.T, r.config)
			other.publish(ab)
			d := other.sotw("other")
			ask(d, lds, nil, "a", "b")
			if want := d.one().GetVersionInfo(); got != want {
				r.Errorf("versions %q and %q of the same content", got, want)
			}
		}},
		{"the nonce of an earlier stream is no answer on a new one", func(r *rig, c *sotwClient) {
			r.publish(ab)
			ask(c, eds, nil, "a")
			old := c.one()
			d := r.sotw("node")
			ask(d, eds, old, "a")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, contents(d.one())); diff != "" {
				r.Error(diff)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) { tt.run(r, r.sotw("node")) })
		})
	}
}
