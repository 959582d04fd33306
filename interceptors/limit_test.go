package interceptors_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// Where all routes have one timeout, grpc keeps the time; what the application
// is told must not differ.
func TestTimeoutThatGRPCKeeps(t *testing.T) {
	for name, test := range map[string]struct {
		own    time.Duration // the application's deadline, zero for none
		answer time.Duration // when DEADLINE_EXCEEDED comes
		reason call.Reason
	}{
		"the route's timeout ran out":              {0, 2 * time.Second, call.RouteTimeout},
		"the application's ran out first":          {time.Second, time.Second, ""},
		"the service answered so, long before":     {0, 100 * time.Millisecond, ""},
		"the application's is longer, and no part": {time.Minute, 2 * time.Second, call.RouteTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.own > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.own)
					defer cancel()
				}
				c := voting(timeout(2 * time.Second))
				c.config.CommonTimeout = 2 * time.Second
				err := unary(ctx, c, ends(func(inner context.Context) error {
					if _, bounded := inner.Deadline(); bounded != (test.own > 0) {
						t.Error("the call has a deadline that is not the application's")
					}
					time.Sleep(test.answer)
					return status.Error(codes.DeadlineExceeded, "in grpc's words")
				}))
				var reason call.Reason
				if e := call.AsError(err); e != nil {
					reason = e.Reason
				}
				if status.Code(err) != codes.DeadlineExceeded || reason != test.reason {
					t.Errorf("got %v with reason %q, want DEADLINE_EXCEEDED and %q", err, reason, test.reason)
				}
			})
		})
	}
}
