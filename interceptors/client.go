package interceptors

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/interceptors/fault"
	"github.com/tulle-mesh/tulle/interceptors/hedge"
	"github.com/tulle-mesh/tulle/interceptors/mirror"
	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/interceptors/trip"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
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
	telemetry *telemetry.Instruments
	tracer    *trace.Tracer
	log       *accesslog.Log
	taps      *tap.Taps
	tells     bool // whether there is any of them

	faults    fault.Injector
	trips     trip.Breakers
	hedges    hedge.Hedger
	mirrors   mirror.Mirrors
	methods   retry.Methods
	upstreams upstreams
	streams   atomic.Int64 // that are open
}

// A ClientConfig is what a [Client] is made of. Configs is needed; each of the others
// may be nil, and then is not told of calls.
type ClientConfig struct {
	// Configs gives the configuration of each call.
	Configs Configs
	// Telemetry counts calls and attempts.
	Telemetry *telemetry.Instruments
	// Tracer makes spans of them, and hands traces on.
	Tracer *trace.Tracer
	// Log has a line for a call, where it is on.
	Log *accesslog.Log
	// Taps are those who watch.
	Taps *tap.Taps
}

// NewClient returns a Client.
func NewClient(c ClientConfig) *Client {
	client := &Client{configs: c.Configs, telemetry: c.Telemetry, tracer: c.Tracer, log: c.Log, taps: c.Taps}
	client.tells = c.Telemetry != nil || c.Tracer != nil || c.Log != nil || c.Taps != nil
	client.trips.OnChange = client.tripped
	if c.Telemetry != nil {
		c.Telemetry.Observe(client.samples)
	}
	return client
}

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
	begun := time.Now()
	w := wishesOf(opts)
	rpc := &call.Call{Context: ctx, Method: method, WaitForReady: w.waitForReady}
	config, err := c.configs.Config(rpc, cc)
	if config == nil && err == nil {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	var p plan
	p.tell.begin(c, rpc, begun)
	if err != nil {
		p.tell.unconfigured(rpc, err)
		return err
	}
	if failure := c.admit(&p, rpc, config, &w); failure != nil {
		err := cardinality(failure)
		p.tell.refused(rpc, err)
		return err
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
	defer func() { p.over(rpc, err) }()
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

// over is the end of a unary call, as the application sees it.
func (p *plan) over(rpc *call.Call, err error) {
	if p.traffic.Breaker != nil {
		p.ticket.Done(p.own, err)
	}
	now := p.ended
	if now.IsZero() {
		now = time.Now()
	}
	p.tell.over(&ending{err: err, ctx: p.ctx, cluster: rpc.Cluster, endpoint: rpc.Endpoint(), attempts: p.made - p.dropped, at: now})
}

// invoke makes an attempt.
func (p *plan) invoke(rpc *call.Call, u *unary) (err error) {
	if p.outing.watch != nil {
		err = p.tell.tapped(p.outing, rpc, *u)
	} else {
		err = u.invoke(rpc)
	}
	p.ended = p.tell.back(&p.outing, rpc, err)
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
		return p.invoke(rpc, u)
	}
	ctx, cancel := p.try(p.ctx)
	if cancel != nil {
		defer cancel()
	}
	rpc.Context = ctx
	return p.invoke(rpc, u)
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
		err = p.invoke(rpc, u)
		if cancel != nil {
			cancel()
		}
	}
	return rpc, err
}
