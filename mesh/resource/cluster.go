package resource

// DefaultMaxRequests is the limit of concurrent calls to a cluster that sets none (gRFC A32).
const DefaultMaxRequests = 1024

// A Cluster is a group of interchangeable endpoints and how to balance over them.
type Cluster struct {
	Name string
	// EndpointsName is the ClusterLoadAssignment to subscribe to, the cluster's
	// name unless it says otherwise.
	EndpointsName string
	// MaxRequests is how many calls this process may have open to the cluster.
	MaxRequests uint32
	// PeerIDs are the SPIFFE ids that an endpoint may have, sorted. Where there is
	// none no connection is to be made: nothing says who is to be there.
	PeerIDs []string
	// Balancing is how its endpoints are chosen.
	Balancing Balancing
}

// ResourceName implements [Resource].
func (c *Cluster) ResourceName() string { return c.Name }
