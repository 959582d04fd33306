package resource

import (
	"time"

	"google.golang.org/grpc/codes"
)

// A RouteConfiguration maps calls to clusters.
type RouteConfiguration struct {
	Name         string
	VirtualHosts []*VirtualHost
}

// ResourceName implements [Resource].
func (r *RouteConfiguration) ResourceName() string { return r.Name }

// A VirtualHost holds the routes of the authorities its domains match.
type VirtualHost struct {
	Name    string
	Domains []string
	// Routes in order of precedence: the first that matches wins.
	Routes []*Route
	Fault  *Fault
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
	Fault       *Fault
	// Unsupported is why calls that match fail: the route's action is none that
	// a gRPC client can carry out (gRFC A28). Empty means they are sent.
	Unsupported string

	match matcher // the zero matcher holds for every call
}

// A WeightedCluster is one destination of a route.
type WeightedCluster struct {
	Name   string
	Weight uint32
	Fault  *Fault
}

// A Fault delays or aborts a share of calls on purpose (gRFC A33).
type Fault struct {
	// DelayPerMillion and AbortPerMillion are shares of calls, 0 to 1,000,000.
	DelayPerMillion uint32
	Delay           time.Duration
	AbortPerMillion uint32
	AbortCode       codes.Code
	// DelayByHeader and AbortByHeader let the caller ask for the fault, with
	// the x-envoy-fault-* headers, up to the shares above.
	DelayByHeader bool
	AbortByHeader bool
	// MaxActive bounds the faults in progress in this process; zero means no
	// bound. It is the wire's unset; the wire's zero means no faults at all and
	// decodes to a nil Fault.
	MaxActive uint32
}
