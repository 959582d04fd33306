package interceptors

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

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
	var u unaryCall
	u.wishes.read(opts)
	rpc := &call.Call{Context: ctx, Method: method, WaitForReady: u.wishes.waitForReady}
	config, err := c.configs.Config(rpc, cc)
	if config == nil && err == nil {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	u.Method, u.Request, u.Reply, u.Conn, u.Invoker, u.Options = method, req, reply, cc, invoker, opts
	u.tell.begin(c, rpc, begun)
	if err != nil {
		u.tell.unconfigured(rpc, err)
		return err
	}
	if failure := c.admit(&u.plan, rpc, config, &u.wishes); failure != nil {
		err := cardinality(failure)
		u.tell.refused(rpc, err)
		return err
	}
	if u.wishes.finishes {
		u.Options = unfinished(u.Options)
	}
	if len(u.traffic.Mirrors) > 0 {
		c.mirrors.Send(rpc, config, u.traffic.Mirrors, mirror.Unary(u.unary))
	}
	return u.run(rpc)
}
