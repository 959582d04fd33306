package serve

import (
	"maps"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
)

// resume is a first request that comes back with versions.
func resume(c *deltaClient, typeURL string, versions map[string]string, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: typeURL, ResourceNamesSubscribe: names, InitialResourceVersions: versions,
	})
}

// version is the version of a content.
func version(typeURL, name, text string) string {
	return encode(name, message(typeURL, name, text)).Version
}

func TestDelta(t *testing.T) {
	ab := full("a", "b")
	tests := []struct {
		name string
		run  func(r *rig, c *deltaClient)
	}{
		{"names that are asked for are answered at once, unknown ones as removed", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, eds, nil, "a", "x")
			got := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v1", "x": "removed"}, changes(got)); diff != "" {
				r.Error(diff)
			}
			if want := version(eds, "a", "v1"); got.GetResources()[0].GetVersion() != want {
				r.Errorf("version %q, want that of the snapshot, %q", got.GetResources()[0].GetVersion(), want)
			}
		}},
		{"a stream that opens before the first snapshot waits for it", func(r *rig, c *deltaClient) {
			subscribe(c, lds, nil, "a", "x")
			c.none()
			r.publish(ab)
			if diff := cmp.Diff(map[string]string{"a": "v1", "x": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a change brings the changed name and no other", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, lds, nil, "a", "b")
			ack(c, c.one())
			r.publish(ab.with(lds, "b", "v2"))
			if diff := cmp.Diff(map[string]string{"b": "v2"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a name that goes is removed, and brought when it is back", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, rds, nil, "a")
			ack(c, c.one())
			r.publish(ab.with(rds, "a", ""))
			got := c.one()
			if diff := cmp.Diff(map[string]string{"a": "removed"}, changes(got)); diff != "" {
				r.Fatal(diff)
			}
			ack(c, got)
			c.none()
			r.publish(ab)
			if diff := cmp.Diff(map[string]string{"a": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"versions a client comes back with are not sent again", func(r *rig, c *deltaClient) {
			r.publish(ab)
			resume(c, eds, map[string]string{"a": version(eds, "a", "v1"), "b": "old"}, "a", "b")
			if diff := cmp.Diff(map[string]string{"b": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a client that comes back is told what is gone", func(r *rig, c *deltaClient) {
			r.publish(ab)
			resume(c, eds, map[string]string{"x": "old"}, "x")
			if diff := cmp.Diff(map[string]string{"x": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"versions of names that are not subscribed to are ignored", func(r *rig, c *deltaClient) {
			r.publish(ab)
			resume(c, eds, map[string]string{"b": "old"}, "a")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"subscribing again is always answered", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, eds, nil, "a", "x")
			ack(c, c.one())
			subscribe(c, eds, nil, "a", "x")
			if diff := cmp.Diff(map[string]string{"a": "v1", "x": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a name that is dropped and comes back is answered", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, eds, nil, "a", "b")
			ack(c, c.one())
			unsubscribe(c, eds, "a")
			c.none()
			r.publish(ab.with(eds, "a", "v2"))
			c.none()
			subscribe(c, eds, nil, "a")
			if diff := cmp.Diff(map[string]string{"a": "v2"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"an answer may carry subscriptions", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, eds, nil, "a")
			subscribe(c, eds, c.one(), "b")
			if diff := cmp.Diff(map[string]string{"b": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"subscriptions beside a stale nonce count", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, eds, nil, "a")
			first := c.one()
			ack(c, first)
			r.publish(ab.with(eds, "a", "v2"))
			second := c.one()
			subscribe(c, eds, first, "b")
			c.none() // the second is not answered yet
			ack(c, second)
			if diff := cmp.Diff(map[string]string{"b": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"unsubscribing and subscribing of one name at once subscribes", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, eds, nil, "a")
			ack(c, c.one())
			c.send(&discoveryv3.DeltaDiscoveryRequest{
				TypeUrl: eds, ResourceNamesSubscribe: []string{"a"}, ResourceNamesUnsubscribe: []string{"a"},
			})
			if diff := cmp.Diff(map[string]string{"a": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a first request with no names asks for all clusters", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, cds, nil)
			got := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v1"}, changes(got)); diff != "" {
				r.Fatal(diff)
			}
			ack(c, got)
			r.publish(ab.with(cds, "a", "").with(cds, "c", "v1"))
			got = c.one()
			if diff := cmp.Diff(map[string]string{"a": "removed", "c": "v1"}, changes(got)); diff != "" {
				r.Fatal(diff)
			}
			ack(c, got)
			r.publish(ab.with(cds, "c", "v2"))
			if diff := cmp.Diff(map[string]string{"a": "v1", "c": "v2"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a wildcard over nothing is answered by nothing", func(r *rig, c *deltaClient) {
			r.publish(world{})
			subscribe(c, cds, nil, "*")
			ack(c, c.one())
			c.none()
		}},
		{"who comes back for everything is told what is gone", func(r *rig, c *deltaClient) {
			r.publish(ab)
			resume(c, lds, map[string]string{"a": version(lds, "a", "v1"), "x": "1", "0": "1"}, "*")
			if diff := cmp.Diff(map[string]string{"b": "v1", "x": "removed", "0": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a name the wildcard still covers is answered when it is dropped", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, cds, nil, "*", "a")
			ack(c, c.one())
			unsubscribe(c, cds, "a")
			if diff := cmp.Diff(map[string]string{"a": "v1"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a wildcard that is dropped leaves the names", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, cds, nil, "*", "a")
			ack(c, c.one())
			unsubscribe(c, cds, "*")
			r.publish(ab.with(cds, "a", "v2").with(cds, "b", "v2"))
			if diff := cmp.Diff(map[string]string{"a": "v2"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a cluster is removed after the route that led to it", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, rds, nil, "a")
			ack(c, c.one())
			subscribe(c, cds, nil, "b")
			ack(c, c.one())
			r.publish(ab.with(cds, "b", "").with(rds, "a", "v2"))
			route := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v2"}, changes(route)); diff != "" {
				r.Fatal(diff)
			}
			ack(c, route)
			if diff := cmp.Diff(map[string]string{"b": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a cluster that changes and one that goes are told together when no route changes", func(r *rig, c *deltaClient) {
			r.publish(ab)
			subscribe(c, cds, nil, "a", "b")
			ack(c, c.one())
			r.publish(ab.with(cds, "b", "").with(cds, "a", "v2"))
			if diff := cmp.Diff(map[string]string{"a": "v2", "b": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) { tt.run(r, r.delta("node")) })
		})
	}
}

func TestALargeSubscriptionComesInSeveralResponses(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		w := world{eds: {}}
		var names []string
		big := make([]byte, 100<<10)
		for i := range big {
			big[i] = 'x'
		}
		for _, n := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
			w[eds][n+n] = string(big)
			names = append(names, n+n)
		}
		r.publish(w)
		c := r.delta("node")
		subscribe(c, eds, nil, names...)
		got := make(map[string]string)
		responses := 0
		for len(got) < len(names) {
			resp := c.one()
			responses++
			maps.Copy(got, changes(resp))
			ack(c, resp)
		}
		c.none()
		if responses != 2 {
			r.Errorf("%d responses of at most 1 MiB for 1.2 MB, want 2", responses)
		}
		if diff := cmp.Diff(w[eds], got); diff != "" {
			r.Error("contents differ")
		}
	})
}
