// Package resource is the mesh's configuration as validated immutable values.
//
// The xDS messages Listener, RouteConfiguration, Cluster and
// ClusterLoadAssignment are decoded here, once, into plain Go values that the
// data plane reads without locks: resolvers assemble them into a [Config],
// interceptors match routes in it, balancers group endpoints by it.
//
//	routes, err := resource.DecodeRouteConfiguration(value)
//	if err != nil {
//		return err // goes to the control plane as a NACK, with the field's path
//	}
//	host := routes.VirtualHost("voting")
//	route := host.Match(ctx, "/voting.v1.Voting/Vote")
//	cluster := route.Pick()
//
// What a resource asks for and this package cannot honour is an error with the
// field's path; it is never ignored. Of each message only the fields in
// fields.go are accepted; fields that the message's definition here does not
// know are those of a newer control plane and are passed over, as protobuf asks.
//
// The rules are those of grpc-go's xDS client (gRFCs A27, A28, A30, A31, A32,
// A33, A61), held against it by two differential tests: calls take the same
// route, and what grpc-go refuses is refused here, save what stands in optional
// extensions, which are passed over unread. Refused although grpc-go accepts or
// overlooks it:
//
//   - aggregate and LOGICAL_DNS clusters, load balancing policies other than
//     round robin, outlier detection, transport sockets;
//   - retry policies of routes and virtual hosts: grpc-go retries, this client
//     does not yet, and a call that is not retried is not what was asked for;
//   - header matchers with treat_missing_header_as_empty, which grpc-go does
//     not read;
//   - domains that can match nothing, empty cluster names, endpoints without
//     host or port, negative durations, fractions with an unknown denominator;
//   - a fault filter under another name than [FaultFilter], and filters or
//     filter configurations that are disabled;
//   - what exceeds the limits in limits.go.
//
// It does not fetch resources, see mesh/xdsclient, and does not check that they
// fit together, see resolver.
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

var (
	_ Resource = (*Listener)(nil)
	_ Resource = (*RouteConfiguration)(nil)
	_ Resource = (*Cluster)(nil)
	_ Resource = (*Endpoints)(nil)
)
