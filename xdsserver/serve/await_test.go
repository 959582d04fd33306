package serve

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// awaiting runs Await and reports how it ended: "" while it has not.
func (r *rig) awaiting(ctx context.Context, generation uint64) func() string {
	done := make(chan error, 1)
	go func() { done <- r.Await(ctx, "test", generation) }()
	last := ""
	return func() string {
		synctest.Wait()
		select {
		case err := <-done:
			if last = "done"; err != nil {
				last = err.Error()
			}
		default:
		}
		return last
	}
}

func TestAwait(t *testing.T) {
	a := full("a")
	tests := []struct {
		name string
		run  func(r *rig, c *sotwClient, ctx context.Context)
	}{
		{"it waits for a snapshot that holds the generation", func(r *rig, _ *sotwClient, ctx context.Context) {
			state := r.awaiting(ctx, 2)
			r.publish(a)
			if got := state(); got != "" {
				r.Fatalf("%q after generation 1", got)
			}
			r.publish(a)
			if got := state(); got != "done" {
				r.Errorf("%q after generation 2, want done", got)
			}
		}},
		{"it waits for an answer to what is under way", func(r *rig, c *sotwClient, ctx context.Context) {
			r.publish(a)
			ask(c, eds, nil, "a")
			ask(c, eds, c.one(), "a")
			r.publish(a.with(eds, "a", "v2"))
			second := c.one()
			state := r.awaiting(ctx, 2)
			if got := state(); got != "" {
				r.Fatalf("%q before the client has answered", got)
			}
			ask(c, eds, second, "a")
			if got := state(); got != "done" {
				r.Errorf("%q after the client has answered, want done", got)
			}
		}},
		{"it waits for what is held back by what is under way, and for no more than it was asked", func(r *rig, c *sotwClient, ctx context.Context) {
			r.publish(a)
			ask(c, eds, nil, "a")
			first := c.one()
			r.publish(a.with(eds, "a", "v2"))
			state := r.awaiting(ctx, 2)
			ask(c, eds, first, "a")
			second := c.one()
			if got := state(); got != "" {
				r.Fatalf("%q while the change is under way", got)
			}
			r.publish(a.with(eds, "a", "v3"))
			ask(c, eds, second, "a")
			c.one() // the third is not answered
			if got := state(); got != "done" {
				r.Errorf("%q while only a later change is under way, want done", got)
			}
		}},
		{"streams that are not concerned do not hold it up", func(r *rig, c *sotwClient, ctx context.Context) {
			r.publish(a)
			ask(c, lds, nil, "a")
			ask(c, lds, c.one(), "a")
			r.publish(a.with(eds, "a", "v2"))
			if got := r.awaiting(ctx, 2)(); got != "done" {
				r.Errorf("%q, want done", got)
			}
		}},
		{"a refusal is an answer", func(r *rig, c *sotwClient, ctx context.Context) {
			r.publish(a)
			ask(c, eds, nil, "a")
			nack(c, c.one(), "bad", "a")
			if got := r.awaiting(ctx, 1)(); got != "done" {
				r.Errorf("%q, want done", got)
			}
		}},
		{"a stream that ends is no longer waited for", func(r *rig, c *sotwClient, ctx context.Context) {
			r.publish(a)
			ask(c, eds, nil, "a")
			c.one()
			state := r.awaiting(ctx, 1)
			if got := state(); got != "" {
				r.Fatalf("%q before", got)
			}
			c.cancel()
			if got := state(); got != "done" {
				r.Errorf("%q after the stream has ended, want done", got)
			}
		}},
		{"streams that open later are not waited for", func(r *rig, c *sotwClient, ctx context.Context) {
			r.publish(a)
			ask(c, eds, nil, "a")
			first := c.one()
			state := r.awaiting(ctx, 1)
			state()
			late := r.sotw("late")
			ask(late, eds, nil, "a")
			late.one()
			ask(c, eds, first, "a")
			if got := state(); got != "done" {
				r.Errorf("%q, want done", got)
			}
		}},
		{"it says how many clients are missing when its time is over", func(r *rig, c *sotwClient, ctx context.Context) {
			r.publish(a)
			ask(c, eds, nil, "a")
			c.one()
			state := r.awaiting(ctx, 1)
			time.Sleep(10 * time.Second)
			if got := state(); !strings.Contains(got, "1 clients have not acknowledged generation 1 of test") {
				r.Errorf("got %q", got)
			}
		}},
		{"it says that nothing was published when its time is over", func(r *rig, _ *sotwClient, ctx context.Context) {
			state := r.awaiting(ctx, 1)
			time.Sleep(10 * time.Second)
			if got := state(); !strings.Contains(got, "generation 1 of test is not published") {
				r.Errorf("got %q", got)
			}
		}},
		{"what a client is spared of later is not waited for", func(r *rig, _ *sotwClient, ctx context.Context) {
			warm := newRig(r.T, Config{WarmUntil: time.Now().Add(time.Minute), Logger: r.log})
			warm.publish(a)
			for range 8 { // they are looked at in no order
				resume(warm.delta("spared"), eds, map[string]string{"a": version(eds, "a", "v1")}, "a")
			}
			slow := warm.sotw("slow")
			ask(slow, eds, nil, "a")
			first := slow.one()
			state := warm.awaiting(ctx, 1)
			if got := state(); got != "" {
				r.Fatalf("%q before the slow one has answered", got)
			}
			warm.publish(a.with(eds, "a", "v2"))
			ask(slow, eds, first, "a")
			if got := state(); got != "done" {
				r.Errorf("%q, want done", got)
			}
		}},
		{"a client that is spared during the warm-up is waited for", func(r *rig, _ *sotwClient, ctx context.Context) {
			warm := newRig(r.T, Config{WarmUntil: time.Now().Add(5 * time.Second), Logger: r.log})
			warm.publish(a)
			d := warm.delta("spared")
			resume(d, eds, map[string]string{"a": "old"}, "a")
			d.none()
			state := warm.awaiting(ctx, 1)
			if got := state(); got != "" {
				r.Fatalf("%q during the warm-up", got)
			}
			time.Sleep(5 * time.Second)
			ack(d, d.one())
			if got := state(); got != "done" {
				r.Errorf("%q after it, want done", got)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) {
				ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
				defer cancel()
				tt.run(r, r.sotw("node"), ctx)
			})
		})
	}
}

func TestAwaitGivesTheCause(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		drained := errors.New("drained")
		ctx, cancel := context.WithCancelCause(r.Context())
		cancel(drained)
		if err := r.Await(ctx, "test", 1); !errors.Is(err, drained) {
			r.Errorf("got %v, want the cause", err)
		}
	})
}
