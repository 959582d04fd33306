package serve

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRefusals(t *testing.T) {
	ab := full("a", "b")
	tests := []struct {
		name string
		run  func(r *rig)
	}{
		{"a refused version is sent once, whatever the client says, and its repair once", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			ask(c, eds, nil, "a")
			bad := c.one()
			for range 100 { // what storms: the answer asks for the same again
				nack(c, bad, "bad", "a")
				c.none()
			}
			r.publish(ab.with(eds, "b", "v2"))
			c.none()
			r.publish(ab.with(eds, "a", "v2"))
			good := c.one()
			if diff := cmp.Diff(map[string]string{"a": "v2"}, contents(good)); diff != "" {
				r.Fatal(diff)
			}
			ask(c, eds, good, "a")
			c.none()
			if l := r.Ledger(); len(l.Rejections) != 0 || !l.Streams[0].Current {
				r.Errorf("after the repair: %+v", l)
			}
		}},
		{"a refused version that comes back after a rollback is not sent again", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			ask(c, eds, nil, "a")
			ask(c, eds, c.one(), "a")
			r.publish(ab.with(eds, "a", "bad"))
			nack(c, c.one(), "bad", "a")
			r.publish(ab) // the client never left it
			c.none()
			if got := len(r.Ledger().Rejections); got != 0 {
				r.Errorf("%d rejections after a rollback, want none", got)
			}
			r.publish(ab.with(eds, "a", "bad"))
			c.none()
		}},
		{"the listeners beside a refused one change without it, and the client keeps its last good one", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			ask(c, lds, nil, "a", "b")
			ask(c, lds, c.one(), "a", "b")
			r.publish(ab.with(lds, "a", "bad"))
			nack(c, c.one(), `resource "a": bad`, "a", "b")
			c.none()
			r.publish(ab.with(lds, "a", "bad").with(lds, "b", "v2"))
			if diff := cmp.Diff(map[string]string{"a": "v1", "b": "v2"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"what a route leads to that goes on for want of a good one stays, and goes with it", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			for _, u := range []string{cds, eds, lds, rds} {
				ask(c, u, nil, "a", "b")
				ask(c, u, c.one(), "a", "b")
			}
			gone := full("a")
			for _, u := range []string{lds, rds} {
				gone[u]["b"] = "v1"
			}
			r.publish(gone.with(rds, "a", "bad"))
			nack(c, c.one(), `resource "a": bad`, "a", "b")
			c.none()
			r.publish(gone.with(rds, "a", "v2"))
			good := c.one()
			if good.GetTypeUrl() != rds {
				r.Fatalf("after the repair came %s, want the route", good.GetTypeUrl())
			}
			ask(c, rds, good, "a", "b")
			if left := c.one(); left.GetTypeUrl() != cds || len(left.GetResources()) != 1 {
				r.Errorf("then came %d of %s, want the one cluster that is left", len(left.GetResources()), left.GetTypeUrl())
			}
		}},
		{"a listener whose first version is refused is left out of what follows", func(r *rig) {
			r.publish(ab.with(lds, "a", "bad"))
			c := r.sotw("node")
			ask(c, lds, nil, "a", "b")
			nack(c, c.one(), `resource "a": bad`, "a", "b")
			r.publish(ab.with(lds, "a", "bad").with(lds, "b", "v2"))
			if diff := cmp.Diff(map[string]string{"b": "v2"}, contents(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a refused listener the client had before is not taken away from it", func(r *rig) {
			r.publish(ab.with(lds, "a", "bad"))
			c := r.sotw("node")
			first := resp("4711")
			ask(c, lds, first, "a", "b")
			nack(c, c.one(), `resource "a": bad`, "a", "b")
			r.publish(ab.with(lds, "a", "bad").with(lds, "b", "v2"))
			again := c.one()
			if diff := cmp.Diff(map[string]string{"a": "bad", "b": "v2"}, contents(again)); diff != "" {
				r.Fatal(diff)
			}
			nack(c, again, `resource "a": bad`, "a", "b")
			c.none()
			if got := r.Ledger().Rejections; len(got) != 1 || got[0].Name != "a" {
				r.Errorf("rejections %+v, want one of a: the client has taken b", got)
			}
		}},
		{"a refusal is logged once, however often the client asks again", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, eds, nil, "a")
			for range 5 {
				reject(c, c.one(), "no")
				subscribe(c, eds, nil, "a")
			}
			c.one()
			if got := r.warnings(); got != 1 {
				r.Errorf("%d warnings, want 1", got)
			}
		}},
		{"resources a reason does not name are accepted", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, eds, nil, "a", "b")
			reject(c, c.one(), `[xDS node id: node]: resource "a": no zone`)
			c.none()
			rejections := r.Ledger().Rejections
			if len(rejections) != 1 || rejections[0].Name != "a" {
				r.Fatalf("rejections %+v, want one of a", rejections)
			}
			want := Rejection{
				Node: "node", Type: eds, Name: "a", Version: version(eds, "a", "v1"),
				Reason: `[xDS node id: node]: resource "a": no zone`, At: time.Now(),
			}
			if diff := cmp.Diff(want, rejections[0]); diff != "" {
				r.Error(diff)
			}
			s := r.Ledger().Streams[0]
			if s.Resources != 1 || s.Refused != 1 || s.Current {
				r.Errorf("stream %+v, want one resource, one refused, not current", s)
			}
		}},
		{"without a name in the reason all that is new in the response is refused", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, eds, nil, "a", "b")
			reject(c, c.one(), "no")
			c.none()
			if got := len(r.Ledger().Rejections); got != 2 {
				r.Errorf("%d rejections, want 2", got)
			}
		}},
		{"a refused delta resource is sent when its content changes", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, rds, nil, "a")
			reject(c, c.one(), "no")
			r.publish(ab.with(rds, "b", "v2"))
			c.none()
			r.publish(ab.with(rds, "a", "v2"))
			if diff := cmp.Diff(map[string]string{"a": "v2"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a refused resource that goes is removed from a client that had an older one", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			resume(c, rds, map[string]string{"a": "older"}, "a")
			reject(c, c.one(), "no")
			c.none()
			r.publish(ab.with(rds, "a", ""))
			if diff := cmp.Diff(map[string]string{"a": "removed"}, changes(c.one())); diff != "" {
				r.Error(diff)
			}
		}},
		{"a refusal of an empty response is kept without a name", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			ask(c, lds, nil, "x")
			nack(c, c.one(), "", "x")
			c.none()
			rejections := r.Ledger().Rejections
			if len(rejections) != 1 || rejections[0].Name != "" || rejections[0].Reason == "" {
				r.Errorf("rejections %+v, want one without a name and with a reason", rejections)
			}
		}},
		{"a rejection outlives its stream by fifteen minutes", func(r *rig) {
			r.publish(ab)
			c := r.sotw("node")
			ask(c, eds, nil, "a")
			nack(c, c.one(), "bad", "a")
			c.none()
			time.Sleep(time.Hour)
			if got := len(r.Ledger().Rejections); got != 1 {
				r.Fatalf("%d rejections while the stream is open, want 1", got)
			}
			c.cancel()
			synctest.Wait()
			time.Sleep(rejectionsKept)
			if got := len(r.Ledger().Rejections); got != 1 {
				r.Errorf("%d rejections after 15 minutes, want 1", got)
			}
			time.Sleep(time.Nanosecond)
			if got := len(r.Ledger().Rejections); got != 0 {
				r.Errorf("%d rejections later, want none", got)
			}
		}},
		{"no client fills the memory with rejections", func(r *rig) {
			w := world{eds: {}}
			var names []string
			for i := range maxBlamed + 50 {
				names = append(names, fmt.Sprintf("s%04d", i))
				w[eds][names[i]] = "v1"
			}
			r.publish(w)
			for i := range maxRejections/maxBlamed + 2 {
				c := r.sotw(fmt.Sprint("node-", i))
				ask(c, eds, nil, names...)
				nack(c, c.one(), strings.Repeat("bad ", 1<<16), names...)
				c.none()
				if got := min((i+1)*maxBlamed, maxRejections); len(r.Ledger().Rejections) != got {
					r.Fatalf("%d rejections, want %d", len(r.Ledger().Rejections), got)
				}
			}
			rejections := r.Ledger().Rejections
			if len(rejections) != maxRejections {
				r.Errorf("%d rejections, want the limit, %d", len(rejections), maxRejections)
			}
			if got := len(rejections[0].Reason); got > maxReason+3 {
				r.Errorf("a reason of %d bytes, want at most %d", got, maxReason+3)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, tt.run)
		})
	}
}

func TestMentions(t *testing.T) {
	tests := []struct {
		name, text, resource string
		want                 bool
	}{
		{"quoted", `resource "voting": bad`, "voting", true},
		{"alone", "voting", "voting", true},
		{"before a colon", "voting: bad", "voting", true},
		{"before a colon without a space", "voting:bad", "voting", false},
		{"at the end of a sentence", "refused voting. Sorry", "voting", true},
		{"in a longer name", `resource "voting.shop": bad`, "voting", false},
		{"before a version", "cluster voting/v2: bad", "voting", false},
		{"with its version", "cluster voting/v2: bad", "voting/v2", true},
		{"in a longer name first, then alone", "voting.shop and voting", "voting", true},
		{"in the middle of a word", "outvoting", "voting", false},
		{"not at all", "emoji", "voting", false},
		{"beside bytes that are no text", "\xffvoting\xff", "voting", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := mentions(tt.text, tt.resource); got != tt.want {
				t.Errorf("mentions(%q, %q) = %v, want %v", tt.text, tt.resource, got, tt.want)
			}
		})
	}
}
