package deadline_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors/deadline"
	"github.com/tulle-mesh/tulle/mesh/call"
)

func TestStart(t *testing.T) {
	const none = 0
	for _, tt := range []struct {
		name                     string
		served, own              time.Duration // deadlines from now; none for none
		timeout, common, hopCost time.Duration
		want, first              time.Duration // of the call, and of the first attempt's context
		reason                   call.Reason   // when that is over
		tooShort, detached       bool
	}{
		{name: "nothing bounds it"},
		{name: "the application's own deadline costs nothing", own: time.Second, want: time.Second, first: time.Second},
		{name: "the route's timeout", timeout: time.Second, want: time.Second, first: time.Second, reason: call.RouteTimeout},
		{name: "the route's timeout, kept by grpc", timeout: time.Second, common: time.Second, want: time.Second, first: none, reason: call.RouteTimeout},
		{name: "the application's is sooner than the route's", own: time.Second, timeout: time.Minute, want: time.Second, first: time.Second},
		{name: "also where grpc keeps it", own: time.Second, timeout: time.Minute, common: time.Minute, want: time.Second, first: time.Second},
		{name: "the route's is sooner than the application's", own: time.Minute, timeout: time.Second, common: time.Second, want: time.Second, first: time.Minute, reason: call.RouteTimeout},
		{name: "the served call's deadline less the hop cost", served: time.Second, hopCost: 100 * time.Millisecond, want: 900 * time.Millisecond, first: 900 * time.Millisecond, reason: call.DeadlineTooShort},
		{name: "which is sooner than the route's", served: time.Second, hopCost: 100 * time.Millisecond, timeout: 950 * time.Millisecond, common: 950 * time.Millisecond, want: 900 * time.Millisecond, first: 900 * time.Millisecond, reason: call.DeadlineTooShort},
		{name: "the route's is sooner than that", served: time.Second, hopCost: 100 * time.Millisecond, timeout: 800 * time.Millisecond, want: 800 * time.Millisecond, first: 800 * time.Millisecond, reason: call.RouteTimeout},
		{name: "the application's is sooner than that", served: time.Second, own: 500 * time.Millisecond, hopCost: 100 * time.Millisecond, want: 500 * time.Millisecond, first: 500 * time.Millisecond},
		{name: "without a hop cost the served call's deadline is the application's", served: time.Second, want: time.Second, first: time.Second},
		{name: "what is left is just what the hop costs", served: 100 * time.Millisecond, hopCost: 100 * time.Millisecond, tooShort: true},
		{name: "what is left is less", served: 50 * time.Millisecond, hopCost: 100 * time.Millisecond, tooShort: true},
		{name: "a call that goes on after the served one is not bounded by it", served: 50 * time.Millisecond, hopCost: 100 * time.Millisecond, detached: true},
		{name: "a call that ends later than the served one neither", served: 50 * time.Millisecond, hopCost: 100 * time.Millisecond, detached: true, own: time.Second, want: time.Second, first: time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now, ctx := time.Now(), t.Context()
				within := func(d time.Duration) {
					if d > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, d)
						t.Cleanup(cancel)
					}
				}
				within(tt.served)
				incoming := &call.Incoming{Context: ctx}
				ctx = incoming
				if tt.detached {
					ctx = context.WithoutCancel(ctx)
				}
				within(tt.own)
				clock, bounded, cancel, failure := deadline.Start(ctx, now, deadline.Terms{
					Timeout: tt.timeout, Common: tt.common, HopCost: tt.hopCost, Incoming: incoming,
				})
				if cancel != nil {
					defer cancel()
				}
				if (failure != nil) != tt.tooShort {
					t.Fatalf("failure: %v, want one: %v", failure, tt.tooShort)
				}
				if failure != nil {
					if failure.Reason != call.DeadlineTooShort || failure.Code != codes.DeadlineExceeded || cancel != nil {
						t.Errorf("got %v", failure)
					}
					return
				}
				if got, ok := bounded.Deadline(); ok != (tt.first > 0) || ok && got.Sub(now) != tt.first {
					t.Errorf("the first attempt's deadline is %v from now, want %v", got.Sub(now), tt.first)
				}
				if got := clock.Until(bounded); got.IsZero() != (tt.want == 0) || tt.want > 0 && got.Sub(now) != tt.want {
					t.Errorf("the call ends %v from now, want %v", got.Sub(now), tt.want)
				}
				again, cancelAgain := clock.Bound(bounded)
				if cancelAgain != nil {
					defer cancelAgain()
				}
				if got, ok := again.Deadline(); ok != (tt.want > 0) || ok && got.Sub(now) != tt.want {
					t.Errorf("another attempt's deadline is %v from now, want %v", got.Sub(now), tt.want)
				}
				if tt.want == 0 {
					return
				}
				time.Sleep(tt.want - 1)
				if failure, over := clock.Overrun(bounded, "voting"); failure != nil || over {
					t.Errorf("over a moment too soon: %v", failure)
				}
				time.Sleep(1 * time.Nanosecond)
				synctest.Wait()
				failure, over := clock.Overrun(bounded, "voting")
				if !over {
					t.Error("not over in time")
				}
				var reason call.Reason
				if failure != nil {
					reason = failure.Reason
				}
				if reason != tt.reason {
					t.Errorf("the reason is %q, want %q", reason, tt.reason)
				}
			})
		})
	}
}
