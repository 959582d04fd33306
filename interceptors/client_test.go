package interceptors_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// unary makes one call through the interceptor; then stands for grpc.
func unary(ctx context.Context, c *configs, then grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return interceptors.NewClient(interceptors.ClientConfig{Configs: c}).Unary(ctx, method, nil, nil, nil, then, opts...)
}

func ok(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }

// pickedOK is ok, and a picker before it.
func pickedOK(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
	call.FromContext(ctx).Picked = call.Pick{Chosen: true, Local: true, Security: call.MutualTLS}
	return nil
}

// ends returns an invoker that ends as f says.
func ends(f func(context.Context) error) grpc.UnaryInvoker {
	return func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
		return f(ctx)
	}
}

// never ends when its context does, in the words of grpc.
func never(ctx context.Context) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

func TestUnaryRoutes(t *testing.T) {
	var cluster string
	err := unary(t.Context(), voting(), ends(func(ctx context.Context) error {
		cluster = call.FromContext(ctx).Cluster
		return nil
	}))
	if err != nil || cluster != "voting/v2" {
		t.Errorf("cluster = %q, %v", cluster, err)
	}
}

func TestUnaryOfAnotherSchemePassesThrough(t *testing.T) {
	called := false
	err := unary(t.Context(), &configs{}, ends(func(ctx context.Context) error {
		called = true
		if call.FromContext(ctx) != nil {
			t.Error("the mesh is in the context of a call that is not its own")
		}
		return nil
	}))
	if err != nil || !called {
		t.Errorf("called: %v, %v", called, err)
	}
}

func TestUnaryWithoutAConfigIsNotMade(t *testing.T) {
	want := &call.Error{Reason: call.UnknownService, Code: codes.Unavailable}
	err := unary(t.Context(), &configs{err: want}, ends(func(context.Context) error {
		t.Error("the call was made")
		return nil
	}))
	if !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

func TestTheResolverIsToldWhoWaitsForReady(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []grpc.CallOption
		want bool
	}{
		{"not unless asked", nil, false},
		{"when asked", []grpc.CallOption{grpc.MaxCallRecvMsgSize(1), grpc.WaitForReady(true)}, true},
		{"the last option counts", []grpc.CallOption{grpc.WaitForReady(true), grpc.WaitForReady(false)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := voting()
			asked := false
			c.asked = func(ctx context.Context) {
				asked = true
				if got := call.FromContext(ctx).WaitForReady; got != tt.want {
					t.Errorf("WaitForReady = %v, want %v", got, tt.want)
				}
			}
			if err := unary(t.Context(), c, ok, tt.opts...); err != nil || !asked {
				t.Errorf("asked: %v, %v", asked, err)
			}
		})
	}
}

func TestUnaryDeadline(t *testing.T) {
	delayed := faulty(resource.Fault{DelayPerMillion: all, Delay: time.Second})
	for _, tt := range []struct {
		name   string
		config *configs
		own    time.Duration // the application's deadline, zero for none
		want   time.Duration // after which the call ends
		reason call.Reason   // empty: grpc's own error
	}{
		{"the route's timeout ends the call", voting(timeout(2 * time.Second)), 0, 2 * time.Second, call.RouteTimeout},
		{"the route's timeout ends a call of a longer deadline", voting(timeout(2 * time.Second)), time.Minute, 2 * time.Second, call.RouteTimeout},
		{"the application's shorter deadline wins", voting(timeout(2 * time.Second)), time.Second, time.Second, ""},
		{"a route without a timeout leaves the application's deadline", voting(), time.Second, time.Second, ""},
		{"the clock of the route starts after the fault delay", voting(timeout(2*time.Second), delayed), 0, 3 * time.Second, call.RouteTimeout},
		{"that of the application does not", voting(timeout(2*time.Second), delayed), 2500 * time.Millisecond, 2500 * time.Millisecond, ""},
		{"the application's deadline may end in the fault delay", voting(delayed), 500 * time.Millisecond, 500 * time.Millisecond, call.FaultInjected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.own > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.own)
					defer cancel()
				}
				start := time.Now()
				err := unary(ctx, tt.config, ends(never))
				if got := time.Since(start); got != tt.want {
					t.Errorf("ended after %v, want %v", got, tt.want)
				}
				if status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("got %v, want DEADLINE_EXCEEDED", err)
				}
				var reason call.Reason
				if e := call.AsError(err); e != nil {
					reason = e.Reason
				}
				if reason != tt.reason {
					t.Errorf("reason = %q, want %q: %v", reason, tt.reason, err)
				}
			})
		})
	}
}

func TestUnaryReleasesItsDeadline(t *testing.T) {
	var inside context.Context
	err := unary(t.Context(), voting(timeout(time.Hour)), ends(func(ctx context.Context) error {
		inside = ctx
		return nil
	}))
	if err != nil || inside.Err() == nil {
		t.Errorf("the call's context goes on after the call: %v", err)
	}
}

// The picker leaves its reason in the call; grpc's words for it say less.
func TestUnaryExplains(t *testing.T) {
	none := &call.Error{
		Service: "voting", Reason: call.NoEndpoint, Code: codes.Unavailable,
		Detail: `no healthy endpoint for "voting/v2"`, Try: "xdsserver endpoints voting",
	}
	picker := func(after func(context.Context) error) grpc.UnaryInvoker {
		return ends(func(ctx context.Context) error {
			call.FromContext(ctx).Failure = none
			return after(ctx)
		})
	}
	served := status.Error(codes.Unavailable, "from the service")

	for _, tt := range []struct {
		name    string
		config  *configs
		cancel  bool
		invoker grpc.UnaryInvoker
		code    codes.Code
		want    string // empty: no error
	}{
		{
			"a call that fails for want of an endpoint says why",
			voting(), false,
			picker(func(context.Context) error { return status.Error(codes.Unavailable, "grpc's words") }),
			codes.Unavailable,
			`mesh: no healthy endpoint for "voting/v2"; try: xdsserver endpoints voting`,
		},
		{
			"a call that ends in time is not touched by what came before",
			voting(), false,
			picker(func(context.Context) error { return nil }),
			codes.OK, "",
		},
		{
			"the service's own error stays as it is",
			voting(), false,
			ends(func(context.Context) error { return served }),
			codes.Unavailable, served.Error(),
		},
		{
			"the route's timeout names what the call waited for",
			voting(timeout(time.Second)), false, picker(never), codes.DeadlineExceeded,
			`mesh: the route's timeout of 1s for "voting" ran out while the call waited for an endpoint: ` +
				`no healthy endpoint for "voting/v2"; try: xdsserver endpoints voting`,
		},
		{
			"the route's timeout says that it was the route's",
			voting(timeout(time.Second)), false, ends(never), codes.DeadlineExceeded,
			`mesh: the route's timeout of 1s for "voting" ran out; try: a longer timeout in the route: xdsserver routes voting`,
		},
		{
			"a deadline that the service reports is the service's",
			voting(timeout(time.Second)), false,
			ends(func(context.Context) error { return status.Error(codes.DeadlineExceeded, "in the service") }),
			codes.DeadlineExceeded, "rpc error: code = DeadlineExceeded desc = in the service",
		},
		{
			"the application's cancel stays a cancel",
			voting(), true, picker(never), codes.Canceled,
			"rpc error: code = Canceled desc = context canceled",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel {
					time.AfterFunc(time.Second, cancel)
				}
				err := unary(ctx, tt.config, tt.invoker)
				if status.Code(err) != tt.code {
					t.Errorf("code = %v, want %v", status.Code(err), tt.code)
				}
				if got := text(err); got != tt.want {
					t.Errorf("got\n\t%s\nwant\n\t%s", got, tt.want)
				}
			})
		})
	}
}

func TestTheApplicationsDeadlineNamesWhatTheCallWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := unary(ctx, voting(), ends(func(ctx context.Context) error {
			call.FromContext(ctx).Failure = &call.Error{Reason: call.NoEndpoint, Code: codes.Unavailable, Detail: "none ready"}
			return never(ctx)
		}))
		want := "mesh: deadline exceeded while the call waited for an endpoint: none ready"
		if e := call.AsError(err); text(err) != want || e.Reason != call.NoEndpoint || e.Code != codes.DeadlineExceeded {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAFaultEndsTheCallBeforeItIsMade(t *testing.T) {
	for _, tt := range []struct {
		name string
		code codes.Code
		want codes.Code
	}{
		{"with its code", codes.NotFound, codes.NotFound},
		{"with INTERNAL for OK, which a call without a reply cannot be", codes.OK, codes.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := unary(t.Context(), voting(faulty(resource.Fault{AbortPerMillion: all, AbortCode: tt.code})), ends(func(context.Context) error {
				t.Error("the call was made")
				return nil
			}))
			if e := call.AsError(err); status.Code(err) != tt.want || e == nil || e.Reason != call.FaultInjected {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestACallCostsOneAllocation(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config *configs
		opts   []grpc.CallOption
		want   float64
	}{
		{"by default", voting(timeout(time.Hour)), nil, 1},
		{"with everything that needs no clock of its own", voting(timeout(time.Hour), traffic(everything)), nil, 1},
		{"with options", voting(timeout(time.Hour)), []grpc.CallOption{call.RetryOption{Retry: call.Retry{Attempts: 3}}, call.HashKeyOption{Key: "k"}}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// All that sees calls is there, and sees nothing special.
			client := interceptors.NewClient(interceptors.ClientConfig{
				Configs: tt.config, Telemetry: telemetry.New(telemetry.Config{}), Tracer: trace.New(nil),
				Log: accesslog.New(slog.New(slog.DiscardHandler)), Taps: tap.New(tap.Config{}),
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			got := testing.AllocsPerRun(100, func() {
				if err := client.Unary(ctx, method, nil, nil, nil, pickedOK, tt.opts...); err != nil {
					t.Error(err)
				}
			})
			if got > tt.want {
				t.Errorf("a call costs %v allocations, want %v: the call.Call", got, tt.want)
			}
		})
	}
}

// All that a route can ask for and that no call is hit by.
func everything(t *resource.Traffic) {
	retried(3)(t)
	t.RateLimit = &resource.Rate{PerSecond: 1e9, Burst: 1e9}
	t.Breaker = resource.DefaultBreaker()
	t.HopCost, t.IdleTimeout = time.Millisecond, time.Hour
	t.Mirrors = []resource.Mirror{{Cluster: "none"}}
}

// The allocation is the Call. A deadline of the route's costs what one of the
// application's costs a plain client, which has one too in any comparison.
func BenchmarkUnary(b *testing.B) {
	for _, bm := range []struct {
		name   string
		config *configs
		own    time.Duration
	}{
		{"told of", voting(), 0},
		{"without a deadline", voting(), 0},
		{"under the application's deadline", voting(timeout(time.Hour)), time.Minute},
		{"under the route's timeout", voting(timeout(time.Minute)), 0},
		{"with everything", voting(traffic(everything)), 0},
		{"with a fault that hits nobody", voting(faulty(resource.Fault{Delay: 1, AbortCode: 1})), 0},
	} {
		b.Run(bm.name, func(b *testing.B) {
			config := interceptors.ClientConfig{Configs: bm.config}
			if bm.name == "told of" {
				config.Telemetry, config.Tracer = telemetry.New(telemetry.Config{}), trace.New(nil)
				config.Log, config.Taps = accesslog.New(slog.New(slog.DiscardHandler)), tap.New(tap.Config{})
			}
			client := interceptors.NewClient(config)
			ctx := b.Context()
			if bm.own > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, bm.own)
				defer cancel()
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := client.Unary(ctx, method, nil, nil, nil, pickedOK); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("plain, a deadline alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			if err := ok(ctx, method, nil, nil, nil); err != nil {
				b.Fatal(err)
			}
			cancel()
		}
	})
}
