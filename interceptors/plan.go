package interceptors

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/interceptors/deadline"
	"github.com/tulle-mesh/tulle/interceptors/header"
	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/interceptors/route"
	"github.com/tulle-mesh/tulle/interceptors/trip"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A plan is what was decided about one call before it is made, and what became of its
// attempts since. It is used by one goroutine at a time.
type plan struct {
	client   *Client
	config   *resource.Config
	traffic  *resource.Traffic
	method   string
	streams  bool // whether the call is a stream
	replayed bool // and whether one that is opened again after it was open
	upstream *upstream
	budget   *retry.Budget
	incoming *call.Incoming // nil where the call serves none
	ticket   trip.Ticket
	tell     teller

	// own is the context that the application made the call in, ctx the one that its
	// attempts are made in. cancel ends ctx, and is nil where nothing needs to.
	own, ctx context.Context //nolint:containedctx // those of the one call
	cancel   context.CancelFunc
	clock    deadline.Clock

	// retry is the route's, with what the application replaces. A copy: the options
	// of one call then cost it nothing on the heap.
	retry resource.Retry

	made     uint32    // attempts
	dropped  uint32    // of them, those that were decided on and not made
	waited   uint32    // backoffs, since the endpoint last said how long to wait
	outing   outing    // the attempt at hand
	ended    time.Time // when the last of a unary call did; zero is not known
	tryUntil time.Time // when the time of the attempt is over; zero is never
	timedOut bool      // whether that is how it ended
	denied   bool      // whether the budget refused another
}

// admit decides about a call: all that comes before its first attempt. rpc is ready
// for that afterwards. A call that is not admitted leaves nothing behind.
func (c *Client) admit(p *plan, rpc *call.Call, config *resource.Config, w *wishes) *call.Error {
	ctx := rpc.Context
	p.tell.service = config.Service
	r, cluster, failure := route.Choose(ctx, config, rpc.Method)
	if failure != nil {
		return failure
	}
	p.tell.route = r.Name
	rpc.Service, rpc.Cluster = config.Service, cluster.Name
	p.client, p.config, p.traffic, p.method, p.own = c, config, config.Traffic(r), rpc.Method, ctx
	p.streams = rpc.Stream
	p.upstream = c.upstreams.of(config.Service)
	if p.traffic.RateLimit != nil {
		if failure := p.limit(*p.traffic.RateLimit); failure != nil {
			return failure
		}
	}
	p.ticket, failure = c.trips.Admit(config.Service, p.traffic.Breaker)
	if failure != nil {
		return failure
	}
	policy := config.Fault(r, cluster)
	if policy != nil {
		if failure := c.faults.Inject(ctx, config.Service, policy); failure != nil {
			p.ticket.Done(ctx, failure)
			return failure
		}
	}

	now := p.tell.begun
	if policy != nil || rpc.Waited {
		now = time.Now() // the wait, or the delay of a fault, is over
	}
	p.incoming = call.IncomingFrom(ctx)
	p.clock, p.ctx, p.cancel, failure = deadline.Start(ctx, now, deadline.Terms{
		Timeout: config.Timeout(r), Common: config.CommonTimeout, HopCost: p.traffic.HopCost, Incoming: p.incoming,
	})
	if failure != nil {
		failure.Service = config.Service
		p.ticket.Done(ctx, failure)
		return failure
	}
	p.ctx = header.Apply(p.ctx, p.traffic.Headers)
	if c.tracer != nil {
		p.ctx = p.tell.span.Inject(p.ctx, p.incoming)
	}
	p.hash(rpc, w)
	if p.traffic.Retry != nil {
		p.retry = *p.traffic.Retry
	}
	if w.retried {
		p.retry = retry.Merge(p.retry, w.retry)
	}
	p.budget = p.upstream.budget(p.traffic.Budget.Window, now)
	if !p.serving() {
		p.budget.Deposit(now)
	}
	p.upstream.calls.Add(1)
	p.made = 1
	rpc.Context = p.ctx
	rpc.Begin(0)
	p.tell.match(p.ctx, rpc)
	p.outing = p.tell.outing(rpc, now)
	return nil
}

// limit takes the call from the rate that this process may make.
func (p *plan) limit(r resource.Rate) *call.Error {
	now := time.Now()
	ok, after := p.upstream.limiter(r, now).Allow(now)
	if ok {
		return nil
	}
	return &call.Error{
		Service:    p.config.Service,
		Reason:     call.ClientRateLimited,
		Code:       codes.ResourceExhausted,
		Detail:     fmt.Sprintf("this process makes more than the %v calls a second to %q that its route lets it", r.PerSecond, p.config.Service),
		Try:        "fewer calls, or a higher rateLimit: xdsserver routes " + p.config.Service,
		RetryAfter: after,
	}
}

// hash sets the key of ring hash: what the application says, or the header that the
// route names. Several values are one, with commas between; a binary header is none
// (gRFC A42).
func (p *plan) hash(rpc *call.Call, w *wishes) {
	if w.hashed {
		rpc.Hash, rpc.Hashed = resource.HashKey(w.hashKey), true
		return
	}
	name := p.traffic.HashHeader
	if name == "" || strings.HasSuffix(name, "-bin") {
		return
	}
	switch values := metadata.ValueFromOutgoingContext(p.ctx, name); len(values) {
	case 0:
	case 1:
		rpc.Hash, rpc.Hashed = resource.HashKey(values[0]), true
	default:
		rpc.Hash, rpc.Hashed = resource.HashKey(strings.Join(values, ",")), true
	}
}

// serving is whether the call is made to serve what is itself a retry.
func (p *plan) serving() bool { return p.incoming != nil && p.incoming.Attempt() > 0 }

// repeatable is whether the call may be made twice.
func (p *plan) repeatable() bool {
	return p.retry.Idempotent || p.client.methods.Repeatable(p.method)
}

// retries is whether a failure of the call could be followed by another attempt.
func (p *plan) retries() bool { return p.made < min(p.retry.Attempts, resource.MaxAttempts) }

// spent tells the call that a failed one served, if any, that it must not be made
// again on top: this one failed although it was tried again, or could not be. rpc is
// its last attempt.
func (p *plan) spent(rpc *call.Call) {
	if p.incoming != nil && (p.made > 1 || p.denied || rpc.Outcome.Pushback < 0) {
		p.incoming.Spend()
	}
}

// replays is whether a stream that is open may be opened again.
func (p *plan) replays(w *wishes) bool {
	return p.retries() && p.retry.BufferBytes > 0 && !w.ownCodec && !p.serving() && p.repeatable()
}
