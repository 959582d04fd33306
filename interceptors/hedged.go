package interceptors

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/interceptors/hedge"
	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// hedging is the policy that the application asks for.
func hedging(policy *resource.Hedge, delay time.Duration) *resource.Hedge {
	if delay <= 0 {
		return nil
	}
	own := resource.Hedge{Delay: delay, Attempts: 2}
	if policy != nil {
		own.Attempts = policy.Attempts
	}
	return &own
}

// hedged makes the first attempt as a race. What hedging leaves of the attempts is
// for retries: where no hedge was due, there are as many of them as ever.
func (u *unaryCall) hedged(rpc *call.Call, policy *resource.Hedge) error {
	p := &u.plan
	ctx, cancel := p.clock.Bound(p.ctx)
	if cancel != nil {
		defer cancel()
	}
	rpc.Context = ctx
	told := &hedged{tell: p.tell, invoker: u.Invoker}
	watched := hedge.Unary(u.unary)
	watched.Invoker = told.invoke
	tally, err := p.client.hedges.Do(rpc, hedge.Plan{
		Policy:    policy,
		Retryable: p.retry.Codes,
		Take:      take(p.upstream, p.budget, p.traffic.Budget),
	}, watched)
	told.end(&p.outing, rpc, tally.Extra)
	p.ended = time.Time{} // attempts ended that did not count
	p.made += tally.Extra
	p.denied = tally.Denied
	p.upstream.hedges.Add(uint64(tally.Extra))
	return err
}

// take takes hedges from the budget. It holds on to no plan, which lies on the stack.
func take(up *upstream, budget *retry.Budget, policy resource.RetryBudget) func() bool {
	return func() bool {
		if budget.Withdraw(time.Now(), policy) {
			return true
		}
		up.denied.Add(1)
		return false
	}
}

// A hedged tells of the attempts of a call that is hedged, which run beside each other.
type hedged struct {
	tell    teller
	invoker grpc.UnaryInvoker

	// Of the first attempt, which runs where the call is made.
	err   error
	ended time.Time
}

// invoke is a grpc.UnaryInvoker. A loser that was sent is told of, too: the endpoint had
// it.
func (h *hedged) invoke(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, opts ...grpc.CallOption,
) error {
	rpc := call.FromContext(ctx)
	o := h.tell.outing(rpc, time.Now())
	u := unary{Method: method, Request: req, Reply: reply, Conn: cc, Invoker: h.invoker, Options: opts}
	var err error
	if o.watch != nil {
		err = h.tell.tapped(&o, rpc, &u)
	} else {
		err = u.invoke(rpc)
	}
	ended := h.tell.back(&o, rpc, err)
	if rpc.Attempt == 0 {
		h.err, h.ended = err, ended
	}
	return err
}

// end is called when all attempts are over, of which extra came beside the first.
func (h *hedged) end(first *outing, rpc *call.Call, extra uint32) {
	if extra > 0 {
		h.tell.first(first, rpc, h.err, h.ended)
	}
}
