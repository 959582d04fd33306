package resource

// A Config is everything a client needs to call one service, assembled from
// resources that fit together: each cluster its routes name is in it (gRFC A74).
// It is immutable.
type Config struct {
	// Service is the name the application dialled.
	Service     string
	Listener    *Listener
	VirtualHost *VirtualHost
	// Clusters by name; none is nil.
	Clusters map[string]*ClusterConfig
	// Revision grows with each Config of the service in this process.
	Revision uint64
}

// A ClusterConfig is a cluster with its endpoints.
type ClusterConfig struct {
	// Cluster is nil when Err says why it cannot be used.
	Cluster *Cluster
	// Endpoints is nil when Err says why there are none; without an Err it is
	// never nil, but may hold no locality.
	Endpoints *Endpoints
	// Err is why calls to the cluster fail; nil when it can be used.
	Err error
}
