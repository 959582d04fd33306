package interceptors_test

import (
	"context"
	"testing"
	"time"

	failsafebudget "github.com/failsafe-go/failsafe-go/budget"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafegrpc"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// What a call costs that succeeds at once, under a retry with a budget, a breaker and a
// rate limit: ours, which also routes, and libraries of policies that a service would
// put around its calls by hand. The invoker does nothing, so that all is policy.
func BenchmarkPoliciesAgainstOthers(b *testing.B) {
	ours := interceptors.NewClient(interceptors.ClientConfig{Configs: voting(traffic(retried(3), func(t *resource.Traffic) {
		t.Breaker = resource.DefaultBreaker()
		t.RateLimit = &resource.Rate{PerSecond: 1e9, Burst: 1e6}
	}))})

	library := failsafegrpc.NewUnaryClientInterceptor[any](
		ratelimiter.NewBursty[any](1e9, time.Second),
		retrypolicy.NewBuilder[any]().WithMaxRetries(2).WithBackoff(25*time.Millisecond, 250*time.Millisecond).WithBudget(failsafebudget.New()).Build(),
		circuitbreaker.NewBuilder[any]().WithFailureThreshold(7).Build(),
		bulkhead.New[any](1024),
	)
	breaker := gobreaker.NewCircuitBreaker[any](gobreaker.Settings{ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 7 }})
	for _, bm := range []struct {
		name string
		call grpc.UnaryClientInterceptor
	}{
		{"tulle", ours.Unary},
		{"failsafe-go", library},
		{"gobreaker alone", func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			_, err := breaker.Execute(func() (any, error) { return nil, invoker(ctx, method, req, reply, cc, opts...) })
			return err
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if err := bm.call(ctx, method, nil, nil, nil, ok); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
