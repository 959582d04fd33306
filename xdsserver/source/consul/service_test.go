package consul

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A bench runs a loop in a bubble.
type bench struct {
	readings chan reading

	mu     sync.Mutex
	leader reading // what the leader says
	asked  int
	views  []string
}

func (b *bench) run(t *testing.T, test func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b.readings = make(chan reading)
		l := loop{service: newService("voting", "r1"), readings: b.readings, ask: b.ask, publish: b.publish}
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

func (b *bench) ask(context.Context) reading {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return b.leader
}

func (b *bench) publish(v *view) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.views = append(b.views, shown(v))
}

// leads sets what the leader says from now on.
func (b *bench) leads(r reading) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.fresh = true
	b.leader = r
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

// want wants so many questions and these views, since the last time.
func (b *bench) want(t *testing.T, asked int, views ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.views, views) || b.asked != asked {
		t.Fatalf("got views %q and %d questions, want %q and %d", b.views, b.asked, views, asked)
	}
	b.views, b.asked = nil, 0
}

func TestHeldInstancesGoWhenTheLeaderConfirmsIt(t *testing.T) {
	b := &bench{}
	b.run(t, func() {
		b.sees("a b c")
		b.sees("a b c")
		b.sees("c")
		b.leads(reading{entries: entries("c")})
		pass(hold - 1)
		b.want(t, 0, "a b c", "a? b? c")
		pass(1)
		b.want(t, 1, "c")
		pass(time.Hour)
		b.want(t, 0)
	})
}

func TestHeldInstancesStayWhenTheLeaderHasThem(t *testing.T) {
	b := &bench{}
	b.run(t, func() {
		b.sees("a b c")
		b.sees("")
		b.leads(reading{entries: entries("a b c")})
		pass(hold)
		b.want(t, 1, "a b c", "a? b? c?", "a b c")
	})
}

func TestALeaderThatIsAwayIsAskedUntilItAnswers(t *testing.T) {
	b := &bench{}
	b.run(t, func() {
		b.sees("a")
		b.sees("")
		b.leads(reading{err: errors.New("no leader")})
		pass(hold + 2*again)
		b.want(t, 3, "a", "a?")
		b.leads(reading{})
		pass(again)
		b.want(t, 1, "")
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
		b.want(t, 0, "a b", "a b!", "a b", "a b!", "a b", "a b!", "a b", "a b!", "a b!") // critical, then damped
		pass(dampLeast - 1)
		b.want(t, 0)
		pass(1)
		b.want(t, 0, "a b")
	})
}
