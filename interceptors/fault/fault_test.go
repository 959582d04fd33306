package fault_test

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/interceptors/fault"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const all = 1_000_000

// outcome is what a call saw of its faults.
type outcome struct {
	delay time.Duration
	code  codes.Code // of the abort, meaningful when ended
	ended bool
}

func inject(ctx context.Context, policy *resource.Fault) outcome {
	var faults fault.Injector
	start := time.Now()
	failure := faults.Inject(ctx, "voting", policy)
	o := outcome{delay: time.Since(start), ended: failure != nil}
	if failure != nil {
		o.code = failure.Code
	}
	return o
}

func TestInject(t *testing.T) {
	byHeader := &resource.Fault{DelayPerMillion: all, DelayByHeader: true, AbortPerMillion: all, AbortByHeader: true}
	fixed := &resource.Fault{DelayPerMillion: all, Delay: time.Second, AbortPerMillion: all, AbortCode: codes.NotFound}

	for _, tt := range []struct {
		name    string
		policy  *resource.Fault
		headers []string
		want    outcome
	}{
		{"no policy lets the call go on", nil, nil, outcome{}},
		{"an empty policy lets the call go on", &resource.Fault{}, nil, outcome{}},
		{"a share of zero touches no call", &resource.Fault{Delay: time.Second, AbortCode: codes.NotFound}, nil, outcome{}},
		{"a full share delays every call", &resource.Fault{DelayPerMillion: all, Delay: time.Second}, nil, outcome{delay: time.Second}},
		{"a full share aborts every call", &resource.Fault{AbortPerMillion: all, AbortCode: codes.NotFound}, nil, outcome{code: codes.NotFound, ended: true}},
		{"an abort comes after the delay", fixed, nil, outcome{time.Second, codes.NotFound, true}},
		{"an abort with OK ends the call", &resource.Fault{AbortPerMillion: all, AbortCode: codes.OK}, nil, outcome{ended: true}},

		{"headers mean nothing where the policy does not ask for them", fixed, []string{"x-envoy-fault-delay-request", "5000", "x-envoy-fault-abort-grpc-request", "3"}, outcome{time.Second, codes.NotFound, true}},
		{"without headers a policy by header does nothing", byHeader, nil, outcome{}},
		{"a header asks for a delay in milliseconds", byHeader, []string{"x-envoy-fault-delay-request", "53"}, outcome{delay: 53 * time.Millisecond}},
		{"a header asks for a gRPC status", byHeader, []string{"x-envoy-fault-abort-grpc-request", "3"}, outcome{code: codes.InvalidArgument, ended: true}},
		{"a header may ask for the gRPC status OK", byHeader, []string{"x-envoy-fault-abort-grpc-request", "0"}, outcome{ended: true}},
		{"a gRPC status that does not exist is UNKNOWN", byHeader, []string{"x-envoy-fault-abort-grpc-request", "99"}, outcome{code: codes.Unknown, ended: true}},
		{"an HTTP status is mapped to gRPC's", byHeader, []string{"x-envoy-fault-abort-request", "503"}, outcome{code: codes.Unavailable, ended: true}},
		{"HTTP 404 is UNIMPLEMENTED", byHeader, []string{"x-envoy-fault-abort-request", "404"}, outcome{code: codes.Unimplemented, ended: true}},
		{"HTTP 200 without a gRPC status is UNKNOWN", byHeader, []string{"x-envoy-fault-abort-request", "200"}, outcome{code: codes.Unknown, ended: true}},
		{"what is no HTTP status is ignored", byHeader, []string{"x-envoy-fault-abort-request", "99"}, outcome{}},
		{"the HTTP status comes before gRPC's", byHeader, []string{"x-envoy-fault-abort-request", "401", "x-envoy-fault-abort-grpc-request", "3"}, outcome{code: codes.Unauthenticated, ended: true}},
		{"a header that is no number is ignored", byHeader, []string{"x-envoy-fault-delay-request", "soon", "x-envoy-fault-abort-grpc-request", "-1"}, outcome{}},
		{"the last of several values counts", byHeader, []string{"x-envoy-fault-delay-request", "10", "x-envoy-fault-delay-request", "20"}, outcome{delay: 20 * time.Millisecond}},
		{"a header lowers the share", byHeader, []string{"x-envoy-fault-abort-grpc-request", "3", "x-envoy-fault-abort-request-percentage", "0"}, outcome{}},
		{"a share that is no number leaves the policy's", byHeader, []string{"x-envoy-fault-abort-grpc-request", "3", "x-envoy-fault-abort-request-percentage", "few"}, outcome{code: codes.InvalidArgument, ended: true}},
		{"a delay's share is lowered by its own header", byHeader, []string{"x-envoy-fault-delay-request", "10", "x-envoy-fault-delay-request-percentage", "0", "x-envoy-fault-abort-grpc-request", "3"}, outcome{code: codes.InvalidArgument, ended: true}},
		{"a header cannot raise the share", &resource.Fault{AbortByHeader: true}, []string{"x-envoy-fault-abort-grpc-request", "3", "x-envoy-fault-abort-request-percentage", "100"}, outcome{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := metadata.AppendToOutgoingContext(t.Context(), tt.headers...)
				if got := inject(ctx, tt.policy); got != tt.want {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
			})
		})
	}
}

func TestSharesFallWithinFiveStandardDeviations(t *testing.T) {
	const calls = 20_000
	for _, tt := range []struct {
		name    string
		policy  *resource.Fault
		headers []string
		share   float64
	}{
		{"a fixed share", &resource.Fault{AbortPerMillion: 300_000, AbortCode: codes.Aborted}, nil, 0.3},
		{"a share of less than a percent", &resource.Fault{AbortPerMillion: 6_250, AbortCode: codes.Aborted}, nil, 0.00625},
		{
			"a share that the caller lowers",
			&resource.Fault{AbortPerMillion: 500_000, AbortByHeader: true},
			[]string{"x-envoy-fault-abort-grpc-request", "10", "x-envoy-fault-abort-request-percentage", "10"},
			0.1,
		},
		{
			"a share that the caller lowers in the policy's own unit",
			&resource.Fault{AbortPerMillion: 500_000, AbortByHeader: true, AbortUnit: 1},
			[]string{"x-envoy-fault-abort-grpc-request", "10", "x-envoy-fault-abort-request-percentage", "10000"},
			0.01,
		},
		{
			"a share that the caller would raise",
			&resource.Fault{AbortPerMillion: 500_000, AbortByHeader: true},
			[]string{"x-envoy-fault-abort-grpc-request", "10", "x-envoy-fault-abort-request-percentage", "90"},
			0.5,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), tt.headers...)
			var aborted float64
			for range calls {
				if inject(ctx, tt.policy).ended {
					aborted++
				}
			}
			want := calls * tt.share
			if off := 5 * math.Sqrt(want*(1-tt.share)); math.Abs(aborted-want) > off {
				t.Errorf("aborted %v of %d calls, want %v within %.0f", aborted, calls, want, off)
			}
		})
	}
}

func TestDelayAndAbortAreDicedForApart(t *testing.T) {
	const calls = 20_000
	policy := &resource.Fault{DelayPerMillion: all / 2, Delay: 1, AbortPerMillion: all / 2, AbortCode: codes.Aborted}
	var both float64
	synctest.Test(t, func(t *testing.T) {
		for range calls {
			if o := inject(t.Context(), policy); o.ended && o.delay > 0 {
				both++
			}
		}
	})
	if want, off := calls/4.0, 5*math.Sqrt(calls*0.25*0.75); math.Abs(both-want) > off {
		t.Errorf("%v of %d calls were delayed and aborted, want %v within %.0f", both, calls, want, off)
	}
}

func TestACallThatEndsDuringTheDelay(t *testing.T) {
	policy := &resource.Fault{DelayPerMillion: all, Delay: time.Minute}
	for _, tt := range []struct {
		name string
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		want codes.Code
	}{
		{"by its deadline is DEADLINE_EXCEEDED", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, codes.DeadlineExceeded},
		{"by the application is CANCELED", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, codes.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := tt.ctx(t.Context())
				defer cancel()
				got := inject(ctx, policy)
				if want := (outcome{time.Second, tt.want, true}); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		})
	}
}

func TestMaxActiveBoundsTheDelaysInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := &resource.Fault{DelayPerMillion: all, Delay: time.Second, MaxActive: 3}
		var faults fault.Injector
		var mu sync.Mutex
		delayed := 0
		var calls sync.WaitGroup
		for range 10 {
			calls.Go(func() {
				start := time.Now()
				if failure := faults.Inject(t.Context(), "voting", policy); failure != nil {
					t.Error(failure)
				}
				if time.Since(start) > 0 {
					mu.Lock()
					delayed++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		if got := faults.Active(); got != 3 {
			t.Errorf("%d faults are active during the delays, want 3", got)
		}
		calls.Wait()
		if delayed != 3 {
			t.Errorf("%d calls were delayed, want 3", delayed)
		}
		if got := faults.Active(); got != 0 {
			t.Errorf("%d faults are active after the delays, want 0", got)
		}
		if o := faults.Inject(t.Context(), "voting", policy); o != nil || faults.Active() != 0 {
			t.Errorf("a place is not given back: %v, %d active", o, faults.Active())
		}
	})
}

func TestTheFailureSaysThatItWasOnPurpose(t *testing.T) {
	var faults fault.Injector
	failure := faults.Inject(t.Context(), "voting", &resource.Fault{AbortPerMillion: all, AbortCode: codes.Unavailable})
	want := `mesh: a fault rule of "voting" ended the call with Unavailable on purpose; try: xdsserver routes voting`
	if failure.Error() != want || failure.Reason != call.FaultInjected || failure.Service != "voting" {
		t.Errorf("got %+v, want %s", failure, want)
	}
}

func FuzzHeaders(f *testing.F) {
	for _, seed := range [][2]string{{"53", "20"}, {"0", "0"}, {"503", "101"}, {"-1", "-1"}, {"4294967296", "1e3"}, {"", " 5"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, value, share string) {
		ctx := metadata.AppendToOutgoingContext(t.Context(),
			"x-envoy-fault-abort-request", value,
			"x-envoy-fault-abort-grpc-request", value,
			"x-envoy-fault-abort-request-percentage", share)
		o := inject(ctx, &resource.Fault{AbortPerMillion: all, AbortByHeader: true})
		if o.code > codes.Unauthenticated {
			t.Errorf("headers %q, %q gave the code %d", value, share, o.code)
		}
	})
}

func BenchmarkInject(b *testing.B) {
	var faults fault.Injector
	policy := &resource.Fault{DelayPerMillion: 1, Delay: 1, AbortPerMillion: 0}
	b.ReportAllocs()
	for b.Loop() {
		faults.Inject(b.Context(), "voting", policy)
	}
}
