package balancer

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// RoundRobin gives each member its turn.
//
// It ignores the endpoints' weights, as grpc-go's round_robin does for a cluster
// whose lb_policy is ROUND_ROBIN: only localities are weighted there. A weight
// that is to count asks for a policy that is named for it (gRFC A58).
func RoundRobin(_ *resource.Balancing, _ []Member) Chooser {
	r := &roundRobin{}
	// Clients that learn of one set of endpoints at one moment must not all
	// begin with the same one.
	r.next.Store(rand.Uint32())
	return r
}

type roundRobin struct{ next atomic.Uint32 }

// Choose implements [Chooser].
func (r *roundRobin) Choose(c Choice) int {
	n := uint32(c.InUse)
	// One that is not admitted loses its turn to the next. One that is new is passed
	// over as often as its share asks for, but for the last, so that a call finds one.
	for k := range n {
		i := int(r.next.Add(1) % n)
		if !c.Admits(i) {
			continue
		}
		if share := c.Share(i); share < 1 && k < n-1 && rand.Float64() >= share {
			continue
		}
		return i
	}
	return -1
}
