package retry_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"

	_ "google.golang.org/grpc/health/grpc_health_v1" // a service whose methods say nothing of idempotency
)

func TestAgain(t *testing.T) {
	refusal := func(r call.Reason) *call.Error { return &call.Error{Reason: r} }
	for _, tt := range []struct {
		name    string
		failure retry.Failure
		want    bool
	}{
		{"what was not sent is sent again", retry.Failure{Code: codes.Unavailable, Unsent: true}, true},
		{"also where it serves a retry", retry.Failure{Code: codes.Unavailable, Unsent: true, Serving: true}, true},
		{"what may have been sent is not", retry.Failure{Code: codes.Unavailable}, false},
		{"unless it may be made twice", retry.Failure{Code: codes.Unavailable, Repeatable: true}, true},
		{"but not to serve what is a retry", retry.Failure{Code: codes.Unavailable, Repeatable: true, Serving: true}, false},
		{"another code is an answer", retry.Failure{Code: codes.NotFound, Unsent: true, Repeatable: true}, false},
		{"a deadline is the end", retry.Failure{Code: codes.DeadlineExceeded, Repeatable: true}, false},
		{"unless it was that of one attempt", retry.Failure{Code: codes.DeadlineExceeded, Repeatable: true, TimedOut: true}, true},
		{"which may have been sent, too", retry.Failure{Code: codes.DeadlineExceeded, TimedOut: true}, false},
		{"pushback asks to wait", retry.Failure{Code: codes.Unavailable, Repeatable: true, Pushback: time.Second}, true},
		{"pushback asks to stop", retry.Failure{Code: codes.Unavailable, Repeatable: true, Pushback: -1}, false},
		{"an endpoint may be there in a moment", retry.Failure{Code: codes.Unavailable, Unsent: true, Refusal: refusal(call.NoEndpoint)}, true},
		{"a limit holds for retries", retry.Failure{Code: codes.Unavailable, Unsent: true, Refusal: refusal(call.MaxRequests)}, false},
		{"so does a drop rule", retry.Failure{Code: codes.Unavailable, Unsent: true, Refusal: refusal(call.Dropped)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := retry.Again(resource.DefaultRetry(), tt.failure); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWaitHasFullJitterUpToACeilingThatDoubles(t *testing.T) {
	r := resource.DefaultRetry()
	for n, ceiling := range map[uint32]time.Duration{
		1: 25 * time.Millisecond, 2: 50 * time.Millisecond, 3: 100 * time.Millisecond, 4: 200 * time.Millisecond,
		5: 250 * time.Millisecond, 6: 250 * time.Millisecond, 64: 250 * time.Millisecond, 1 << 31: 250 * time.Millisecond,
	} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			low, high, sum := ceiling, time.Duration(0), time.Duration(0)
			const draws = 20_000
			for range draws {
				d := retry.Wait(r, n, 0)
				low, high, sum = min(low, d), max(high, d), sum+d
			}
			if low < 0 || low > ceiling/50 || high > ceiling || high < ceiling-ceiling/50 {
				t.Errorf("drawn from %v to %v, want 0 to %v", low, high, ceiling)
			}
			if mean := sum / draws; mean < ceiling*45/100 || mean > ceiling*55/100 {
				t.Errorf("the mean is %v of %v, want half", mean, ceiling)
			}
		})
	}
}

func TestWaitIsWhatTheEndpointAsksFor(t *testing.T) {
	if got := retry.Wait(resource.DefaultRetry(), 1, time.Minute); got != time.Minute {
		t.Errorf("got %v, want a minute", got)
	}
}

func TestWaitOfPoliciesThatDoNotWait(t *testing.T) {
	for _, r := range []*resource.Retry{{}, {BackoffBase: time.Second}, {BackoffMax: -1}} {
		if got := retry.Wait(r, 3, 0); got != 0 {
			t.Errorf("%+v waits %v", r, got)
		}
	}
}

func TestFits(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		name     string
		wait     time.Duration
		deadline time.Time
		want     bool
	}{
		{"without a deadline all fits", time.Hour, time.Time{}, true},
		{"with time left", time.Second, now.Add(time.Second + 1), true},
		{"not with none left for the attempt", time.Second, now.Add(time.Second), false},
		{"not after the deadline", 0, now.Add(-1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := retry.Fits(now, tt.wait, tt.deadline); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMergeReplacesWhatTheOptionSays(t *testing.T) {
	route := *resource.DefaultRetry()
	for _, tt := range []struct {
		name   string
		option call.Retry
		change func(*resource.Retry)
	}{
		{"nothing", call.Retry{}, func(*resource.Retry) {}},
		{"attempts", call.Retry{Attempts: 3}, func(r *resource.Retry) { r.Attempts = 3 }},
		{"no more than five of them", call.Retry{Attempts: 100}, func(r *resource.Retry) { r.Attempts = 5 }},
		{"the time of one", call.Retry{PerTryTimeout: 1}, func(r *resource.Retry) { r.PerTryTimeout = 1 }},
		{"codes", call.Retry{Codes: []uint32{13}}, func(r *resource.Retry) { r.Codes = resource.Codes(13) }},
		{"that it may be made twice", call.Retry{Idempotent: true}, func(r *resource.Retry) { r.Idempotent = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := route
			tt.change(&want)
			if got := retry.Merge(route, tt.option); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	route.Idempotent = true
	if !retry.Merge(route, call.Retry{Attempts: 1}).Idempotent {
		t.Error("the option takes back what the route says of the method")
	}
}
