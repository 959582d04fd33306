package hedge_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors/hedge"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A service answers in the time that it draws, whatever the attempt.
type service struct {
	draw     func(*rand.Rand) time.Duration
	attempts atomic.Int64

	mu  sync.Mutex
	rng *rand.Rand
}

func (s *service) invoke(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
	s.attempts.Add(1)
	s.mu.Lock()
	d := s.draw(s.rng)
	s.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// load makes calls from some clients one after another, and returns what they took in
// order, and attempts per call. It is called in a bubble.
func load(t *testing.T, s *service, policy *resource.Hedge, clients, each int) ([]time.Duration, float64) {
	t.Helper()
	var hedges hedge.Hedger
	took := make([]time.Duration, clients*each)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				rpc := &call.Call{Context: t.Context(), Service: "voting", Method: method}
				rpc.Begin(0)
				begun := time.Now()
				if _, err := hedges.Do(rpc, hedge.Plan{Policy: policy, Retryable: resource.Codes(uint32(codes.Unavailable))}, hedge.Unary{
					Request: wrapperspb.Int64(7), Reply: wrapperspb.Int64(0), Invoker: s.invoke,
				}); err != nil {
					t.Error(err)
				}
				took[c*each+i] = time.Since(begun)
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took, float64(s.attempts.Load()) / float64(len(took))
}

func at(sorted []time.Duration, share float64) time.Duration {
	return sorted[min(int(float64(len(sorted))*share), len(sorted)-1)]
}

func TestHedgingAtTheQuantileCutsTheTailForFewCalls(t *testing.T) {
	const clients, each = 20, 1_000
	jitter := func(rng *rand.Rand) time.Duration { return 4*ms + time.Duration(rng.Int64N(int64(2*ms))) }
	tail := func(rng *rand.Rand) time.Duration {
		if rng.IntN(100) == 0 {
			return 500 * ms
		}
		return jitter(rng)
	}
	for _, tt := range []struct {
		name  string
		draw  func(*rand.Rand) time.Duration
		falls float64 // p99.9 by that much; zero does not ask
		extra float64 // attempts per call, at most
	}{
		{"a tail of 1 % of 500 ms", tail, 5, 0.06},
		{"no tail", jitter, 0, 0.06},
		{"always the same", func(*rand.Rand) time.Duration { return 5 * ms }, 0, 0},
		{"always the last nanosecond of a bucket", func(*rand.Rand) time.Duration { return hedge.UpperBound(51) - 1 }, 0, 0},
		{"latencies spread over decades", func(rng *rand.Rand) time.Duration {
			return ms + time.Duration(rng.ExpFloat64()*float64(20*ms))
		}, 0, 0.06},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := func(policy *resource.Hedge) (took []time.Duration, attempts float64) {
				synctest.Test(t, func(t *testing.T) {
					took, attempts = load(t, &service{draw: tt.draw, rng: rand.New(rand.NewPCG(3, 4))}, policy, clients, each)
				})
				return took, attempts
			}
			plain, _ := run(nil)
			hedged, attempts := run(&resource.Hedge{Quantile: 0.95, Attempts: 2})
			before, after := at(plain, 0.999), at(hedged, 0.999)
			t.Logf("p99.9 was %v and is %v (p50 %v, %v), for %.2f %% more calls",
				before, after, at(plain, 0.5), at(hedged, 0.5), 100*(attempts-1))
			if attempts-1 > tt.extra {
				t.Errorf("hedging made %.2f %% more calls, want at most %.0f %%", 100*(attempts-1), 100*tt.extra)
			}
			if float64(after)*tt.falls > float64(before) {
				t.Errorf("p99.9 is %v, was %v: want it to fall %v times", after, before, tt.falls)
			}
		})
	}
}

// Attempts that lost count for the quantile with what is known of them. Without them
// each estimate would be the quantile of what is left below the last one.
func TestTheQuantileDoesNotRunAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		draw := func(rng *rand.Rand) time.Duration { return 4*ms + time.Duration(rng.ExpFloat64()*float64(8*ms)) }
		s := &service{draw: draw, rng: rand.New(rand.NewPCG(5, 6))}
		_, attempts := load(t, s, &resource.Hedge{Quantile: 0.95, Attempts: 2}, 4, 8_000) // for nine windows
		if attempts > 1.06 || attempts < 1.03 {
			t.Errorf("there were %.3f attempts per call, want a little less than 1.05", attempts)
		}
	})
}

func BenchmarkDo(b *testing.B) {
	invoker := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }
	unary := hedge.Unary{Request: wrapperspb.Int64(7), Reply: wrapperspb.Int64(0), Invoker: invoker}
	rpc := &call.Call{Context: b.Context(), Service: "voting", Method: method}
	for _, bb := range []struct {
		name   string
		policy *resource.Hedge
	}{
		{"without a policy", nil},
		{"answered before the delay", &resource.Hedge{Delay: time.Minute, Attempts: 2}},
		{"answered before the quantile", &resource.Hedge{Quantile: 0.95, Attempts: 2}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var hedges hedge.Hedger
			b.ReportAllocs()
			for b.Loop() {
				if _, err := hedges.Do(rpc, hedge.Plan{Policy: bb.policy}, unary); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
