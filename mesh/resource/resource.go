// Package resource is the mesh's configuration as validated immutable values.
//
// The xDS messages Listener, RouteConfiguration, Cluster and
// ClusterLoadAssignment, and the mesh's own TrustBundle and Commands, are decoded here,
// once, into plain Go values that the data plane reads without locks: resolvers assemble
// them into a [Config], interceptors match routes in it, balancers group endpoints
// by it. What servers are told becomes an [Inbound], with access rules compiled
// into an [Access].
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
// field's path; it is never ignored. Of each message only the fields that
// mesh/api/xdsv3 says are accepted; fields that the message's definition here does not
// know are those of a newer control plane and are passed over, as protobuf asks.
//
// The mesh's own policies, of which xDS has no field, stand where xDS lets an
// extension stand: how endpoints are chosen in the first place of a cluster's
// load_balancing_policy, what a client does for its calls and which calls a server
// takes in their routes' typed_per_filter_config ([TrafficFilter],
// [AdmissionFilter]). They go before the standard fields beside them, which are for
// stock clients.
//
// The rules are those of grpc-go's xDS client and server (gRFCs A27, A28, A29, A30,
// A31, A32, A33, A36, A41, A42, A44, A48, A50, A52, A58, A61), held against it by
// differential tests: calls take the same route, the same calls are allowed, and
// what grpc-go refuses is refused here, save what stands in optional extensions,
// behind the first balancing policy that is known, and in fields that change nothing,
// which are passed over unread.
// Refused although grpc-go accepts or overlooks it:
//
//   - aggregate and LOGICAL_DNS clusters; pick_first, and ring hash or another
//     WrrLocality within a WrrLocality; weights by out-of-band reports, slow start
//     of standard policies, a ring_hash_lb_config or least_request_lb_config of
//     another lb_policy than is set;
//   - outlier detection other than by success rate and failure percentage, that
//     which ejects some outliers only (enforcing_* between 0 and 100), and an
//     interval below 10 ms;
//   - retry policies with conditions that gRPC does not know, and with what it does
//     not do: per_try_timeout and the like. Attempts are 5 at most, as gRFC A44
//     says and grpc-go does not;
//   - hash policies other than one of a header, in whole;
//   - mirroring and hedging by standard fields, which grpc-go does not do either;
//   - clusters with a transport socket that accepts more than named SPIFFE ids;
//   - listeners of servers without client certificates, without the two access
//     filters, or with more than one chain of filters;
//   - access rules that are not set, and all forms of them but those that are
//     evaluated: any method, exact ones and whole services; any caller, exact
//     ids and what is below one; headers that are equal or present. NOT, regular
//     expressions, addresses and conditions are refused with the field's path, and
//     so is a field of them that this package's definitions do not know;
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
	// TrustBundleType is the mesh's own; a TrustBundle is named by its trust domain.
	TrustBundleType = "type.googleapis.com/tulle.identity.v1.TrustBundle"
	// CommandsType is the mesh's own, too; a service's Commands are named by
	// [CommandsName].
	CommandsType = "type.googleapis.com/tulle.command.v1.Commands"
)

// A Resource is a *Listener, *RouteConfiguration, *Cluster, *Endpoints, *TrustBundle
// or *Commands.
type Resource interface {
	// ResourceName is the name the resource is subscribed by.
	ResourceName() string
}

var (
	_ Resource = (*Listener)(nil)
	_ Resource = (*RouteConfiguration)(nil)
	_ Resource = (*Cluster)(nil)
	_ Resource = (*Endpoints)(nil)
	_ Resource = (*TrustBundle)(nil)
	_ Resource = (*Commands)(nil)
)
