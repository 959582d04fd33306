// Package deadline bounds the time that a call takes, over all of its attempts.
//
//	clock, ctx, cancel, failure := deadline.Start(ctx, now, deadline.Terms{
//		Timeout: config.Timeout(r), Common: config.CommonTimeout, HopCost: traffic.HopCost, Incoming: incoming,
//	})
//
// Three deadlines meet, and the soonest wins: the application's own; the route's
// timeout (gRFC A31), whose time begins when the call is made; and, where the call is
// made to serve another, that one's deadline less what it costs to answer it. The last
// is what keeps a chain of services from working on what nobody waits for any more:
// each hop gives up early enough for the hop before to say so in time.
//
// The package does not bound single attempts, see package retry, or streams that are
// idle, see package idle.
package deadline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors/route"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// Terms are what bounds a call, beside its context.
type Terms struct {
	// Timeout is the route's; zero is none.
	Timeout time.Duration
	// Common is the timeout that grpc keeps by itself, for all calls of the service:
	// see resource.Config.CommonTimeout.
	Common time.Duration
	// HopCost is what is left over of the deadline of Incoming, nil for none.
	HopCost  time.Duration
	Incoming *call.Incoming
}

// A Clock knows which deadline a call has, and who sees to it. The zero Clock has
// none but the application's.
type Clock struct {
	timeout time.Duration // the route's, where that bounds the call
	hopCost time.Duration // where the served call's deadline bounds the call
	// until is set where grpc keeps the time, by the service config that the
	// resolver gave it, which costs less than a context: the same for the first
	// attempt. Where the call's context does, it is zero.
	until time.Time
}

// Start begins a call's time. The context has the deadline, and cancel is nil where it
// is ctx itself. Where nothing would be left of the time, the call fails at once.
func Start(ctx context.Context, now time.Time, terms Terms) (Clock, context.Context, context.CancelFunc, *call.Error) {
	if until, ok := servedUntil(ctx, terms); ok && (terms.Timeout <= 0 || until.Before(now.Add(terms.Timeout))) {
		if !now.Before(until) {
			return Clock{}, ctx, nil, tooShort(until.Add(terms.HopCost).Sub(now), terms.HopCost)
		}
		bounded, cancel := context.WithDeadline(ctx, until)
		return Clock{hopCost: terms.HopCost}, bounded, cancel, nil
	}
	if terms.Timeout > 0 && terms.Timeout == terms.Common {
		return Clock{timeout: terms.Timeout, until: now.Add(terms.Timeout)}, ctx, nil, nil
	}
	bounded, cancel := route.Bound(ctx, terms.Timeout)
	if cancel == nil {
		return Clock{}, ctx, nil, nil
	}
	return Clock{timeout: terms.Timeout}, bounded, cancel, nil
}

// servedUntil is when the served call has to be answered, less the hop's cost. It is
// nothing to a call that outlives the one that it serves, or ends sooner by itself.
func servedUntil(ctx context.Context, terms Terms) (time.Time, bool) {
	if terms.Incoming == nil || terms.HopCost <= 0 {
		return time.Time{}, false
	}
	served, ok := terms.Incoming.Deadline()
	if !ok {
		return time.Time{}, false
	}
	own, ok := ctx.Deadline()
	until := served.Add(-terms.HopCost)
	return until, ok && !own.After(served) && until.Before(own)
}

func tooShort(left, hopCost time.Duration) *call.Error {
	return &call.Error{
		Reason: call.DeadlineTooShort,
		Code:   codes.DeadlineExceeded,
		Detail: fmt.Sprintf("what is left of the served call's deadline, %v, is no more than the hop cost of %v", left, hopCost),
		Try:    "a longer deadline where the chain of calls begins",
	}
}

// Until is when the time of a call in ctx, which Start returned or a child of it, is
// over; zero is never.
func (c Clock) Until(ctx context.Context) time.Time {
	own, ok := ctx.Deadline()
	if ok && (c.until.IsZero() || own.Before(c.until)) {
		return own
	}
	return c.until
}

// Bound gives the context of another attempt the deadline that grpc would count anew.
// cancel is nil where the context is ctx itself.
func (c Clock) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.until.IsZero() {
		return ctx, nil
	}
	if own, ok := ctx.Deadline(); ok && !c.until.Before(own) {
		return ctx, nil
	}
	return context.WithDeadline(ctx, c.until)
}

// Overrun explains a call to service in ctx that ended with DEADLINE_EXCEEDED: the
// mesh's own error where the deadline that ran out is the mesh's, nil where it is not.
// over is whether one ran out on this side at all: a service may answer so, too, long
// before.
func (c Clock) Overrun(ctx context.Context, service string) (failure *call.Error, over bool) {
	over = errors.Is(ctx.Err(), context.DeadlineExceeded)
	if !c.until.IsZero() {
		if own, ok := ctx.Deadline(); ok && !c.until.Before(own) {
			return nil, over
		}
		over = over || !time.Now().Before(c.until)
	}
	if !over || c.timeout == 0 && c.hopCost == 0 {
		return nil, over
	}
	failure = &call.Error{Service: service, Reason: call.RouteTimeout, Code: codes.DeadlineExceeded}
	if c.hopCost > 0 {
		failure.Reason = call.DeadlineTooShort
		failure.Detail = fmt.Sprintf("the served call's deadline, less the hop cost of %v for %q, ran out", c.hopCost, service)
		failure.Try = "a longer deadline where the chain of calls begins"
		return failure, true
	}
	failure.Detail = fmt.Sprintf("the route's timeout of %v for %q ran out", c.timeout, service)
	failure.Try = "a longer timeout in the route: xdsserver routes " + service
	return failure, true
}
