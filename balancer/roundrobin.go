package balancer

import (
	"math/rand/v2"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
)

// RoundRobin is the leaf that gives each ready endpoint its turn.
//
// It ignores the endpoints' weights, as grpc-go's round_robin does for a cluster
// whose lb_policy is ROUND_ROBIN: only localities are weighted there. A weight
// that is to count asks for a policy that is named for it (gRFC A58).
func RoundRobin(ready []Ready) balancer.Picker {
	r := &roundRobin{ready: ready}
	// Clients that learn of one set of endpoints at one moment must not all
	// begin with the same one.
	r.next.Store(rand.Uint32())
	return r
}

type roundRobin struct {
	ready []Ready
	next  atomic.Uint32
}

// Pick implements grpc-go's balancer.Picker.
func (r *roundRobin) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	if len(r.ready) == 0 {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	return r.ready[r.next.Add(1)%uint32(len(r.ready))].Picker.Pick(info)
}
