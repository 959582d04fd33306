package interceptors_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// counted is what instruments have: the last part of each metric's name, the values of
// its attributes and the code, with how many.
func counted(i *telemetry.Instruments) map[string]float64 {
	s, all := i.Snapshot(), map[string]float64{}
	line := func(name string, attributes []telemetry.Attribute, more ...string) string {
		words := []string{strings.TrimSuffix(strings.TrimPrefix(name, "tulle."), ".duration")}
		for _, a := range attributes {
			if a.Value != "" && a.Value != method {
				words = append(words, a.Value)
			}
		}
		return strings.Join(append(words, more...), " ")
	}
	for _, p := range s.Points {
		all[line(p.Name, p.Attributes, call.CodeName(p.Code))] += float64(p.Count)
	}
	for _, v := range s.Samples {
		if v.Value != 0 {
			all[line(v.Name, v.Attributes)] += v.Value
		}
	}
	return all
}

// picked is a step that was picked before it was made, in the process's zone.
func picked(then func(context.Context, *call.Call) error) func(context.Context, *call.Call) error {
	return func(ctx context.Context, rpc *call.Call) error {
		rpc.Picked = call.Pick{Chosen: true, Local: true, Security: call.MutualTLS}
		return then(ctx, rpc)
	}
}

func slow(d time.Duration, then func(context.Context, *call.Call) error) func(context.Context, *call.Call) error {
	return func(ctx context.Context, rpc *call.Call) error {
		select {
		case <-time.After(d):
			return then(ctx, rpc)
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

const attempt = "client.attempt voting voting/v2 true mtls "

func TestUnaryCallsAreCounted(t *testing.T) {
	type step = func(context.Context, *call.Call) error
	unavailable := picked(fails(codes.Unavailable))
	for _, tt := range []struct {
		name   string
		config *configs
		steps  []step
		calls  int
		ctx    func(context.Context) (context.Context, context.CancelFunc)
		want   map[string]float64
	}{
		{
			"a call that is answered", voting(),
			[]step{picked(answers)},
			3, nil,
			map[string]float64{"client.call voting OK": 3, attempt + "OK": 3},
		},
		{
			"a call that the service fails", voting(),
			[]step{picked(fails(codes.NotFound))},
			1, nil,
			map[string]float64{"client.call voting NOT_FOUND": 1, attempt + "NOT_FOUND": 1},
		},
		{
			"retries are attempts, and one call", voting(traffic(retried(3))),
			[]step{unavailable, unavailable, picked(answers)},
			1, nil,
			map[string]float64{"client.call voting OK": 1, attempt + "UNAVAILABLE": 2, attempt + "OK": 1, "client.retries voting": 2},
		},
		{
			"what was not picked was no attempt", voting(traffic(retried(1))),
			[]step{refuses(call.NoEndpoint)},
			1, nil,
			map[string]float64{"client.call voting UNAVAILABLE": 1, "client.refused voting NO_ENDPOINT": 1},
		},
		{
			"a budget that is spent", voting(traffic(retried(3), func(t *resource.Traffic) { t.Budget.MinPerSecond, t.Budget.Percent = 0, 0 })),
			[]step{unavailable},
			1, nil,
			map[string]float64{"client.call voting UNAVAILABLE": 1, attempt + "UNAVAILABLE": 1, "client.denied voting": 1},
		},
		{
			"the route's timeout", voting(timeout(time.Second)),
			[]step{picked(hangs)},
			1, nil,
			map[string]float64{"client.call voting DEADLINE_EXCEEDED": 1, attempt + "DEADLINE_EXCEEDED": 1, "client.refused voting ROUTE_TIMEOUT": 1},
		},
		{
			"the application gives up", voting(),
			[]step{picked(hangs)},
			1,
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Second, cancel)
				return ctx, cancel
			},
			map[string]float64{"client.call voting CANCELLED": 1, attempt + "CANCELLED": 1},
		},
		{
			"it gives up while it waits for the next attempt",
			voting(traffic(retried(3, func(r *resource.Retry) { r.BackoffBase, r.BackoffMax = time.Hour, time.Hour }))),
			[]step{picked(pushes(time.Minute))},
			1,
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Second, cancel)
				return ctx, cancel
			},
			map[string]float64{"client.call voting CANCELLED": 1, attempt + "UNAVAILABLE": 1},
		},
		{
			"a fault", voting(faulty(resource.Fault{AbortPerMillion: all, AbortCode: codes.DataLoss})), nil, 2, nil,
			map[string]float64{"client.call voting DATA_LOSS": 2, "client.refused voting FAULT_INJECTED": 2},
		},
		{
			"a fault that ends calls with nothing", voting(faulty(resource.Fault{AbortPerMillion: all})), nil, 1, nil,
			map[string]float64{"client.call voting INTERNAL": 1, "client.refused voting FAULT_INJECTED": 1},
		},
		{
			"above the rate", voting(traffic(func(t *resource.Traffic) { t.RateLimit = &resource.Rate{PerSecond: 1e-3, Burst: 1} })),
			[]step{picked(answers)},
			3, nil,
			map[string]float64{
				"client.call voting OK": 1, "client.call voting RESOURCE_EXHAUSTED": 2, attempt + "OK": 1, "client.refused voting CLIENT_RATE_LIMITED": 2,
			},
		},
		{
			"a breaker that opens", voting(traffic(retried(1), tripping)),
			[]step{unavailable},
			5, nil,
			map[string]float64{
				"client.call voting UNAVAILABLE": 5, attempt + "UNAVAILABLE": 3, "client.refused voting BREAKER_OPEN": 2, "client.breaker.opened voting": 1,
			},
		},
		{
			"no route", func() *configs { c := voting(); c.config.VirtualHost.Routes = nil; return c }(), nil, 1, nil,
			map[string]float64{"client.call voting UNAVAILABLE": 1, "client.refused voting NO_ROUTE": 1},
		},
		{
			"no configuration", &configs{err: &call.Error{Service: "voting", Reason: call.NoConfig, Code: codes.Unavailable}}, nil, 1, nil,
			map[string]float64{"client.call voting UNAVAILABLE": 1, "client.refused voting NO_CONFIG": 1},
		},
		{"a connection that is closed", &configs{err: status.Error(codes.Canceled, "closed")}, nil, 1, nil, map[string]float64{}},
		{"a connection that is not the mesh's", &configs{}, []step{answers}, 1, nil, map[string]float64{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := telemetry.New(telemetry.Config{})
				client := interceptors.NewClient(interceptors.ClientConfig{Configs: tt.config, Telemetry: i})
				for range tt.calls {
					ctx, cancel := context.WithCancel(t.Context())
					if tt.ctx != nil {
						ctx, cancel = tt.ctx(ctx)
					}
					if tt.config.config == nil && tt.config.err == nil {
						ctx = &call.Call{Context: ctx} // for the script
					}
					_ = client.Unary(ctx, method, wrapperspb.String(""), wrapperspb.String(""), nil, steps(tt.steps...).invoke)
					cancel()
				}
				if diff := cmp.Diff(tt.want, counted(i)); diff != "" {
					t.Errorf("counted (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// What a call took is what the application waited for, and an attempt its share of it.
func TestWhatCallsTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := telemetry.New(telemetry.Config{})
		client := interceptors.NewClient(interceptors.ClientConfig{Telemetry: i, Configs: voting(
			faulty(resource.Fault{DelayPerMillion: all, Delay: time.Second}),
			traffic(retried(2, func(r *resource.Retry) { r.BackoffBase, r.BackoffMax = time.Second, time.Second })))})
		begun := time.Now()
		err := client.Unary(t.Context(), method, nil, nil, nil, steps(
			picked(slow(2*time.Second, fails(codes.Unavailable))), picked(slow(4*time.Second, answers))).invoke)
		if err != nil {
			t.Fatal(err)
		}
		all := time.Since(begun).Seconds()
		got := map[string]float64{}
		for _, p := range i.Snapshot().Points {
			got[p.Name+" "+call.CodeName(p.Code)] = p.Sum
		}
		want := map[string]float64{
			"tulle.client.call.duration OK":             all,
			"tulle.client.attempt.duration UNAVAILABLE": 2,
			"tulle.client.attempt.duration OK":          4,
		}
		if diff := cmp.Diff(want, got); diff != "" || all < 7 {
			t.Errorf("took (-want +got):\n%s", diff)
		}
	})
}

// Losers that were sent are attempts; they end as cancelled.
func TestHedgesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := telemetry.New(telemetry.Config{})
		client := interceptors.NewClient(interceptors.ClientConfig{Telemetry: i, Configs: voting(traffic(func(t *resource.Traffic) {
			t.Retry.Idempotent = true
			t.Hedge = &resource.Hedge{Delay: 10 * time.Millisecond, Attempts: 3}
			t.Budget.Percent = 100
		}))})
		calls := []func(ctx context.Context, rpc *call.Call) error{
			func(ctx context.Context, rpc *call.Call) error { // the second wins
				return map[uint32]func(context.Context, *call.Call) error{
					0: picked(hangs), 1: picked(slow(5*time.Millisecond, answers)),
				}[rpc.Attempt](ctx, rpc)
			},
			func(ctx context.Context, rpc *call.Call) error { // the first does, and the third was not sent
				return map[uint32]func(context.Context, *call.Call) error{
					0: picked(slow(25*time.Millisecond, answers)), 1: picked(hangs), 2: hangs,
				}[rpc.Attempt](ctx, rpc)
			},
			func(ctx context.Context, rpc *call.Call) error { return picked(answers)(ctx, rpc) },
		}
		for _, step := range calls {
			invoke := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
				return step(ctx, call.FromContext(ctx))
			}
			if err := client.Unary(t.Context(), method, wrapperspb.String(""), wrapperspb.String(""), nil, invoke); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]float64{
			"client.call voting OK": 3, attempt + "OK": 3, attempt + "CANCELLED": 2, "client.hedges voting": 3,
		}
		if diff := cmp.Diff(want, counted(i)); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}

func TestMirrorsAreCountedAndAreNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := telemetry.New(telemetry.Config{})
		c := voting(traffic(func(t *resource.Traffic) {
			t.Mirrors = []resource.Mirror{{Cluster: "voting/v3", PerMillion: all, Timeout: time.Second}, {Cluster: "none", PerMillion: all}}
		}))
		c.config.Clusters = map[string]*resource.ClusterConfig{"voting/v3": {}}
		client := interceptors.NewClient(interceptors.ClientConfig{Configs: c, Telemetry: i})
		err := client.Unary(t.Context(), method, wrapperspb.String(""), wrapperspb.String(""), nil, ends(func(ctx context.Context) error {
			rpc := call.FromContext(ctx)
			rpc.Picked.Chosen = true
			if rpc.Copy {
				return status.Error(codes.Internal, "not ready")
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{
			"client.call voting OK": 1, "client.attempt voting voting/v2 false unknown OK": 1,
			"client.mirrored sent": 1, "client.mirrored failed": 1, "client.mirrored skipped": 1,
		}
		if diff := cmp.Diff(want, counted(i)); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}

func TestACallThatPanicsIsCounted(t *testing.T) {
	i := telemetry.New(telemetry.Config{})
	client := interceptors.NewClient(interceptors.ClientConfig{Configs: voting(), Telemetry: i})
	func() {
		defer func() { _ = recover() }()
		_ = client.Unary(t.Context(), method, nil, nil, nil, ends(func(context.Context) error { panic("an interceptor of the application's") }))
	}()
	if diff := cmp.Diff(map[string]float64{"client.call voting CANCELLED": 1}, counted(i)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}
