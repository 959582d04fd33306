// Package call holds the facts about one RPC that travel in its context, from
// the interceptor that starts it to the picker that sends it.
//
// The interceptor and the picker live in packages that never import each
// other; a [Call] is the value they meet in. It costs one allocation per RPC.
package call

import (
	"context"
)

// A Call is the context of one RPC, with what the mesh decided about it.
//
// It belongs to the goroutine that makes the call: grpc-go runs the interceptor
// and every pick of one RPC in that goroutine, one after the other.
type Call struct {
	context.Context

	// Cluster is the cluster the route chose. A picker that does not know it
	// (the configuration moved on since) routes the call again by its own.
	Cluster string

	// Err is the last reason why the mesh could not send the call, set by the
	// picker, nil once an endpoint was picked. The interceptor returns it to
	// the application in place of grpc's own words.
	Err *Error
}

type key struct{}

// Value returns the Call itself for the key of [FromContext].
func (c *Call) Value(k any) any {
	if _, ok := k.(key); ok {
		return c
	}
	return c.Context.Value(k)
}

// FromContext returns the Call that ctx runs in, or nil where no interceptor of
// the mesh ran.
func FromContext(ctx context.Context) *Call {
	c, _ := ctx.Value(key{}).(*Call)
	return c
}
