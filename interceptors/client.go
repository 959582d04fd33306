package interceptors

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/interceptors/fault"
	"github.com/tulle-mesh/tulle/interceptors/route"
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
// process: limits that hold per process, as that of active faults, are counted
// in it. It is safe for concurrent use.
type Client struct {
	configs Configs
	faults  fault.Injector
}

// NewClient returns a Client that takes configurations from configs.
func NewClient(configs Configs) *Client { return &Client{configs: configs} }

var _ grpc.UnaryClientInterceptor = (*Client)(nil).Unary

// Unary is a grpc.UnaryClientInterceptor. Errors of the mesh's making are
// *[call.Error].
func (c *Client) Unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
	invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	rpc := &call.Call{Context: ctx, WaitForReady: waitsForReady(opts)}
	config, err := c.configs.Config(rpc, cc)
	if err != nil {
		return err
	}
	if config == nil {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	timeout, failure := c.admit(rpc, config, method)
	if failure != nil {
		return cardinality(failure)
	}
	limit, bounded, cancel := start(ctx, config, timeout)
	if cancel != nil {
		defer cancel()
		rpc.Context = bounded
	}
	err = invoker(rpc, method, req, reply, cc, opts...)
	return explain(rpc, config.Service, limit, err)
}

// admit routes the call and injects its faults: what comes before grpc's part.
// It returns the route's timeout, zero for none.
func (c *Client) admit(rpc *call.Call, config *resource.Config, method string) (time.Duration, *call.Error) {
	r, cluster, failure := route.Choose(rpc.Context, config, method)
	if failure != nil {
		return 0, failure
	}
	rpc.Cluster = cluster.Name
	if policy := config.Fault(r, cluster); policy != nil {
		if failure := c.faults.Inject(rpc.Context, config.Service, policy); failure != nil {
			return 0, failure
		}
	}
	return config.Timeout(r), nil
}

// waitsForReady is whether the options, of which the last counts, ask to wait.
func waitsForReady(opts []grpc.CallOption) bool {
	wait := false
	for _, o := range opts {
		if o, ok := o.(grpc.FailFastCallOption); ok {
			wait = !o.FailFast
		}
	}
	return wait
}
