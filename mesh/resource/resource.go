// Package resource is the mesh's configuration as validated immutable values.
//
// The xDS messages Listener, RouteConfiguration, Cluster and
// ClusterLoadAssignment are decoded here, once, into plain Go values that the
// data plane reads without locks: resolvers assemble them into a [Config],
// interceptors match routes in it, balancers group endpoints by it. What a
// resource asks for and this package cannot honour is an error with the field's
// path, which the xDS client returns to the control plane as a NACK; it is never
// ignored.
//
// The rules are those of grpc-go's xDS client (gRFCs A27, A28, A30, A31, A32,
// A33), held against it by a differential test.
package resource

// The type URLs of the resources.
const (
	ListenerType  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType     = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointsType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// A Resource is a *Listener, *RouteConfiguration, *Cluster or *Endpoints.
type Resource interface {
	// ResourceName is the name the resource is subscribed by.
	ResourceName() string
}
