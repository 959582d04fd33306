package consul

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// bench runs a loop in a bubble.
type bench struct {
	readings chan reading
	leader   reading // what the leader says
	asked    int
	views    []string
}

func (b *bench) run(t *testing.T, test func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b.readings = make(chan reading)
		l := loop{
			service: newService("voting", "r1"), readings: b.readings,
			ask: func(context.Context) reading {
				b.asked++
				r := b.leader
				r.fresh = true
				return r
			},
			publish: func(v *view) { b.views = append(b.views, shown(v)) },
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(ctx)
		}()
		test()
		cancel()
		<-done
	})
}

// sees sends a reading.
func (b *bench) sees(has string) {
	b.readings <- reading{entries: entries(has)}
	synctest.Wait()
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) want(t *testing.T, asked int, views ...string) {
	t.Helper()
	if len(b.views) != len(views) || b.asked != asked {
		t.Fatalf("got views %q and %d questions, want %q and %d", b.views, b.asked, views, asked)
	}
	for i := range views {
		if b.views[i] != views[i] {
			t.Errorf("got view %q, want %q", b.views[i], views[i])
		}
	}
}

func TestHeldInstancesGoWhenTheLeaderConfirmsIt(t *testing.T) {
	b := &bench{}
	b.run(t, func() {
		b.sees("a b c")
		b.sees("a b c")
		b.sees("c")
		b.leader = reading{entries: entries("c")}
		pass(hold - 1)
		b.want(t, 0, "a b c", "a? b? c")
		pass(1)
		b.want(t, 1, "a b c", "a? b? c", "c")
		pass(time.Hour)
		b.want(t, 1, "a b c", "a? b? c", "c")
	})
}

func TestHeldInstancesStayWhenTheLeaderHasThem(t *testing.T) {
	b := &bench{}
	b.run(t, func() {
		b.sees("a b c")
		b.sees("")
		b.leader = reading{entries: entries("a b c")}
		pass(hold)
		b.want(t, 1, "a b c", "a? b? c?", "a b c")
	})
}

func TestALeaderThatIsAwayIsAskedUntilItAnswers(t *testing.T) {
	b := &bench{}
	b.run(t, func() {
		b.sees("a")
		b.sees("")
		b.leader = reading{err: errors.New("no leader")}
		pass(hold + 2*again)
		b.want(t, 3, "a", "a?")
		b.leader = reading{}
		pass(again)
		b.want(t, 4, "a", "a?", "")
	})
}

func TestADampedInstanceComesBackByItself(t *testing.T) {
	b := &bench{}
	b.run(t, func() {
		b.sees("a b")
		for range flapMost + 1 {
			b.sees("a b!")
			b.sees("a b")
		}
		b.views = nil
		pass(dampLeast - 1)
		b.want(t, 0)
		pass(1)
		b.want(t, 0, "a b")
	})
}
