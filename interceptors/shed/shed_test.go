package shed_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/interceptors/shed"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func fixed(limit uint32) resource.Concurrency { return resource.Concurrency{Limit: limit} }

func TestRoomByCriticality(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit uint32
		want  [3]int // default, sheddable, critical
	}{
		{"of one place all get one", 1, [3]int{1, 1, 1}},
		{"of two", 2, [3]int{2, 2, 2}},
		{"of three", 3, [3]int{3, 2, 3}},
		{"of ten", 10, [3]int{9, 7, 10}},
		{"of a thousand", 1000, [3]int{900, 667, 1000}},
	} {
		for c, want := range tt.want {
			limiter := shed.New(fixed(tt.limit), time.Now())
			got := 0
			for ok := true; ok; got++ {
				_, ok = limiter.Acquire(shed.Criticality(c), time.Now())
			}
			if got-1 != want {
				t.Errorf("%s: %d calls that are %v were taken, want %d", tt.name, got-1, shed.Criticality(c), want)
			}
			if limiter.Running() != want {
				t.Errorf("%s: %d run, want %d", tt.name, limiter.Running(), want)
			}
		}
	}
}

func TestCriticalityOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		want   shed.Criticality
	}{
		{"nothing was said", nil, shed.Default},
		{"critical", []string{"critical"}, shed.Critical},
		{"default", []string{"default"}, shed.Default},
		{"sheddable", []string{"sheddable"}, shed.Sheddable},
		{"the first of two counts", []string{"sheddable", "critical"}, shed.Sheddable},
		{"what is no word of ours is the default", []string{"CRITICAL!"}, shed.Default},
		{"an empty value", []string{""}, shed.Default},
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.MD{shed.Header: tt.header})
		if got := shed.CriticalityOf(ctx); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := shed.CriticalityOf(context.Background()); got != shed.Default {
		t.Errorf("without metadata: %v", got)
	}
}

func TestAPlaceIsGivenBack(t *testing.T) {
	limiter := shed.New(fixed(1), time.Now())
	ticket, ok := limiter.Acquire(shed.Critical, time.Now())
	if !ok {
		t.Fatal("the first call was refused")
	}
	if _, ok := limiter.Acquire(shed.Critical, time.Now()); ok {
		t.Error("two calls run where one may")
	}
	ticket.Release(time.Now(), true)
	if _, ok := limiter.Acquire(shed.Critical, time.Now()); !ok {
		t.Error("the place was not given back")
	}
	shed.Ticket{}.Release(time.Now(), true) // of a call that nobody counts
}

func TestNeverMoreRunThanMay(t *testing.T) {
	limiter := shed.New(fixed(10), time.Now())
	var running, most, taken atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 2000 {
				var held []shed.Ticket
				for range 3 {
					ticket, ok := limiter.Acquire(shed.Critical, time.Now())
					if !ok {
						continue
					}
					held = append(held, ticket)
					taken.Add(1)
					n := running.Add(1)
					for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
					}
				}
				for _, ticket := range held {
					running.Add(-1)
					ticket.Release(time.Now(), true)
				}
			}
		})
	}
	callers.Wait()
	if most.Load() > 10 || limiter.Running() != 0 || taken.Load() == 0 {
		t.Errorf("%d calls ran at once, %d still do, %d were taken", most.Load(), limiter.Running(), taken.Load())
	}
}

// A server that answers at once that it cannot is not a fast one.
func TestFailuresTeachNothing(t *testing.T) {
	now := time.Unix(0, 0)
	limiter := shed.New(*adaptive(), now)
	run := func(calls int, took time.Duration, counts bool) {
		for range calls {
			var held []shed.Ticket
			for {
				ticket, ok := limiter.Acquire(shed.Critical, now)
				if !ok {
					break
				}
				held = append(held, ticket)
			}
			now = now.Add(took)
			for _, ticket := range held {
				ticket.Release(now, counts)
			}
		}
	}
	run(100, 50*time.Millisecond, true)
	limit := limiter.Limit()
	if limit <= 20 {
		t.Fatalf("the limit is %d: nothing was learned", limit)
	}
	run(1000, time.Millisecond, false)
	if got := limiter.Limit(); got != limit {
		t.Errorf("failures moved the limit from %d to %d", limit, got)
	}
}

// What took until the deadline was too slow, whatever its error says.
func TestWhatIsLearnedFrom(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ended error
		took  time.Duration // of the second that there was
		want  bool
	}{
		{"a call that was answered", nil, 500 * time.Millisecond, true},
		{"a call that failed", errors.New("not so"), 500 * time.Millisecond, false},
		{"a call whose deadline passed", context.DeadlineExceeded, time.Second, true},
		{"a call whose caller's deadline passed a moment sooner", context.Canceled, 960 * time.Millisecond, true},
		{"a call that its caller did not want any more", context.Canceled, 900 * time.Millisecond, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			limiter := shed.New(*adaptive(), time.Now())
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				var held []shed.Ticket
				for range 18 {
					ticket, _ := limiter.Acquire(shed.Default, time.Now())
					held = append(held, ticket)
				}
				time.Sleep(tt.took)
				for _, ticket := range held {
					ticket.End(ctx, tt.ended)
				}
				cancel()
			}
			if learned := limiter.Limit() != 20; learned != tt.want {
				t.Errorf("%s: learned %v, want %v", tt.name, learned, tt.want)
			}
		})
	}
}

func TestConfigure(t *testing.T) {
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		name     string
		from, to resource.Concurrency
		want     int
	}{
		{"another fixed limit", fixed(5), fixed(7), 7},
		{"a fixed limit becomes adaptive", fixed(5), *adaptive(), 20},
		{"an adaptive limit becomes fixed", *adaptive(), fixed(5), 5},
		{"what was found stays within other bounds", *adaptive(), resource.Concurrency{Limit: 99, Adaptive: true, Min: 1, Max: 8, Tolerance: 2}, 8},
		{"what was found goes on", *adaptive(), resource.Concurrency{Limit: 99, Adaptive: true, Min: 1, Max: 500, Tolerance: 2}, 20},
		{"a least limit above the first", fixed(5), resource.Concurrency{Limit: 5, Adaptive: true, Min: 30, Max: 500, Tolerance: 2}, 30},
	} {
		limiter := shed.New(tt.from, now)
		ticket, _ := limiter.Acquire(shed.Critical, now)
		limiter.Configure(tt.to, now)
		if got := limiter.Limit(); got != tt.want || limiter.Running() != 1 {
			t.Errorf("%s: the limit is %d with %d running, want %d with 1", tt.name, got, limiter.Running(), tt.want)
		}
		ticket.Release(now, true)
		if limiter.Running() != 0 {
			t.Errorf("%s: %d run", tt.name, limiter.Running())
		}
	}
}

func TestARefusalSaysWhyAndWhenToComeBack(t *testing.T) {
	limiter := shed.New(fixed(12), time.Now())
	for range 1000 {
		e := limiter.Refused("voting")
		if e.Code != codes.ResourceExhausted || e.Reason != call.Overloaded || !strings.Contains(e.Error(), "voting runs as many calls as it takes at once, 12") {
			t.Fatalf("got %v of %v: %v", e.Code, e.Reason, e)
		}
		if e.RetryAfter < 50*time.Millisecond || e.RetryAfter >= 150*time.Millisecond {
			t.Fatalf("come back after %v", e.RetryAfter)
		}
	}
}

func BenchmarkAcquire(b *testing.B) {
	for _, bb := range []struct {
		name   string
		config resource.Concurrency
	}{{"fixed", fixed(1000)}, {"adaptive", *adaptive()}} {
		b.Run(bb.name, func(b *testing.B) {
			limiter := shed.New(bb.config, time.Now())
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				now := time.Now()
				for pb.Next() {
					ticket, _ := limiter.Acquire(shed.Default, now)
					ticket.Release(now.Add(time.Millisecond), true)
				}
			})
		})
	}
}

func BenchmarkRefuse(b *testing.B) {
	limiter := shed.New(fixed(1), time.Now())
	limiter.Acquire(shed.Critical, time.Now())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			limiter.Acquire(shed.Default, time.Time{})
		}
	})
}

func FuzzCriticality(f *testing.F) {
	for _, seed := range []string{"critical", "default", "sheddable", "", "CRITICAL", "critical,sheddable"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		c := shed.CriticalityOf(metadata.NewIncomingContext(t.Context(), metadata.MD{shed.Header: {said}}))
		if c != shed.Default && c.String() != said {
			t.Errorf("%q is taken for %v", said, c)
		}
	})
}
