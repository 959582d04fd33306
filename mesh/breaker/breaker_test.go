package breaker_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	ok          = 0
	notFound    = 5
	exhausted   = 8
	unavailable = 14
)

// exact is the default without what is random.
func exact() *resource.Breaker {
	c := resource.DefaultBreaker()
	c.Jitter = 0
	return c
}

func rated() *resource.Breaker {
	c := exact()
	c.ConsecutiveFailures, c.SuccessRate = 0, 0.8
	return c
}

// A bench is a breaker in a bubble.
type bench struct {
	*testing.T
	*breaker.Breaker

	changes []string
}

func (b *bench) changed(from, to breaker.State) {
	b.changes = append(b.changes, fmt.Sprintf("%v to %v", from, to))
}

// calls makes n calls that end with a code, where they are admitted.
func (b *bench) calls(n int, code uint32) {
	for range n {
		if a := b.Admit(breaker.Now()); a != breaker.Refused {
			b.Breaker.Done(breaker.Now(), a == breaker.Probe, code, true)
		}
	}
}

func (b *bench) is(when string, want breaker.State) {
	b.Helper()
	if got := b.State(); got != want {
		b.Errorf("%s the breaker is %v, want %v", when, got, want)
	}
}

// probeAfter lets time pass and checks that the breaker admits a probe then and not a
// millisecond earlier.
func (b *bench) probeAfter(d time.Duration) {
	b.Helper()
	time.Sleep(d - time.Millisecond)
	synctest.Wait()
	if got := b.Admit(breaker.Now()); got != breaker.Refused {
		b.Fatalf("a millisecond before %v a call is %v, want refused", d, got)
	}
	time.Sleep(time.Millisecond)
	if got := b.Admit(breaker.Now()); got != breaker.Probe {
		b.Fatalf("after %v a call is %v, want a probe", d, got)
	}
}

func TestBreaker(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config *resource.Breaker
		play   func(b *bench)
		// changes are those of the state.
		changes []string
	}{
		{name: "one without a configuration is always closed", play: func(b *bench) {
			b.calls(1000, unavailable)
			b.is("after a thousand failures", breaker.Closed)
		}},
		{name: "it opens at the seventh failure in a row", config: exact(), play: func(b *bench) {
			b.calls(6, unavailable)
			b.is("after six", breaker.Closed)
			b.calls(1, unavailable)
			b.is("after seven", breaker.Open)
			if got := b.RetryIn(breaker.Now()); got != time.Second {
				b.Errorf("it is to be tried in %v, want 1 s", got)
			}
		}, changes: []string{"closed to open"}},
		{name: "a success between failures begins the count anew", config: exact(), play: func(b *bench) {
			for range 10 {
				b.calls(6, unavailable)
				b.calls(1, ok)
			}
			b.is("after sixty failures", breaker.Closed)
		}},
		{name: "failures in a row count however far apart", config: exact(), play: func(b *bench) {
			for range 7 {
				b.calls(1, unavailable)
				time.Sleep(time.Hour)
			}
			b.is("after seven hours", breaker.Open)
		}, changes: []string{"closed to open"}},
		{name: "an answer that is no failure is a success", config: exact(), play: func(b *bench) {
			for range 10 {
				b.calls(6, unavailable)
				b.calls(1, notFound)
			}
			b.is("after answers in between", breaker.Closed)
		}},
		{name: "what the process made itself does not count", config: exact(), play: func(b *bench) {
			for range 100 {
				b.Breaker.Done(breaker.Now(), false, unavailable, false)
			}
			b.is("after a hundred", breaker.Closed)
		}},
		{name: "one probe is let through, and its success closes it", config: exact(), play: func(b *bench) {
			b.calls(7, unavailable)
			b.probeAfter(time.Second)
			b.is("with the probe under way", breaker.HalfOpen)
			time.Sleep(time.Hour)
			if got := b.Admit(breaker.Now()); got != breaker.Refused {
				b.Errorf("beside the probe a call is %v", got)
			}
			b.Breaker.Done(breaker.Now(), true, ok, true)
			b.is("after its success", breaker.Closed)
			if got := b.Admit(breaker.Now()); got != breaker.Admitted {
				b.Errorf("a call after it is %v", got)
			}
		}, changes: []string{"closed to open", "open to half-open", "half-open to closed"}},
		{name: "it waits twice as long each time, up to a minute, and begins anew after a success", config: exact(), play: func(b *bench) {
			b.calls(7, unavailable)
			for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
				b.probeAfter(time.Duration(seconds) * time.Second)
				b.Breaker.Done(breaker.Now(), true, unavailable, true)
				b.is("after a probe that failed", breaker.Open)
			}
			b.probeAfter(time.Minute)
			b.Breaker.Done(breaker.Now(), true, ok, true)
			b.calls(7, unavailable)
			b.probeAfter(time.Second)
			b.changes = nil // as many as there were waits
		}},
		{name: "a probe without a verdict leaves its place to the next call", config: exact(), play: func(b *bench) {
			b.calls(7, unavailable)
			b.probeAfter(time.Second)
			b.Breaker.Done(breaker.Now(), true, 1, false)
			b.is("after a probe that was cancelled", breaker.Open)
			b.calls(1, ok)
			b.is("after the next", breaker.Closed)
		}, changes: []string{"closed to open", "open to half-open", "half-open to open", "open to half-open", "half-open to closed"}},
		{name: "what began before it opened says nothing of now", config: exact(), play: func(b *bench) {
			b.calls(7, unavailable)
			at := b.RetryAt()
			for _, code := range []uint32{ok, unavailable} {
				b.Breaker.Done(breaker.Now(), false, code, true)
			}
			b.is("after calls of before", breaker.Open)
			if b.RetryAt() != at {
				b.Error("the wait has changed")
			}
			b.probeAfter(time.Second)
			for range 10 {
				b.Breaker.Done(breaker.Now(), false, unavailable, true)
			}
			b.is("with the probe under way", breaker.HalfOpen)
		}, changes: []string{"closed to open", "open to half-open"}},
		{name: "a probe that is told of twice counts once", config: exact(), play: func(b *bench) {
			b.calls(7, unavailable)
			b.probeAfter(time.Second)
			b.Breaker.Done(breaker.Now(), true, ok, true)
			b.Breaker.Done(breaker.Now(), true, unavailable, true)
			b.is("after both", breaker.Closed)
		}, changes: []string{"closed to open", "open to half-open", "half-open to closed"}},
		{name: "it opens when fewer succeed than the rate, of enough calls", config: rated(), play: func(b *bench) {
			b.calls(2, unavailable)
			b.calls(2, ok)
			b.is("after four calls", breaker.Closed)
			b.calls(1, unavailable)
			b.is("after five of which two succeeded", breaker.Open)
		}, changes: []string{"closed to open"}},
		{name: "a rate that is kept does not open it", config: rated(), play: func(b *bench) {
			for range 100 {
				b.calls(8, ok)
				b.calls(2, unavailable)
				time.Sleep(time.Second)
			}
			b.is("with eight of ten", breaker.Closed)
		}},
		{name: "calls count for the rate as long as the window", config: rated(), play: func(b *bench) {
			b.calls(4, unavailable)
			time.Sleep(11 * time.Second)
			b.calls(1, unavailable)
			b.is("with four failures before the window", breaker.Closed)
		}},
		{name: "a server that has enough to do counts for the rate", config: rated(), play: func(b *bench) {
			b.calls(5, exhausted)
			b.is("after five", breaker.Open)
		}, changes: []string{"closed to open"}},
		{name: "a server that has enough to do is no failure in a row", config: func() *resource.Breaker {
			c := exact()
			c.SuccessRate = 0.01
			return c
		}(), play: func(b *bench) {
			b.calls(1, ok)
			b.calls(50, exhausted)
			b.is("after fifty", breaker.Closed)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bench{T: t}
				b.Breaker = breaker.New(tt.config, b.changed)
				tt.play(b)
				if diff := cmp.Diff(tt.changes, b.changes); diff != "" && b.changes != nil {
					t.Errorf("changes (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestWaitsAreRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		for range 200 {
			b := &bench{T: t, Breaker: breaker.New(resource.DefaultBreaker(), nil)}
			b.calls(7, unavailable)
			waits = append(waits, b.RetryIn(breaker.Now()))
		}
		least, most := slices.Min(waits), slices.Max(waits)
		if least < time.Second || most > 1500*time.Millisecond || most-least < 400*time.Millisecond {
			t.Errorf("the waits are %v to %v, want 1 s to 1.5 s", least, most)
		}
	})
}

// Whatever happens at one time, one probe is under way at most, and one always comes.
func TestProbesExcludeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := exact()
		config.MaxPenalty = config.MinPenalty
		b := breaker.New(config, nil)
		for range 7 {
			b.Done(breaker.Now(), false, unavailable, true)
		}
		var under, probes atomic.Int64
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				for range 200 {
					time.Sleep(10 * time.Millisecond)
					switch b.Admit(breaker.Now()) {
					case breaker.Probe:
						if under.Add(1) > 1 {
							t.Error("two probes are under way")
						}
						time.Sleep(time.Millisecond)
						probes.Add(1)
						under.Add(-1)
						b.Done(breaker.Now(), true, unavailable, probes.Load()%2 == 0)
					case breaker.Admitted:
						t.Error("a call was admitted")
					default:
					}
				}
			})
		}
		callers.Wait()
		if probes.Load() < 2 {
			t.Errorf("%d probes in two seconds", probes.Load())
		}
	})
}

func TestAClosedBreakerCostsNoAllocation(t *testing.T) {
	b := breaker.New(resource.DefaultBreaker(), nil)
	got := testing.AllocsPerRun(1000, func() {
		if b.Admit(breaker.Now()) == breaker.Admitted {
			b.Done(breaker.Now(), false, ok, true)
		}
	})
	if got != 0 {
		t.Errorf("%g allocations for a call", got)
	}
}

func BenchmarkClosed(b *testing.B) {
	br := breaker.New(resource.DefaultBreaker(), nil)
	now := breaker.Now()
	b.ReportAllocs()
	for b.Loop() {
		if br.Admit(now) == breaker.Admitted {
			br.Done(now, false, ok, true)
		}
	}
}

func BenchmarkClosedWithSuccessRate(b *testing.B) {
	br := breaker.New(rated(), nil)
	now := breaker.Now()
	b.ReportAllocs()
	for b.Loop() {
		if br.Admit(now) == breaker.Admitted {
			br.Done(now, false, ok, true)
		}
	}
}

func Example() {
	b := breaker.New(resource.DefaultBreaker(), nil)
	call := func(code uint32) string {
		admission := b.Admit(breaker.Now())
		if admission == breaker.Refused {
			return "refused"
		}
		b.Done(breaker.Now(), admission == breaker.Probe, code, true)
		return "made"
	}
	for range 7 {
		fmt.Print(call(unavailable), " ")
	}
	fmt.Println(call(ok), b.State())
	// Output: made made made made made made made refused open
}
