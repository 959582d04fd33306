package resource

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A RouteConfiguration maps calls to clusters.
type RouteConfiguration struct {
	Name         string
	VirtualHosts []*VirtualHost
	// Skipped says of each route that was left out where it stood and why, one
	// sentence each: gRFC A28 asks clients to pass over what only others
	// understand. Those routes are not among those of VirtualHosts.
	Skipped []string
}

// ResourceName implements [Resource].
func (r *RouteConfiguration) ResourceName() string { return r.Name }

// A VirtualHost holds the routes of the authorities its domains match. It must
// not be copied.
type VirtualHost struct {
	Name    string
	Domains []string
	// Routes in order of precedence: the first that matches wins.
	Routes []*Route
	// Fault overrides the listener's; nil does not, see [Config.Fault].
	Fault *Fault

	// plans is by method; nil before the first call. It only remembers what
	// Routes say.
	plans atomic.Pointer[map[string]*plan]
}

// A Route sends the calls it matches to one of its clusters.
type Route struct {
	Name string
	// Timeout bounds the call; zero means the application's own deadline, nil
	// means the listener's MaxStreamDuration (gRFC A31).
	Timeout *time.Duration
	// Clusters has at least one entry, unless Unsupported is set.
	Clusters []WeightedCluster
	// TotalWeight is the sum of the clusters' weights, above zero.
	TotalWeight uint32
	// Fault overrides the virtual host's and the listener's; nil does not.
	Fault *Fault
	// Unsupported is why calls that match fail: the route's action is none that
	// a gRPC client can carry out (gRFC A28). Empty means they are sent.
	Unsupported string
	// Traffic is what else is done for its calls; nil means the defaults, see
	// [Config.Traffic].
	Traffic *Traffic
	// Admission is of a server's route; nil takes all that Access lets in.
	Admission *Admission
	// Access is of a server's route, one of non_forwarding_action; nil leaves it
	// to the listener's. See [Inbound.Access].
	Access *Access

	// inbound is whether it is a server's.
	inbound bool

	match matcher // the zero matcher holds for every call
}

// A WeightedCluster is one destination of a route.
type WeightedCluster struct {
	Name string
	// Weight is its share of the route's TotalWeight, above zero.
	Weight uint32
	// Fault overrides the route's and those above it; nil does not.
	Fault *Fault
}

// Pick returns one of the route's clusters, drawn at random by weight; nil where
// it has none. It neither allocates nor locks.
func (r *Route) Pick() *WeightedCluster {
	if len(r.Clusters) == 0 {
		return nil
	}
	last := len(r.Clusters) - 1
	if last > 0 && r.TotalWeight > 0 {
		drawn := rand.Uint32N(r.TotalWeight)
		for i := range last {
			if drawn < r.Clusters[i].Weight {
				return &r.Clusters[i]
			}
			drawn -= r.Clusters[i].Weight
		}
	}
	return &r.Clusters[last]
}
