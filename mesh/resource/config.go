package resource

import "time"

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
	// CommonTimeout is what Timeout returns for every route, zero where they
	// differ or have none, or where calls of one may be hedged or tried again
	// otherwise than as DefaultRetry says. Such calls are bounded by grpc, to which
	// the resolver says it in the service config: a context of the interceptor's
	// own would cost four allocations on top of the one that grpc makes anyway.
	//
	// grpc bounds each attempt anew: of a second one, which DefaultRetry allows
	// what was not sent and options of a call allow any, the interceptor bounds
	// the time by what is left.
	CommonTimeout time.Duration
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

// Timeout returns how long a call of r may take, zero for as long as the
// application lets it: the route's timeout, the listener's where the route sets
// none (gRFC A31). The application's deadline holds beside it, the sooner wins.
func (c *Config) Timeout(r *Route) time.Duration {
	if r.Timeout != nil {
		return *r.Timeout
	}
	return c.Listener.MaxStreamDuration
}

// Traffic returns what is done for calls of r, never nil.
func (c *Config) Traffic(r *Route) *Traffic {
	if r.Traffic != nil {
		return r.Traffic
	}
	return defaultTraffic
}

// Fault returns the fault of calls that r sends to cluster, nil for none. The
// most specific one counts alone: the cluster's before the route's, the
// virtual host's and the listener's (gRFC A33). A listener without a fault
// filter has none, whatever its routes say. cluster may be nil.
func (c *Config) Fault(r *Route, cluster *WeightedCluster) *Fault {
	if !c.Listener.FaultFilter {
		return nil
	}
	f := c.Listener.Fault
	switch {
	case cluster != nil && cluster.Fault != nil:
		f = cluster.Fault
	case r.Fault != nil:
		f = r.Fault
	case c.VirtualHost.Fault != nil:
		f = c.VirtualHost.Fault
	}
	if f == nil || f.DelayPerMillion == 0 && f.AbortPerMillion == 0 {
		return nil
	}
	return f
}
