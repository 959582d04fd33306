// Package call holds the facts about one RPC that travel in its context, from
// the interceptor that starts it to the picker that sends it, and the error the
// mesh ends an RPC with.
//
// The interceptor and the picker live in packages that never import each other;
// a [Call] is the value they meet in. It costs one allocation per RPC.
//
// The interceptor makes it and hands it on as the context:
//
//	rpc := &call.Call{Context: ctx, Cluster: "voting/v2"}
//	err := invoker(rpc, method, req, reply, cc, opts...)
//	if err != nil && rpc.Failure != nil {
//		return rpc.Failure // the mesh's reason says more than grpc's words
//	}
//
// The picker finds it again:
//
//	rpc := call.FromContext(info.Ctx)
//	rpc.Failure = &call.Error{Service: "voting", Reason: call.NoEndpoint, ...}
//
// The package decides nothing: it does not route, wait, retry or log.
package call

import "context"

// A Call is the context of one RPC, with what the mesh decided about it.
//
// It needs no lock: grpc-go makes every pick of one RPC in the goroutine that
// makes the call or, where it tries a stream again, under the stream's own
// lock, and returns the RPC's error only after the last of them.
//
// A Call sets no deadline of its own: Context does. A Call with a timer inside
// was weighed and left: context.WithCancel, which grpc-go calls on every RPC,
// starts a goroutine for each parent whose Done channel is not the standard
// library's.
type Call struct {
	context.Context

	// Cluster is the cluster the route chose. A picker that does not know it
	// (the configuration moved on since) routes the call again by its own.
	Cluster string

	// WaitForReady is whether the application asked for grpc.WaitForReady: such
	// a call waits for a configuration as long as its context lets it.
	WaitForReady bool

	// Failure is the last reason why the mesh could not send the call, set by
	// the picker, nil once an endpoint was picked. The interceptor returns it to
	// the application in place of grpc's own words. (It cannot be named Err: a
	// field of that name would hide the context's method.)
	Failure *Error
}

var _ context.Context = (*Call)(nil)

type key struct{}

// Value returns the Call itself for the key of [FromContext].
func (c *Call) Value(k any) any {
	if _, ok := k.(key); ok {
		return c
	}
	return c.Context.Value(k)
}

// FromContext returns the innermost Call that ctx runs in, or nil where no
// interceptor of the mesh ran.
func FromContext(ctx context.Context) *Call {
	c, _ := ctx.Value(key{}).(*Call)
	return c
}
