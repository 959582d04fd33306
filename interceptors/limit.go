package interceptors

import (
	"context"
	"errors"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/route"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A limit is how long the route lets a call take, and who sees to it. The zero
// limit is none, or the application's own.
type limit struct {
	timeout time.Duration
	// began is set where grpc keeps the time, by the service config that the
	// resolver gave it; zero where the call's context does.
	began time.Time
}

// start begins the route's time. cancel is nil where the context is ctx itself.
func start(ctx context.Context, config *resource.Config, timeout time.Duration) (limit, context.Context, context.CancelFunc) {
	if timeout > 0 && timeout == config.CommonTimeout {
		return limit{timeout: timeout, began: time.Now()}, ctx, nil
	}
	bounded, cancel := route.Bound(ctx, timeout)
	if cancel == nil {
		return limit{}, ctx, nil
	}
	return limit{timeout: timeout}, bounded, cancel
}

// spent reports whether a deadline on this side ran out, and the route's timeout
// if it was that, zero if it was the application's. ctx is the call's. A service
// may answer DEADLINE_EXCEEDED, too, long before either.
func (l limit) spent(ctx context.Context) (timeout time.Duration, spent bool) {
	expired := errors.Is(ctx.Err(), context.DeadlineExceeded)
	switch {
	case l.began.IsZero():
		return l.timeout, expired
	case expired:
		return 0, true
	default:
		return l.timeout, time.Since(l.began) >= l.timeout
	}
}
