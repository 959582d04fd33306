package call

import (
	"context"
	"sync/atomic"
)

// An Incoming is the context of a call that the process serves. It is how what
// happens to the calls that are made to serve it finds its way back: where they
// were tried again in vain, whoever called must not try again on top, or each hop
// of a chain would multiply the load of the one below.
//
// It costs one allocation per RPC served, and is safe for concurrent use.
type Incoming struct {
	context.Context

	// Attempt is how many attempts were made before this one, by the header
	// grpc-previous-rpc-attempts (gRFC A6). Calls made to serve a retry are not
	// tried again: the budget they would take is that of a call already paid for.
	Attempt uint32

	spent atomic.Bool
}

var _ context.Context = (*Incoming)(nil)

type incomingKey struct{}

// Value returns the Incoming itself for the key of [IncomingFrom].
func (c *Incoming) Value(k any) any {
	if _, ok := k.(incomingKey); ok {
		return c
	}
	return c.Context.Value(k)
}

// IncomingFrom returns the call that ctx serves, nil where it serves none.
func IncomingFrom(ctx context.Context) *Incoming {
	c, _ := ctx.Value(incomingKey{}).(*Incoming)
	return c
}

// Spend notes that a call made to serve this one failed although it was tried
// again, or could not be since the budget was spent.
func (c *Incoming) Spend() { c.spent.Store(true) }

// Spent reports whether the caller must not try again.
func (c *Incoming) Spent() bool { return c.spent.Load() }
