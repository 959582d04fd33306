package trip_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/trip"
	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// policy opens after three failures for one second, then two, then four.
func policy() *resource.Breaker {
	p := resource.DefaultBreaker()
	p.ConsecutiveFailures, p.MinPenalty, p.MaxPenalty, p.Jitter = 3, time.Second, 4*time.Second, 0
	return p
}

var errDown = status.Error(codes.Unavailable, "down")

// try makes calls that end with err, and returns how many were let through.
func try(t *testing.T, trips *trip.Breakers, p *resource.Breaker, n int, err error) int {
	t.Helper()
	passed := 0
	for range n {
		ticket, failure := trips.Admit("voting", p)
		if failure == nil {
			passed++
			ticket.Done(t.Context(), err)
		}
	}
	return passed
}

func TestAServiceThatFailsIsGivenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		trips := trip.Breakers{OnChange: func(service string, _, to breaker.State) {
			changes = append(changes, fmt.Sprint(service, " ", to))
		}}
		p := policy()
		if got := try(t, &trips, p, 10, errDown); got != 3 {
			t.Errorf("%d calls passed before it opened, want 3", got)
		}
		time.Sleep(time.Second - 1)
		if got := try(t, &trips, p, 10, nil); got != 0 {
			t.Errorf("%d calls passed while it was open", got)
		}
		time.Sleep(time.Nanosecond)
		if got := try(t, &trips, p, 10, errDown); got != 1 {
			t.Errorf("%d calls passed to see, want 1", got)
		}
		time.Sleep(2*time.Second - 1)
		if got := try(t, &trips, p, 10, nil); got != 0 {
			t.Errorf("%d calls passed while it was open again", got)
		}
		time.Sleep(time.Nanosecond)
		if got := try(t, &trips, p, 10, nil); got != 10 {
			t.Errorf("%d calls passed after it was well, want all", got)
		}
		if got := strings.Join(changes, ", "); !strings.HasPrefix(got, "voting open") || !strings.HasSuffix(got, "voting closed") {
			t.Errorf("the changes are %s", got)
		}
	})
}

func TestTheFailureSaysUntilWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trips trip.Breakers
		p := policy()
		try(t, &trips, p, 3, errDown)
		time.Sleep(250 * time.Millisecond)
		_, failure := trips.Admit("voting", p)
		until := time.Now().Add(750 * time.Millisecond).Format("15:04:05.000")
		want := `mesh: "voting" fails: its breaker is open for another 750ms, until ` + until + `; try: xdsserver endpoints voting`
		if failure == nil || failure.Error() != want || failure.Reason != call.BreakerOpen || failure.Code != codes.Unavailable || failure.Service != "voting" {
			t.Fatalf("got %+v, want %s", failure, want)
		}
		time.Sleep(750 * time.Millisecond)
		probe, failure := trips.Admit("voting", p)
		if failure != nil {
			t.Fatal(failure)
		}
		_, failure = trips.Admit("voting", p)
		want = `mesh: "voting" fails: its breaker waits for the one call that it let through; try: xdsserver endpoints voting`
		if failure == nil || failure.Error() != want {
			t.Errorf("got %v, want %s", failure, want)
		}
		probe.Done(t.Context(), nil)
	})
}

func TestWhatCounts(t *testing.T) {
	mesh := func(reason call.Reason, code codes.Code) error {
		return fmt.Errorf("vote: %w", &call.Error{Reason: reason, Code: code})
	}
	for _, tt := range []struct {
		name   string
		err    error
		late   bool // the application's deadline is over
		counts bool
	}{
		{"an answer", nil, false, false},
		{"a failure of the service", errDown, false, true},
		{"a failure of the service as the deadline runs out", errDown, true, true},
		{"an answer that the application does not like", status.Error(codes.NotFound, "no such vote"), false, false},
		{"a call that was cancelled", status.Error(codes.Canceled, "canceled"), false, false},
		{"the application's own deadline", status.Error(codes.DeadlineExceeded, "late"), true, false},
		{"a deadline of the service", status.Error(codes.DeadlineExceeded, "late"), false, true},
		{"the route's timeout", mesh(call.RouteTimeout, codes.DeadlineExceeded), false, true},
		{"the last attempt's timeout", mesh(call.PerTryTimeout, codes.DeadlineExceeded), false, true},
		{"no endpoint", mesh(call.NoEndpoint, codes.Unavailable), false, false},
		{"a limit of concurrent calls", mesh(call.MaxRequests, codes.Unavailable), false, false},
		{"a fault on purpose", mesh(call.FaultInjected, codes.Unavailable), false, false},
		{"an error that is no status", errors.New("broken"), false, true}, // UNKNOWN
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.late {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Second)
					defer cancel()
					time.Sleep(2 * time.Second)
				}
				var trips trip.Breakers
				p := policy()
				for range 100 {
					if ticket, failure := trips.Admit("voting", p); failure == nil {
						ticket.Done(ctx, tt.err)
					}
				}
				_, failure := trips.Admit("voting", p)
				if opened := failure != nil; opened != tt.counts {
					t.Errorf("it opened: %v, want %v", opened, tt.counts)
				}
			})
		})
	}
}

func TestAProbeThatTellsNothingLeavesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trips trip.Breakers
		p := policy()
		try(t, &trips, p, 3, errDown)
		time.Sleep(time.Second)
		if got := try(t, &trips, p, 5, status.Error(codes.Canceled, "canceled")); got < 1 {
			t.Error("there was no probe")
		}
		time.Sleep(time.Second)
		if got := try(t, &trips, p, 5, nil); got != 5 {
			t.Errorf("%d calls passed, want all", got)
		}
	})
}

func TestABreakerLivesAsLongAsItsPolicy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*resource.Breaker)
		passes bool
	}{
		{"a policy that says the same keeps it", func(*resource.Breaker) {}, false},
		{"a policy that says something else begins anew", func(p *resource.Breaker) { p.MinPenalty++ }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trips trip.Breakers
				try(t, &trips, policy(), 3, errDown)
				p := policy() // as a new configuration is decoded
				tt.change(p)
				if _, failure := trips.Admit("voting", p); (failure == nil) != tt.passes {
					t.Errorf("got %v, passes want %v", failure, tt.passes)
				}
				if _, failure := trips.Admit("emoji", policy()); failure != nil {
					t.Errorf("another service: %v", failure)
				}
				if _, failure := trips.Admit("voting", nil); failure != nil {
					t.Errorf("no policy: %v", failure)
				}
			})
		})
	}
}

func TestBreakersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trips trip.Breakers
		first := policy()
		try(t, &trips, first, 3, errDown)
		for i := range 3 {
			p := policy()
			p.MinRequests = uint32(100 + i)
			trips.Admit("voting", p)
		}
		if _, failure := trips.Admit("voting", first); failure == nil {
			t.Error("the first of four policies is forgotten")
		}
		p := policy()
		p.MinRequests = 200
		trips.Admit("voting", p)
		if _, failure := trips.Admit("voting", first); failure != nil {
			t.Error("the first of five policies is not forgotten")
		}
		for i := range 2000 {
			trips.Admit(fmt.Sprint(i), p)
		}
		for range 100 {
			ticket, failure := trips.Admit("1999", p)
			if failure != nil {
				t.Fatal("there are more services than their bound")
			}
			ticket.Done(t.Context(), errDown)
		}
	})
}

func TestCallsMeetOneBreaker(t *testing.T) {
	var trips trip.Breakers
	p := policy()
	p.MinPenalty, p.MaxPenalty = time.Hour, time.Hour
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { try(t, &trips, p, 100, errDown) })
	}
	wg.Wait()
	if _, failure := trips.Admit("voting", p); failure == nil {
		t.Error("it is not open")
	}
}

func TestAdmittingDoesNotAllocate(t *testing.T) {
	var trips trip.Breakers
	p := policy()
	try(t, &trips, p, 1, nil)
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() {
		ticket, _ := trips.Admit("voting", p)
		ticket.Done(ctx, nil)
	}); got > 0 {
		t.Errorf("it costs %v allocations", got)
	}
}

func BenchmarkAdmit(b *testing.B) {
	for _, bb := range []struct {
		name   string
		policy *resource.Breaker
	}{
		{"no policy", nil},
		{"closed", policy()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var trips trip.Breakers
			b.ReportAllocs()
			for b.Loop() {
				ticket, _ := trips.Admit("voting", bb.policy)
				ticket.Done(b.Context(), nil)
			}
		})
	}
}
