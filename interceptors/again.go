package interceptors

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// again decides, after an attempt that failed, whether there is another, and waits
// until it is due. The error is that of the call, where there is none.
func (p *plan) again(rpc *call.Call, err error) (bool, error) {
	wait, ok := p.next(rpc, err)
	if !ok {
		return false, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-p.ctx.Done():
		// The deadline is later: the application gave up.
		p.timedOut, p.dropped = false, 1
		return false, status.FromContextError(p.ctx.Err()).Err()
	}
}

// next decides whether there is another attempt, and takes it from the budget.
func (p *plan) next(rpc *call.Call, err error) (wait time.Duration, ok bool) {
	failure := p.failure(rpc, err)
	if !retry.Again(&p.retry, failure) || !p.retries() || p.ctx.Err() != nil {
		return 0, false
	}
	if p.waited++; failure.Pushback > 0 {
		p.waited = 0 // gRFC A6: what comes after begins with the base
	}
	wait = retry.Wait(&p.retry, p.waited, failure.Pushback)
	now := time.Now()
	if !retry.Fits(now, wait, p.clock.Until(p.ctx)) {
		return 0, false
	}
	if !p.budget.Withdraw(now, p.traffic.Budget) {
		p.denied = true
		p.upstream.denied.Add(1)
		return 0, false
	}
	if p.made == 1 && p.tell.span.On() {
		ended := p.ended
		if ended.IsZero() {
			ended = now
		}
		p.tell.first(&p.outing, rpc, err, ended)
	}
	p.made++
	p.ended = time.Time{} // the call may end in the wait
	return wait, true
}

// failure is what is known of an attempt that failed.
func (p *plan) failure(rpc *call.Call, err error) retry.Failure {
	f := retry.Failure{
		Code:     status.Code(err),
		Refusal:  rpc.Failure,
		Unsent:   rpc.Failure != nil || !rpc.Outcome.Sent,
		Pushback: rpc.Outcome.Pushback,
		Serving:  p.serving(),
	}
	if !p.tryUntil.IsZero() && (f.Code == codes.DeadlineExceeded || f.Code == codes.Canceled) && p.ctx.Err() == nil {
		// The endpoint keeps the same time, and may have been the first to say so.
		p.timedOut = !time.Now().Before(p.tryUntil)
		f.TimedOut = p.timedOut
	}
	if !f.Unsent && p.retries() {
		f.Unsent = call.Unhandled(err, p.config.Service) // sent, and as good as not
	}
	f.Repeatable = !f.Unsent && p.repeatable()
	return f
}

// attempt is the call of the attempt that again decided on. cancel is nil where there
// is nothing to release.
func (p *plan) attempt(last *call.Call) (*call.Call, context.CancelFunc) {
	n := p.made - 1
	ctx, cancel := p.clock.Bound(p.ctx)
	ctx, cancelTry := p.try(ctx)
	switch {
	case cancel == nil:
		cancel = cancelTry
	case cancelTry != nil:
		cancelClock := cancel
		cancel = func() { cancelTry(); cancelClock() }
	}
	// Where grpc may still look at the last one's context it is not written to.
	rpc := last.Fork(metadata.AppendToOutgoingContext(ctx, retry.Header, strconv.FormatUint(uint64(n), 10)))
	rpc.Begin(n)
	p.upstream.retries.Add(1)
	p.outing = p.tell.outing(rpc, time.Now())
	return rpc, cancel
}

// try gives an attempt its own time. The last has what is left of the call's, and so
// has one of a call that must not be made twice: nothing could follow it. That of a
// stream ends with the first message, and not with the stream: the context that it gets
// is for whoever keeps that time to cancel.
func (p *plan) try(ctx context.Context) (context.Context, context.CancelFunc) {
	p.tryUntil, p.timedOut = time.Time{}, false
	if p.retry.PerTryTimeout <= 0 || !p.retries() || p.streams != p.replayed || p.serving() || !p.repeatable() {
		return ctx, nil
	}
	until := time.Now().Add(p.retry.PerTryTimeout)
	if end := p.clock.Until(ctx); !end.IsZero() && !until.Before(end) {
		return ctx, nil
	}
	p.tryUntil = until
	if p.streams {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, until)
}
