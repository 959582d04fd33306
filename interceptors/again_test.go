package interceptors_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// traffic returns a change of a route's policy; what it does not change is the default.
func traffic(change ...func(*resource.Traffic)) func(*resource.Route) {
	return func(r *resource.Route) {
		t := *resource.DefaultTraffic()
		t.Retry = resource.DefaultRetry()
		for _, c := range change {
			c(&t)
		}
		r.Traffic = &t
	}
}

// retried lets calls be made n times, whatever their method, with no wait between.
func retried(n uint32, change ...func(*resource.Retry)) func(*resource.Traffic) {
	return func(t *resource.Traffic) {
		t.Retry.Attempts, t.Retry.Idempotent = n, true
		t.Retry.BackoffBase, t.Retry.BackoffMax = 0, 0
		for _, c := range change {
			c(t.Retry)
		}
	}
}

// A made is one attempt, as grpc was asked for it.
type made struct {
	at       time.Duration
	attempt  uint32
	previous string        // the header
	deadline time.Duration // since the call began; zero for none
	tried    bool          // whether the endpoint of the first attempt is avoided
}

// script stands for grpc, with one step for each attempt; the last is for all others.
type script struct {
	start time.Time
	steps []func(ctx context.Context, rpc *call.Call) error
	made  []made
}

func steps(s ...func(context.Context, *call.Call) error) *script {
	return &script{start: time.Now(), steps: s}
}

func (s *script) step(ctx context.Context) error {
	rpc := call.FromContext(ctx)
	m := made{at: time.Since(s.start), attempt: rpc.Attempt, tried: rpc.HasTried("endpoint-0")}
	if md, ok := metadata.FromOutgoingContext(ctx); ok {
		m.previous = strings.Join(md.Get("grpc-previous-rpc-attempts"), ",")
	}
	if deadline, ok := ctx.Deadline(); ok {
		m.deadline = deadline.Sub(s.start)
	}
	rpc.Try(fmt.Sprint("endpoint-", len(s.made)))
	step := s.steps[min(len(s.made), len(s.steps)-1)]
	s.made = append(s.made, m)
	return step(ctx, rpc)
}

func (s *script) invoke(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
	return s.step(ctx)
}

// fails is an attempt that a server saw.
func fails(code codes.Code) func(context.Context, *call.Call) error {
	return func(context.Context, *call.Call) error { return status.Error(code, "from the service") }
}

func pushes(d time.Duration) func(context.Context, *call.Call) error {
	return func(_ context.Context, rpc *call.Call) error {
		rpc.Outcome.Pushback = d
		return status.Error(codes.Unavailable, "pushed back")
	}
}

func answers(context.Context, *call.Call) error { return nil }

func hangs(ctx context.Context, _ *call.Call) error { return never(ctx) }

var lost = func(_ context.Context, rpc *call.Call) error {
	rpc.Outcome.Sent = false
	return status.Error(codes.Unavailable, "connection refused")
}

func refuses(reason call.Reason) func(context.Context, *call.Call) error {
	return func(_ context.Context, rpc *call.Call) error {
		rpc.Failure = &call.Error{Service: "voting", Reason: reason, Code: codes.Unavailable, Detail: "refused"}
		return status.Error(codes.Unavailable, "grpc's words")
	}
}

func TestWhichUnaryCallsAreMadeAgain(t *testing.T) {
	type step = func(context.Context, *call.Call) error
	for _, tt := range []struct {
		name    string
		change  []func(*resource.Traffic)
		options []grpc.CallOption
		steps   []step
		want    int // attempts
		code    codes.Code
	}{
		{"a success is made once", nil, nil, []step{answers}, 1, codes.OK},
		{"what was not sent is sent again by default", nil, nil, []step{lost, answers}, 2, codes.OK},
		{"once", nil, nil, []step{lost, lost, answers}, 2, codes.Unavailable},
		{"what was sent is not, by default", nil, nil, []step{fails(codes.Unavailable), answers}, 1, codes.Unavailable},
		{"but may be where the route says so", with(retried(3)), nil, []step{fails(codes.Unavailable), fails(codes.Unavailable), answers}, 3, codes.OK},
		{"as often as it says", with(retried(3)), nil, []step{fails(codes.Unavailable)}, 3, codes.Unavailable},
		{"no more than five times", with(retried(50)), nil, []step{fails(codes.Unavailable)}, 5, codes.Unavailable},
		{"an answer is an answer", with(retried(3)), nil, []step{fails(codes.NotFound)}, 1, codes.NotFound},
		{"the last error is the call's", with(retried(2)), nil, []step{fails(codes.Unavailable), fails(codes.Internal)}, 2, codes.Internal},
		{"an endpoint that is not there may be there again", nil, nil, []step{refuses(call.NoEndpoint), answers}, 2, codes.OK},
		{"a limit is not pressed", with(retried(3)), nil, []step{refuses(call.MaxRequests), answers}, 1, codes.Unavailable},
		{"an endpoint may ask not to come back", with(retried(3)), nil, []step{pushes(-1), answers}, 1, codes.Unavailable},
		{"an option may forbid it", with(retried(3)), []grpc.CallOption{call.RetryOption{Retry: call.Retry{Attempts: 1}}}, []step{fails(codes.Unavailable)}, 1, codes.Unavailable},
		{
			"an option may allow it", nil,
			[]grpc.CallOption{call.RetryOption{Retry: call.Retry{Attempts: 4, Codes: []uint32{13}, Idempotent: true}}},
			[]step{fails(codes.Internal), fails(codes.Internal), fails(codes.Internal), answers},
			4, codes.OK,
		},
		{
			"the last option counts", nil,
			[]grpc.CallOption{call.RetryOption{Retry: call.Retry{Attempts: 4, Idempotent: true}}, call.RetryOption{Retry: call.Retry{Attempts: 1}}},
			[]step{lost, answers},
			1, codes.Unavailable,
		},
		{"a budget of nothing allows nothing", with(retried(3), budget(resource.RetryBudget{Window: time.Second})), nil, []step{fails(codes.Unavailable)}, 1, codes.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := steps(tt.steps...)
				err := unary(t.Context(), voting(traffic(tt.change...)), s.invoke, tt.options...)
				if len(s.made) != tt.want || status.Code(err) != tt.code {
					t.Fatalf("%d attempts and %v, want %d and %v", len(s.made), err, tt.want, tt.code)
				}
				for i, m := range s.made {
					want := made{at: m.at, attempt: uint32(i), tried: i > 0}
					if i > 0 {
						want.previous = fmt.Sprint(i)
					}
					if diff := cmp.Diff(want, m, cmp.AllowUnexported(made{})); diff != "" {
						t.Errorf("attempt %d: %s", i, diff)
					}
				}
			})
		})
	}
}

func with(change ...func(*resource.Traffic)) []func(*resource.Traffic) { return change }

func budget(b resource.RetryBudget) func(*resource.Traffic) {
	return func(t *resource.Traffic) { t.Budget = b }
}

func backoff(base, ceiling time.Duration) func(*resource.Retry) {
	return func(r *resource.Retry) { r.BackoffBase, r.BackoffMax = base, ceiling }
}

func perTry(d time.Duration) func(*resource.Retry) {
	return func(r *resource.Retry) { r.PerTryTimeout = d }
}

func TestTheLastErrorIsTheServicesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := steps(fails(codes.Unavailable))
		err := unary(t.Context(), voting(traffic(retried(3))), s.invoke)
		if call.AsError(err) != nil || err.Error() != "rpc error: code = Unavailable desc = from the service" {
			t.Errorf("got %v", err)
		}
	})
}

func TestAttemptsWait(t *testing.T) {
	t.Run("up to a ceiling that doubles", func(t *testing.T) {
		ceilings := []time.Duration{25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}
		var longest [4]time.Duration
		for range 50 {
			synctest.Test(t, func(t *testing.T) {
				s := steps(fails(codes.Unavailable))
				_ = unary(t.Context(), voting(traffic(retried(5, backoff(25*time.Millisecond, 250*time.Millisecond)))), s.invoke)
				for i, ceiling := range ceilings {
					wait := s.made[i+1].at - s.made[i].at
					longest[i] = max(longest[i], wait)
					if wait > ceiling {
						t.Errorf("attempt %d waited %v, want at most %v", i+1, wait, ceiling)
					}
				}
			})
		}
		for i, ceiling := range ceilings {
			if longest[i] < ceiling*3/4 {
				t.Errorf("of fifty waits before attempt %d the longest was %v, want up to %v", i+1, longest[i], ceiling)
			}
		}
	})
	t.Run("as long as the endpoint asks, and then from the base again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := steps(fails(codes.Unavailable), fails(codes.Unavailable), pushes(3*time.Second), fails(codes.Unavailable), answers)
			err := unary(t.Context(), voting(traffic(retried(5, backoff(time.Millisecond, time.Minute)))), s.invoke)
			if err != nil || len(s.made) != 5 {
				t.Fatalf("%d attempts, %v", len(s.made), err)
			}
			if got := s.made[3].at - s.made[2].at; got != 3*time.Second {
				t.Errorf("waited %v, want 3s", got)
			}
			if got := s.made[4].at - s.made[3].at; got > time.Millisecond {
				t.Errorf("waited %v, want at most the base", got)
			}
		})
	})
	t.Run("until the application gives up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			s := steps(pushes(time.Minute))
			err := unary(ctx, voting(traffic(retried(5))), s.invoke)
			if status.Code(err) != codes.Canceled || len(s.made) != 1 || time.Since(s.start) != time.Second {
				t.Errorf("%v after %v", err, time.Since(s.start))
			}
		})
	})
}

func TestACancelledCallIsNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := steps(func(ctx context.Context, _ *call.Call) error { cancel(); return never(ctx) })
		err := unary(ctx, voting(traffic(retried(5, func(r *resource.Retry) { r.Codes = resource.Codes(1, 14) }))), s.invoke)
		if status.Code(err) != codes.Canceled || len(s.made) != 1 {
			t.Errorf("%d attempts, %v", len(s.made), err)
		}
	})
}

// What is left of the deadline bounds all attempts, whoever keeps it. A wait that does
// not fit is not begun.
func TestAttemptsShareTheDeadline(t *testing.T) {
	common := func(c *configs, d time.Duration) *configs { c.config.CommonTimeout = d; return c }
	for _, tt := range []struct {
		name   string
		config *configs
		own    time.Duration
		want   []time.Duration // deadlines of the attempts
		ends   time.Duration
		code   codes.Code
	}{
		{
			"the application's", voting(traffic(retried(3))), 5 * time.Second,
			[]time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second},
			4 * time.Second, codes.Unavailable,
		},
		{
			"the route's", voting(timeout(5*time.Second), traffic(retried(3))), 0,
			[]time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second},
			4 * time.Second, codes.Unavailable,
		},
		{
			"the route's that grpc keeps, which counts the first attempt", common(voting(timeout(5*time.Second), traffic(retried(3))), 5*time.Second), 0,
			[]time.Duration{0, 5 * time.Second, 5 * time.Second},
			4 * time.Second, codes.Unavailable,
		},
		{
			"which the third would begin after", common(voting(timeout(4*time.Second), traffic(retried(3))), 4*time.Second), 0,
			[]time.Duration{0, 4 * time.Second},
			2 * time.Second, codes.Unavailable,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.own > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.own)
					defer cancel()
				}
				s := steps(pushes(2 * time.Second))
				err := unary(ctx, tt.config, s.invoke)
				var got []time.Duration
				for _, m := range s.made {
					got = append(got, m.deadline)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("deadlines: %s", diff)
				}
				if took := time.Since(s.start); took != tt.ends || status.Code(err) != tt.code {
					t.Errorf("%v after %v, want %v after %v", err, took, tt.code, tt.ends)
				}
			})
		})
	}
}

func TestPerTryTimeout(t *testing.T) {
	second := perTry(time.Second)
	for _, tt := range []struct {
		name   string
		change []func(*resource.Traffic)
		own    time.Duration
		steps  []func(context.Context, *call.Call) error
		want   []time.Duration // deadlines of the attempts
		ends   time.Duration
		reason call.Reason
		code   codes.Code
	}{
		{
			"bounds each attempt but the last", with(retried(3, second)), 10 * time.Second,
			[]func(context.Context, *call.Call) error{hangs},
			[]time.Duration{time.Second, 2 * time.Second, 10 * time.Second},
			10 * time.Second, "", codes.DeadlineExceeded,
		},
		{
			"and the last has an answer in the end", with(retried(2, second)), 10 * time.Second,
			[]func(context.Context, *call.Call) error{hangs, answers},
			[]time.Duration{time.Second, 10 * time.Second},
			time.Second, "", codes.OK,
		},
		{
			"is none where it ends after the call", with(retried(3, second)), 500 * time.Millisecond,
			[]func(context.Context, *call.Call) error{hangs},
			[]time.Duration{500 * time.Millisecond},
			500 * time.Millisecond, "", codes.DeadlineExceeded,
		},
		{
			"is none where nothing could come after", with(retried(3, second, func(r *resource.Retry) { r.Idempotent = false })), 3 * time.Second,
			[]func(context.Context, *call.Call) error{hangs},
			[]time.Duration{3 * time.Second},
			3 * time.Second, "", codes.DeadlineExceeded,
		},
		{
			"says so where the budget has none left", with(retried(3, second), budget(resource.RetryBudget{Window: time.Second})), 0,
			[]func(context.Context, *call.Call) error{hangs},
			[]time.Duration{time.Second},
			time.Second, call.PerTryTimeout, codes.DeadlineExceeded,
		},
		{
			"is also the endpoint's, which may be quicker to say so", with(retried(2, second)), 0,
			[]func(context.Context, *call.Call) error{func(ctx context.Context, _ *call.Call) error {
				<-ctx.Done()
				return status.Error(codes.DeadlineExceeded, "from the service")
			}, answers},
			[]time.Duration{time.Second, 0},
			time.Second, "", codes.OK,
		},
		{
			"is not a deadline that the service reports before", with(retried(2, second)), 0,
			[]func(context.Context, *call.Call) error{fails(codes.DeadlineExceeded)},
			[]time.Duration{time.Second},
			0, "", codes.DeadlineExceeded,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.own > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.own)
					defer cancel()
				}
				s := steps(tt.steps...)
				err := unary(ctx, voting(traffic(tt.change...)), s.invoke)
				var got []time.Duration
				for _, m := range s.made {
					got = append(got, m.deadline)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("deadlines: %s", diff)
				}
				var reason call.Reason
				if e := call.AsError(err); e != nil {
					reason = e.Reason
				}
				if took := time.Since(s.start); took != tt.ends || status.Code(err) != tt.code || reason != tt.reason {
					t.Errorf("%v with %q after %v, want %v with %q after %v", err, reason, took, tt.code, tt.reason, tt.ends)
				}
			})
		})
	}
}

func TestTheApplicationIsToldOnceThatTheCallEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		attempts := 0
		invoker := func(_ context.Context, _ string, _, _ any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
			var err error
			if attempts++; attempts < 3 {
				err = status.Error(codes.Unavailable, "again")
			}
			for _, o := range opts { // as grpc does
				if o, ok := o.(grpc.OnFinishCallOption); ok {
					o.OnFinish(err)
				}
			}
			return err
		}
		err := unary(t.Context(), voting(traffic(retried(3))), invoker, grpc.OnFinish(func(err error) { told = append(told, err) }))
		if err != nil || attempts != 3 || len(told) != 1 || told[0] != nil {
			t.Errorf("%d attempts, %v; told %v", attempts, err, told)
		}
	})
}

func TestStatsCountAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := voting(traffic(retried(3), budget(resource.RetryBudget{MinPerSecond: 3, Window: time.Second})))
		client := interceptors.NewClient(interceptors.ClientConfig{Configs: c})
		for range 3 {
			_ = client.Unary(t.Context(), method, nil, nil, nil, steps(fails(codes.Unavailable)).invoke)
		}
		want := []interceptors.Stats{{Service: c.config.Service, Calls: 3, Attempts: 6, Retries: 3, Denied: 2}}
		if diff := cmp.Diff(want, client.Stats()); diff != "" {
			t.Error(diff)
		}
	})
}
