package call

import (
	"context"
	"strconv"
	"sync/atomic"

	"google.golang.org/grpc/metadata"
)

// An Incoming is the context of a call that the process serves. It is how what
// happens to the calls that are made to serve it finds its way back: where they
// were tried again in vain, whoever called must not try again on top, or each hop
// of a chain would multiply the load of the one below.
//
// It costs one allocation per RPC served, and is safe for concurrent use.
type Incoming struct {
	context.Context

	attempt atomic.Uint64 // and one more; zero before it was asked for
	spent   atomic.Bool
	plain   atomic.Bool
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

// Attempt returns how many attempts were made before this one, by the header
// grpc-previous-rpc-attempts (gRFC A6); what is no number is none. Calls made to serve a
// retry are not tried again: the budget they would take is that of a call already paid
// for.
//
// It looks when it is asked first: most calls are served without another, and to find
// that the header is not there takes grpc a look at all headers.
func (c *Incoming) Attempt() uint32 {
	if known := c.attempt.Load(); known > 0 {
		return uint32(known - 1)
	}
	n := PreviousAttempts(c.Context)
	c.attempt.Store(uint64(n) + 1)
	return n
}

// PreviousAttempts returns what the header of the call says that ctx serves.
func PreviousAttempts(ctx context.Context) uint32 {
	if values := metadata.ValueFromIncomingContext(ctx, attemptsKey); len(values) > 0 {
		if n, err := strconv.ParseUint(values[0], 10, 32); err == nil {
			return uint32(n)
		}
	}
	return 0
}

const attemptsKey = "grpc-previous-rpc-attempts"

// Spend notes that a call made to serve this one failed although it was tried
// again, or could not be since the budget was spent.
func (c *Incoming) Spend() { c.spent.Store(true) }

// NoteUntraced notes that the call came without a trace, so that nobody need look again.
func (c *Incoming) NoteUntraced() { c.plain.Store(true) }

// Untraced reports whether that was noted.
func (c *Incoming) Untraced() bool { return c.plain.Load() }

// Spent reports whether the caller must not try again.
func (c *Incoming) Spent() bool { return c.spent.Load() }
