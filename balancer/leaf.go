package balancer

import (
	"google.golang.org/grpc/balancer"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Ready is an endpoint that takes calls now, as a leaf policy sees it.
type Ready struct {
	// Endpoint is what the control plane says of it.
	Endpoint *resource.Endpoint
	// Picker picks the endpoint's connection; it never blocks, locks or fails
	// while the endpoint is ready. Its result's Done may be nil.
	Picker balancer.Picker
}

// A Leaf makes the picker that chooses among the ready endpoints of one
// locality. It is called anew each time one of them comes or goes, keeps ready
// and must not change it. The picker is called concurrently; balancertest holds
// what it must do.
type Leaf func(ready []Ready) balancer.Picker

// leaves are the leaf policies by name. A cluster that asks for another was
// refused when it was decoded.
var leaves = map[resource.Policy]Leaf{
	resource.RoundRobin: RoundRobin,
}

// leafOf returns the leaf of a policy, the default where none is named.
func leafOf(policy resource.Policy) Leaf {
	if leaf := leaves[policy]; leaf != nil {
		return leaf
	}
	return RoundRobin
}
