package balancer

import (
	"google.golang.org/grpc/balancer"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Member is an endpoint that takes calls now, as one of a [Pool] of them.
type Member struct {
	// Endpoint is what the control plane says of it.
	Endpoint *resource.Endpoint
	// Picker picks the endpoint's connection; it never blocks, locks or fails
	// while the endpoint is ready.
	Picker balancer.Picker
	// Node is what calls have taught about it. It outlives the Pool.
	Node *Node
	// Local is whether it is in the client's own zone.
	Local bool
}

// An Algorithm makes what chooses among the members of a pool. It is called anew each
// time one of them comes or goes, keeps members and must not change them.
type Algorithm func(config *resource.Balancing, members []Member) Chooser

// A Chooser chooses among the members of a pool. It is called concurrently, on
// every call: it neither allocates nor locks. balancertest holds what it must do.
type Chooser interface {
	// Choose returns the index of the member for a call, one that the Choice
	// admits, or a negative number where it found none: the pool then looks itself.
	Choose(c Choice) int
}

// algorithmOf returns the algorithm of a policy, peak EWMA where none is named. A
// cluster that asks for one that is not known was refused when it was decoded.
func algorithmOf(policy resource.Policy) Algorithm {
	switch policy {
	case resource.RoundRobin:
		return RoundRobin
	case resource.LeastRequest:
		return LeastRequest
	case resource.RingHash:
		return RingHash
	case resource.WeightedRoundRobin:
		return WeightedRoundRobin
	default:
		return PeakEWMA
	}
}
