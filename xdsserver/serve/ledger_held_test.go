package serve

import (
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// holds returns what the one client has of a name, and the text of that.
func (r *rig) holds(typeURL, name string) (Holding, string) {
	r.Helper()
	synctest.Wait()
	held := r.Held(func(*Stream) bool { return true })
	if len(held) != 1 {
		r.Fatalf("%d streams, want 1", len(held))
	}
	h, ok := held[0].Holding(typeURL, name)
	if !ok {
		r.Fatalf("it did not ask for %s", name)
	}
	if h.Any == nil {
		return h, ""
	}
	a := new(anypb.Any)
	if err := proto.Unmarshal(h.Any, a); err != nil {
		r.Fatal(err)
	}
	h.Any = nil
	return h, text(a)
}

func TestWhatAClientHolds(t *testing.T) {
	ab := full("a", "b")
	v1, v2 := version(rds, "a", "v1"), version(rds, "a", "v2")
	tests := []struct {
		name string
		run  func(r *rig)
		want Holding
		text string // of Any
		ago  time.Duration
	}{
		{"a name that is not answered yet", func(r *rig) {
			subscribe(r.delta("node"), rds, nil, "a")
		}, Holding{State: HoldingAsked}, "", 0},
		{"the published version", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, rds, nil, "a")
			ack(c, c.one())
			synctest.Wait()
			time.Sleep(time.Minute)
		}, Holding{State: HoldingCurrent, Version: v1, Current: v1}, "v1", time.Minute},
		{"one that was sent and is not answered", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, rds, nil, "a")
			c.one()
		}, Holding{State: HoldingBehind, Current: v1}, "", 0},
		{"the one before, while a newer one is not answered", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, rds, nil, "a")
			ack(c, c.one())
			r.publish(ab.with(rds, "a", "v2"))
			c.one()
		}, Holding{State: HoldingBehind, Version: v1, Current: v2}, "v1", 0},
		{"perhaps a newer one, when that is taken back before it was answered", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, rds, nil, "a")
			ack(c, c.one())
			r.publish(ab.with(rds, "a", "v2"))
			c.one()
			r.publish(ab)
		}, Holding{State: HoldingBehind, Version: v1, Current: v1}, "v1", 0},
		{"the one before, when the newer one is refused", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, rds, nil, "a")
			ack(c, c.one())
			r.publish(ab.with(rds, "a", "v2"))
			reject(c, c.one(), "no")
		}, Holding{State: HoldingRefused, Version: v1, Current: v2, Refused: v2, Reason: "no"}, "v1", 0},
		{"nothing, when the first one is refused", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			subscribe(c, rds, nil, "a")
			reject(c, c.one(), "no")
		}, Holding{State: HoldingRefused, Current: v1, Refused: v1, Reason: "no"}, "", 0},
		{"nothing, where there is nothing", func(r *rig) {
			r.publish(full("b"))
			c := r.delta("node")
			subscribe(c, rds, nil, "a")
			ack(c, c.one())
		}, Holding{State: HoldingGone}, "", 0},
		{"the published version, which it came back with", func(r *rig) {
			r.publish(ab)
			resume(r.delta("node"), rds, map[string]string{"a": v1}, "a")
		}, Holding{State: HoldingCurrent, Version: v1, Current: v1}, "v1", 0},
		{"one of an earlier stream, while the published one is not answered", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			resume(c, rds, map[string]string{"a": "old"}, "a")
			c.one()
		}, Holding{State: HoldingBehind, Unknown: true, Current: v1}, "", 0},
		{"one of an earlier stream, when the published one is refused", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			resume(c, rds, map[string]string{"a": "old"}, "a")
			reject(c, c.one(), "no")
		}, Holding{State: HoldingRefused, Unknown: true, Current: v1, Refused: v1, Reason: "no"}, "", 0},
		{"the published version, after one of an earlier stream", func(r *rig) {
			r.publish(ab)
			c := r.delta("node")
			resume(c, rds, map[string]string{"a": "old"}, "a")
			ack(c, c.one())
		}, Holding{State: HoldingCurrent, Version: v1, Current: v1}, "v1", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) {
				tt.run(r)
				got, text := r.holds(rds, "a")
				if said := time.Since(got.At); !got.At.IsZero() && said != tt.ago {
					r.Errorf("the last word is %v ago, want %v", said, tt.ago)
				}
				if got.At.IsZero() != (got.State == HoldingAsked) {
					r.Errorf("the last word is of %v", got.At)
				}
				got.At = time.Time{}
				tt.want.Type, tt.want.Name = rds, "a"
				if diff := cmp.Diff(tt.want, got); diff != "" {
					r.Errorf("(-want +got):\n%s", diff)
				}
				if text != tt.text {
					r.Errorf("it holds %q, want %q", text, tt.text)
				}
			})
		})
	}
}

func TestHeldIsOfTheStreamsThatAreWanted(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.publish(full("a", "b"))
		for _, node := range []string{"web-2", "web-1", "other"} {
			c := r.delta(node)
			c.node.Locality = &corev3.Locality{Region: "eu", Zone: "north"}
			subscribe(c, lds, nil, "b", "a")
			ack(c, c.one())
		}
		r.delta("silent").none()
		synctest.Wait()
		held := r.Held(func(s *Stream) bool { return s.Node != "other" })
		if len(held) != 2 || held[0].Node != "web-1" || held[1].Node != "web-2" || held[0].Region != "eu" || held[0].Zone != "north" {
			r.Fatalf("got %+v", held)
		}
		for _, name := range []string{"a", "b"} {
			if h, ok := held[1].Holding(lds, name); !ok || h.State != HoldingCurrent || h.Name != name {
				r.Errorf("%s: %+v, %v", name, h, ok)
			}
		}
		for typeURL, name := range map[string]string{lds: "c", rds: "a", "unknown": "a"} {
			if h, ok := held[1].Holding(typeURL, name); ok {
				r.Errorf("it holds %+v of %s, which it did not ask for", h, typeURL)
			}
		}
	})
}
