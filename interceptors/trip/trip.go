// Package trip stops calls to a service that fails as a whole, whichever of its
// endpoints they reach.
//
//	var trips trip.Breakers // one per process
//	ticket, failure := trips.Admit("voting", traffic.Breaker, now)
//	if failure != nil {
//		return failure
//	}
//	err := invoker(rpc, ...)
//	ticket.Done(rpc.Context, time.Now(), err)
//
// What a breaker is, and when it opens, is said in mesh/breaker; those of single
// endpoints are the balancer's. The package retries nothing, and waits for nothing.
package trip

import (
	"context"
	"time"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Breakers are the breakers of the services that a process calls. Their zero value is
// ready. They are safe for concurrent use.
type Breakers struct{}

// A Ticket is a call that was admitted. The zero Ticket is one that no breaker watches.
type Ticket struct{}

// Admit lets a call to service pass, or returns UNAVAILABLE, without an allocation
// where it passes. Nil policy lets all pass. The breaker of a service lives as long as
// its policy says the same, across changes of the configuration.
func (b *Breakers) Admit(service string, policy *resource.Breaker, now time.Time) (Ticket, *call.Error) {
	return Ticket{}, nil
}

// Done tells how the call ended: err is what the application gets, ctx the context that
// the application made the call in, with the deadline of its own. It is called once for
// each ticket, however the call ends.
func (t Ticket) Done(ctx context.Context, now time.Time, err error) {}
