package interceptors_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestHashKey(t *testing.T) {
	header := func(name string) func(*resource.Traffic) {
		return func(t *resource.Traffic) { t.HashHeader = name }
	}
	key := func(k string) *uint64 { h := resource.HashKey(k); return &h }
	for _, tt := range []struct {
		name   string
		change []func(*resource.Traffic)
		md     []string
		opts   []grpc.CallOption
		want   *uint64
	}{
		{"there is none where nobody says so", nil, []string{"x-user", "alice"}, nil, nil},
		{"it is in the header that the route names", with(header("x-user")), []string{"x-user", "alice"}, nil, key("alice")},
		{"the values of a header are one", with(header("x-user")), []string{"x-user", "alice", "x-user", "bob"}, nil, key("alice,bob")},
		{"a header that is not there is no key", with(header("x-user")), []string{"x-other", "alice"}, nil, nil},
		{"nor is a binary one", with(header("x-user-bin")), []string{"x-user-bin", "alice"}, nil, nil},
		{"an option is", nil, nil, []grpc.CallOption{call.HashKeyOption{Key: "carol"}}, key("carol")},
		{"and comes first", with(header("x-user")), []string{"x-user", "alice"}, []grpc.CallOption{call.HashKeyOption{Key: "carol"}}, key("carol")},
		{"a header that the route sets counts", with(header("x-user"), headers(&resource.Headers{Set: []resource.HeaderValue{{Name: "x-user", Value: "set"}}})), nil, nil, key("set")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), tt.md...)
			var got *uint64
			err := unary(ctx, voting(traffic(tt.change...)), ends(func(ctx context.Context) error {
				if rpc := call.FromContext(ctx); rpc.Hashed {
					got = &rpc.Hash
				}
				return nil
			}), tt.opts...)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%v: %s", err, diff)
			}
		})
	}
}

func headers(h *resource.Headers) func(*resource.Traffic) {
	return func(t *resource.Traffic) { t.Headers = h }
}

func TestHeadersAreChangedInEachAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &resource.Headers{Remove: []string{"x-secret"}, Add: []resource.HeaderValue{{Name: "x-tenant", Value: "blue"}}}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-secret", "1", "x-own", "2")
		see := func(end error) func(context.Context, *call.Call) error {
			return func(ctx context.Context, _ *call.Call) error {
				md, _ := metadata.FromOutgoingContext(ctx)
				md.Delete("grpc-previous-rpc-attempts")
				if diff := cmp.Diff(metadata.Pairs("x-own", "2", "x-tenant", "blue"), md); diff != "" {
					t.Error(diff)
				}
				return end
			}
		}
		s := steps(see(status.Error(codes.Unavailable, "")), see(nil))
		if err := unary(ctx, voting(traffic(retried(2), headers(h))), s.invoke); err != nil || len(s.made) != 2 {
			t.Errorf("%d attempts, %v", len(s.made), err)
		}
	})
}

func TestAProcessIsHeldToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := voting(traffic(func(t *resource.Traffic) { t.RateLimit = &resource.Rate{PerSecond: 10, Burst: 5} }))
		client := interceptors.NewClient(interceptors.ClientConfig{Configs: c})
		made := 0
		invoker := ends(func(context.Context) error { made++; return nil })
		var failure *call.Error
		for range 20 {
			if err := client.Unary(t.Context(), method, nil, nil, nil, invoker); err != nil {
				failure = call.AsError(err)
			}
		}
		if made != 5 || failure == nil || failure.Reason != call.ClientRateLimited || failure.Code != codes.ResourceExhausted ||
			failure.RetryAfter != 100*time.Millisecond {
			t.Fatalf("%d calls made, %v", made, failure)
		}
		time.Sleep(failure.RetryAfter - 1)
		if err := client.Unary(t.Context(), method, nil, nil, nil, invoker); err == nil {
			t.Error("a call passed too soon")
		}
		time.Sleep(1 * time.Nanosecond)
		// Another configuration that says the same does not begin anew.
		same := voting(traffic(func(t *resource.Traffic) { t.RateLimit = &resource.Rate{PerSecond: 10, Burst: 5} }))
		c.config = same.config
		for i, want := range []codes.Code{codes.OK, codes.ResourceExhausted} {
			if _, err := client.Stream(t.Context(), bidi, nil, method, func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
				return &fakeStream{}, nil
			}); status.Code(err) != want {
				t.Errorf("stream %d: %v, want %v", i, err, want)
			}
		}
	})
}

func tripping(t *resource.Traffic) {
	b := *resource.DefaultBreaker()
	b.ConsecutiveFailures, b.Jitter = 3, 0
	t.Breaker = &b
}

// The breaker of the service counts calls, not attempts: what a retry mended did not
// fail. What was not sent says nothing.
func TestAServiceThatFailsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := interceptors.NewClient(interceptors.ClientConfig{Configs: voting(traffic(retried(2), tripping))})
		do := func(steps ...func(context.Context, *call.Call) error) (int, *call.Error) {
			s := script{start: time.Now(), steps: steps}
			err := client.Unary(t.Context(), method, nil, nil, nil, s.invoke)
			return len(s.made), call.AsError(err)
		}
		for range 10 {
			if n, err := do(fails(codes.Unavailable), answers); n != 2 || err != nil {
				t.Fatalf("%d attempts, %v", n, err)
			}
		}
		for range 10 {
			if n, err := do(refuses(call.MaxRequests)); n != 1 || err == nil || err.Reason != call.MaxRequests {
				t.Fatalf("%d attempts, %v", n, err)
			}
		}
		for i := range 3 {
			if n, _ := do(fails(codes.Unavailable)); n != 2 {
				t.Fatalf("call %d was made %d times", i, n)
			}
		}
		if n, err := do(answers); n != 0 || err == nil || err.Reason != call.BreakerOpen || err.Code != codes.Unavailable {
			t.Fatalf("%d attempts, %v", n, err)
		}
		time.Sleep(time.Minute)
		func() { // a probe that panics does not hold the breaker half open for ever
			defer func() { _ = recover() }()
			_, _ = do(func(context.Context, *call.Call) error { panic("on purpose") })
		}()
		time.Sleep(time.Minute)
		if n, err := do(answers); n != 1 || err != nil {
			t.Errorf("%d attempts, %v", n, err)
		}
	})
}

func TestAFaultDoesNotLeaveTheBreakerWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := voting(traffic(tripping))
		client := interceptors.NewClient(interceptors.ClientConfig{Configs: c})
		for range 3 {
			_ = client.Unary(t.Context(), method, nil, nil, nil, steps(fails(codes.Unavailable)).invoke)
		}
		time.Sleep(time.Minute)
		c.config.VirtualHost.Routes[0].Fault = &resource.Fault{AbortPerMillion: all, AbortCode: codes.Aborted}
		if err := client.Unary(t.Context(), method, nil, nil, nil, ok); status.Code(err) != codes.Aborted {
			t.Fatalf("got %v", err)
		}
		c.config.VirtualHost.Routes[0].Fault = nil
		time.Sleep(time.Minute)
		if err := client.Unary(t.Context(), method, nil, nil, nil, ok); err != nil {
			t.Errorf("the breaker waits for a call that a fault ended: %v", err)
		}
	})
}

func TestHopCost(t *testing.T) {
	for _, tt := range []struct {
		name   string
		served time.Duration
		want   time.Duration // the call's deadline; zero is that it is not made
	}{
		{"is left over of the served call's deadline", time.Second, 950 * time.Millisecond},
		{"ends a call at once that would have nothing", 50 * time.Millisecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.served)
				defer cancel()
				s := steps(hangs)
				err := unary(&call.Incoming{Context: ctx}, voting(traffic(func(t *resource.Traffic) { t.HopCost = 50 * time.Millisecond })), s.invoke)
				if e := call.AsError(err); e == nil || e.Reason != call.DeadlineTooShort || e.Code != codes.DeadlineExceeded || e.Service == "" {
					t.Errorf("got %v", err)
				}
				if len(s.made) > 0 != (tt.want > 0) || len(s.made) > 0 && s.made[0].deadline != tt.want || time.Since(s.start) != tt.want {
					t.Errorf("made %+v, ended after %v", s.made, time.Since(s.start))
				}
			})
		})
	}
}

// What is served is not asked for again where it was tried in vain below.
func TestAChainTriesAgainAtItsLowestHop(t *testing.T) {
	type step = func(context.Context, *call.Call) error
	for _, tt := range []struct {
		name    string
		attempt uint32
		change  []func(*resource.Traffic)
		steps   []step
		want    int // attempts
		spent   bool
		calls   int // counted by the budget
	}{
		{"a call that succeeds spends nothing", 0, with(retried(3)), []step{answers}, 1, false, 1},
		{"nor one that succeeds in the end", 0, with(retried(3)), []step{fails(codes.Unavailable), answers}, 2, false, 1},
		{"one that was tried again in vain does", 0, with(retried(3)), []step{fails(codes.Unavailable)}, 3, true, 1},
		{"one that was not, for it must not be made twice, does not", 0, nil, []step{fails(codes.Unavailable)}, 1, false, 1},
		{"one that the budget refused does", 0, with(retried(3), budget(resource.RetryBudget{Window: time.Second})), []step{fails(codes.Unavailable)}, 1, true, 1},
		{"one whose service asks not to come back hands that on", 0, with(retried(3)), []step{pushes(-1)}, 1, true, 1},
		{"also where it would not have", 0, nil, []step{pushes(-1)}, 1, true, 1},
		{"a retry is served without retries, and without a deposit", 1, with(retried(3)), []step{fails(codes.Unavailable)}, 1, false, 0},
		{"but for what was not sent", 1, with(retried(3)), []step{lost, answers}, 2, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := serving(t.Context(), tt.attempt)
				change := tt.change
				c := voting(traffic(change...))
				client := interceptors.NewClient(interceptors.ClientConfig{Configs: c})
				s := steps(tt.steps...)
				err := client.Unary(in, method, nil, nil, nil, s.invoke)
				if len(s.made) != tt.want || in.Spent() != tt.spent {
					t.Errorf("%d attempts, spent: %v (%v), want %d and %v", len(s.made), in.Spent(), err, tt.want, tt.spent)
				}
				// A budget of all calls and nothing else tells how many it counted.
				c.config = voting(traffic(retried(5, func(r *resource.Retry) { r.Attempts = 2 }), budget(resource.RetryBudget{
					Percent: 100, Window: c.config.VirtualHost.Routes[0].Traffic.Budget.Window,
				}))).config
				before := client.Stats()[0].Retries
				counted := tt.calls - int(before)
				for i := range 3 {
					retry := serving(t.Context(), 1) // deposits nothing itself
					s := steps(lost)
					_ = client.Unary(retry, method, nil, nil, nil, s.invoke)
					if want := i < counted; want != (len(s.made) == 2) {
						t.Errorf("retry %d of %d that were counted: %d attempts", i, counted, len(s.made))
					}
				}
			})
		})
	}
}

// serving is a call that the process serves, which was tried as often before.
func serving(ctx context.Context, attempts uint32) *call.Incoming {
	md := metadata.Pairs("grpc-previous-rpc-attempts", strconv.FormatUint(uint64(attempts), 10))
	return &call.Incoming{Context: metadata.NewIncomingContext(ctx, md)}
}

func TestHedgesComeOutOfTheBudget(t *testing.T) {
	hedged := func(t *resource.Traffic) { t.Hedge = &resource.Hedge{Delay: 10 * time.Millisecond, Attempts: 3} }
	for _, tt := range []struct {
		name   string
		change []func(*resource.Traffic)
		opts   []grpc.CallOption
		in     *call.Incoming
		want   interceptors.Stats
	}{
		{"a slow call is made again", with(retried(2), hedged), nil, nil, interceptors.Stats{Calls: 1, Attempts: 3, Hedges: 2}},
		{"not where it must not be made twice", with(hedged), nil, nil, interceptors.Stats{Calls: 1, Attempts: 1}},
		{"an option asks for it", with(retried(2)), []grpc.CallOption{call.HedgeOption{Delay: 10 * time.Millisecond}}, nil, interceptors.Stats{Calls: 1, Attempts: 2, Hedges: 1}},
		{"an option forbids it", with(retried(2), hedged), []grpc.CallOption{call.HedgeOption{}}, nil, interceptors.Stats{Calls: 1, Attempts: 1}},
		{"not to serve a retry", with(retried(2), hedged), nil, serving(t.Context(), 1), interceptors.Stats{Calls: 1, Attempts: 1}},
		{
			"the budget refuses it", with(retried(2), hedged, budget(resource.RetryBudget{MinPerSecond: 1, Window: time.Second})), nil, nil,
			interceptors.Stats{Calls: 1, Attempts: 2, Hedges: 1, Denied: 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := voting(traffic(tt.change...))
				client := interceptors.NewClient(interceptors.ClientConfig{Configs: c})
				ctx := t.Context()
				if tt.in != nil {
					ctx = serving(ctx, tt.in.Attempt())
				}
				slow := func(ctx context.Context, _ string, _, reply any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
					select {
					case <-time.After(time.Second):
						return nil
					case <-ctx.Done():
						return status.FromContextError(ctx.Err()).Err()
					}
				}
				if err := client.Unary(ctx, method, wrapperspb.String(""), wrapperspb.String(""), nil, slow, tt.opts...); err != nil {
					t.Error(err)
				}
				tt.want.Service = c.config.Service
				if diff := cmp.Diff([]interceptors.Stats{tt.want}, client.Stats()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// What hedging leaves of the attempts is for retries, so that a route that has both is
// not worse off while no quantile is known.
func TestAHedgedCallIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := voting(timeout(10*time.Second), traffic(retried(4), func(t *resource.Traffic) {
			t.Hedge = &resource.Hedge{Quantile: 0.95, Attempts: 2}
		}))
		c.config.CommonTimeout = 10 * time.Second
		s := steps(fails(codes.Unavailable), fails(codes.Unavailable), answers)
		err := interceptors.NewClient(interceptors.ClientConfig{Configs: c}).Unary(t.Context(), method, wrapperspb.String(""), wrapperspb.String(""), nil, s.invoke)
		if err != nil || len(s.made) != 3 || s.made[2].previous != "2" {
			t.Errorf("%v: %+v", err, s.made)
		}
		for _, m := range s.made {
			if m.deadline != 10*time.Second {
				t.Errorf("an attempt has until %v, want the route's", m.deadline)
			}
		}
	})
}

func TestMirrorsGetACopyOfTheFirstAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := voting(traffic(retried(3), func(t *resource.Traffic) {
			t.Mirrors = []resource.Mirror{{Cluster: "voting/v3", PerMillion: all, Timeout: time.Second}}
		}))
		c.config.Clusters = map[string]*resource.ClusterConfig{"voting/v2": {}, "voting/v3": {}}
		client := interceptors.NewClient(interceptors.ClientConfig{Configs: c})
		var calls, copies atomic.Int32
		invoker := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			if call.FromContext(ctx).Cluster == "voting/v3" {
				copies.Add(1)
				return nil
			}
			calls.Add(1)
			return status.Error(codes.Unavailable, "")
		}
		_ = client.Unary(t.Context(), method, wrapperspb.String("a"), wrapperspb.String(""), nil, invoker)
		synctest.Wait()
		if calls.Load() != 3 || copies.Load() != 1 || client.Mirrored().Sent != 1 {
			t.Errorf("%d attempts, %d copies, %+v", calls.Load(), copies.Load(), client.Mirrored())
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestServicesBeyondTheBoundShare(t *testing.T) {
	c := voting()
	client := interceptors.NewClient(interceptors.ClientConfig{Configs: c})
	for i := range 4200 {
		config := *c.config
		config.Service = fmt.Sprint("service-", i)
		c.config = &config
		if err := client.Unary(t.Context(), method, nil, nil, nil, ok); err != nil {
			t.Fatal(err)
		}
	}
	stats := client.Stats()
	if len(stats) > 4097 || stats[0].Service != "" || stats[0].Calls != 4200-4096 || !strings.HasPrefix(stats[1].Service, "service-") {
		t.Errorf("%d services, the first: %+v", len(stats), stats[0])
	}
}
