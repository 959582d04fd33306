package interceptors

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/fault"
	"github.com/tulle-mesh/tulle/interceptors/hedge"
	"github.com/tulle-mesh/tulle/interceptors/mirror"
	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/interceptors/trip"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Configs gives the configuration of the service that a connection calls. It is
// implemented by *resolver.Builder.
type Configs interface {
	// Config waits for the first configuration of cc's service, as long as ctx
	// and patience allow; a [call.Call] in ctx says whether the application is
	// willing to wait for ready. Its error is a gRPC status error. A nil Config
	// without an error means that cc is no connection of the mesh.
	Config(ctx context.Context, cc *grpc.ClientConn) (*resource.Config, error)
}

// A Client is the client side of the mesh's interceptors. One is enough for a
// process, and should be all: limits that hold per process, as the retry budget, are
// counted in it. It is safe for concurrent use, and is closed by who made it.
type Client struct {
	configs   Configs
	faults    fault.Injector
	trips     trip.Breakers
	hedges    hedge.Hedger
	mirrors   mirror.Mirrors
	methods   retry.Methods
	upstreams upstreams
}

// NewClient returns a Client that takes configurations from configs.
func NewClient(configs Configs) *Client { return &Client{configs: configs} }

// Close cancels the copies of calls that are on their way to mirrors, and waits for
// them. Calls go on, and are mirrored no more. It always returns nil.
func (c *Client) Close() error { return c.mirrors.Close() }

// Mirrored returns what became of the copies of calls, since the process began.
func (c *Client) Mirrored() mirror.Counts { return c.mirrors.Counts() }

var _ grpc.UnaryClientInterceptor = (*Client)(nil).Unary

// Unary is a grpc.UnaryClientInterceptor. Errors of the mesh's making are
// *[call.Error].
func (c *Client) Unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	w := wishesOf(opts)
	rpc := &call.Call{Context: ctx, Method: method, WaitForReady: w.waitForReady}
	config, err := c.configs.Config(rpc, cc)
	if err != nil {
		return err
	}
	if config == nil {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	var p plan
	if failure := c.admit(&p, rpc, config, &w); failure != nil {
		return cardinality(failure)
	}
	if w.finishes {
		opts = unfinished(opts)
	}
	u := unary{Method: method, Request: req, Reply: reply, Conn: cc, Invoker: invoker, Options: opts}
	if len(p.traffic.Mirrors) > 0 {
		c.mirrors.Send(rpc, config, p.traffic.Mirrors, mirror.Unary(u))
	}
	return p.unary(rpc, &u, &w)
}

// A unary is a unary RPC that is made several times: what grpc gives an interceptor.
type unary mirror.Unary

func (u *unary) invoke(rpc *call.Call) error {
	return u.Invoker(rpc, u.Method, u.Request, u.Reply, u.Conn, u.Options...)
}

// errUnwound is how a call ends that panics: it says nothing of the service.
var errUnwound = status.Error(codes.Canceled, "the call panicked")

// unary makes the call's attempts, in the goroutine of the caller.
func (p *plan) unary(rpc *call.Call, u *unary, w *wishes) (err error) {
	if p.cancel != nil {
		defer p.cancel()
	}
	err = errUnwound
	if p.traffic.Breaker != nil {
		defer func() { p.ticket.Done(p.own, err) }()
	}
	result := p.first(rpc, u, w)
	if result != nil {
		rpc, result = p.others(rpc, u, result)
		if result != nil {
			p.spent(rpc)
			result = p.explain(rpc, result)
		}
	}
	if err = result; w.finishes {
		finish(w.opts, err)
	}
	return err
}

// first makes the first attempt, and its hedges.
func (p *plan) first(rpc *call.Call, u *unary, w *wishes) error {
	policy := p.traffic.Hedge
	if w.hedged {
		policy = hedging(policy, w.hedge)
	}
	if policy != nil && policy.Attempts > 1 && !p.serving() && p.repeatable() {
		return p.hedged(rpc, u, policy)
	}
	if p.retry.PerTryTimeout <= 0 {
		return u.invoke(rpc)
	}
	ctx, cancel := p.try(p.ctx)
	if cancel != nil {
		defer cancel()
	}
	rpc.Context = ctx
	return u.invoke(rpc)
}

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
func (p *plan) hedged(rpc *call.Call, u *unary, policy *resource.Hedge) error {
	ctx, cancel := p.clock.Bound(p.ctx)
	if cancel != nil {
		defer cancel()
	}
	rpc.Context = ctx
	tally, err := p.client.hedges.Do(rpc, hedge.Plan{
		Policy:    policy,
		Retryable: p.retry.Codes,
		Take:      take(p.upstream, p.budget, p.traffic.Budget),
	}, hedge.Unary(*u))
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

// others makes the attempts after the first, which failed with err. It returns the
// last one's call and error.
func (p *plan) others(rpc *call.Call, u *unary, err error) (*call.Call, error) {
	for err != nil && !p.denied {
		var ok bool
		if ok, err = p.again(rpc, err); !ok {
			break
		}
		var cancel context.CancelFunc
		rpc, cancel = p.attempt(rpc)
		err = u.invoke(rpc)
		if cancel != nil {
			cancel()
		}
	}
	return rpc, err
}
