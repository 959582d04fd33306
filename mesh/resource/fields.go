package resource

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// commands are the fields of the mesh's own commands, all of which are honoured.
//
// Those of xDS are said in internal/xdsgen.
var commands = map[protoreflect.FullName][]protoreflect.Name{
	"tulle.command.v1.Commands": {"service", "taps", "log"},
	"tulle.command.v1.Tap": {
		"id", "instance", "to", "from", "method", "metadata", "failures", "max_rps", "payload", "redact", "until",
	},
	"tulle.command.v1.Log": {"instance", "level", "access", "until"},
}

// reasons are better words for fields that people are likely to set.
var reasons = map[string]string{
	"envoy.config.route.v3.RouteAction.timeout":                            "is not what bounds a gRPC call; set max_stream_duration (gRFC A31)",
	"envoy.config.route.v3.RouteAction.request_mirror_policies":            "is done by no gRPC client; ours are told by " + TrafficFilter,
	"envoy.config.route.v3.RouteAction.hedge_policy":                       "is done by no gRPC client; ours are told by " + TrafficFilter,
	"envoy.config.route.v3.RetryPolicy.per_try_timeout":                    "is kept by no gRPC client (gRFC A44); ours are told by " + TrafficFilter,
	"envoy.config.route.v3.RetryPolicy.retriable_status_codes":             "is not what gRPC retries on; set retry_on",
	"envoy.config.route.v3.RouteAction.HashPolicy.filter_state":            notHashed,
	"envoy.config.route.v3.RouteAction.HashPolicy.cookie":                  notHashed,
	"envoy.config.route.v3.RouteAction.HashPolicy.connection_properties":   notHashed,
	"envoy.config.route.v3.RouteAction.HashPolicy.query_parameter":         notHashed,
	"envoy.config.route.v3.RouteAction.HashPolicy.Header.regex_rewrite":    "is not supported: the key is the whole value",
	"envoy.config.route.v3.HeaderMatcher.treat_missing_header_as_empty":    "is honoured by no gRPC client; match on present_match instead",
	"envoy.config.cluster.v3.OutlierDetection.consecutive_5xx":             notCounted,
	"envoy.config.cluster.v3.OutlierDetection.consecutive_gateway_failure": notCounted,
	"envoy.config.cluster.v3.Cluster.transport_socket_matches":             "is not supported: the connection would be made without it",
	"envoy.config.core.v3.SocketAddress.named_port":                        "is not supported; set port_value",
	"envoy.config.endpoint.v3.LbEndpoint.endpoint_name":                    "is not supported; set endpoint",
	"envoy.config.endpoint.v3.ClusterLoadAssignment.named_endpoints":       "is not supported; set endpoints",
	"envoy.extensions.filters.http.fault.v3.HTTPFault.response_rate_limit": "is not supported: gRPC limits no rate of responses (gRFC A33)",

	"envoy.config.rbac.v3.Permission.metadata":                  unmatched,
	"envoy.config.rbac.v3.Permission.sourced_metadata":          unmatched,
	"envoy.config.rbac.v3.Permission.requested_server_name":     unmatched,
	"envoy.config.rbac.v3.Permission.destination_ip":            unmatched,
	"envoy.config.rbac.v3.Permission.destination_port":          unmatched,
	"envoy.config.rbac.v3.Permission.destination_port_range":    unmatched,
	"envoy.config.rbac.v3.Permission.matcher":                   unmatched,
	"envoy.config.rbac.v3.Permission.uri_template":              unmatched,
	"envoy.config.rbac.v3.Principal.source_ip":                  unmatched,
	"envoy.config.rbac.v3.Principal.direct_remote_ip":           unmatched,
	"envoy.config.rbac.v3.Principal.remote_ip":                  unmatched,
	"envoy.config.rbac.v3.Principal.header":                     unmatched,
	"envoy.config.rbac.v3.Principal.url_path":                   unmatched,
	"envoy.config.rbac.v3.Principal.metadata":                   unmatched,
	"envoy.config.rbac.v3.Principal.filter_state":               unmatched,
	"envoy.config.rbac.v3.Principal.sourced_metadata":           unmatched,
	"envoy.config.rbac.v3.Principal.custom":                     unmatched,
	"envoy.config.rbac.v3.Policy.condition":                     unmatched,
	"envoy.config.rbac.v3.Policy.cel_config":                    unmatched,
	"envoy.config.rbac.v3.Policy.checked_condition":             unmatched,
	"envoy.config.rbac.v3.RBAC.audit_logging_options":           "are not done here; the mesh counts decisions by itself",
	"envoy.extensions.filters.http.rbac.v3.RBAC.matcher":        unmatched,
	"envoy.extensions.filters.http.rbac.v3.RBAC.shadow_matcher": unmatched,
	"envoy.type.matcher.v3.StringMatcher.suffix":                notExact,
	"envoy.type.matcher.v3.StringMatcher.contains":              notExact,
	"envoy.type.matcher.v3.StringMatcher.safe_regex":            notExact,
	"envoy.type.matcher.v3.StringMatcher.custom":                notExact,
	"envoy.type.matcher.v3.StringMatcher.ignore_case":           "is not evaluated here: names that differ in case are others",
}

const (
	notHashed  = "is not hashed by here; hash by a header"
	notCounted = "is not what gRPC ejects by (gRFC A50); breakers are part of the mesh's own policy"
	notExact   = "is not evaluated here; say it by exact or prefix"
	unmatched  = "is not evaluated here: the rule would not be the one that was written"
)

// known returns an error for the first field of m, in the order of its definition, that
// is set and not accepted. It also refuses a field that the definition does not know,
// which Unmarshal drops and UnmarshalStrict keeps.
func known(m xdsv3.Message) error {
	if m.HasUnknown() {
		return bad("", unknownField)
	}
	return unaccepted(m.FullName(), m.Unaccepted())
}

const unknownField = "has a field that is not known to this version, and is nothing to pass over"

func unaccepted(message, field string) error {
	switch reason := reasons[message+"."+field]; {
	case field == "":
		return nil
	case reason != "":
		return bad(field, "%s", reason)
	default:
		return bad(field, "is not supported by this client; remove it")
	}
}

// knownCommand is known for the mesh's own commands.
func knownCommand(m proto.Message) error {
	r := m.ProtoReflect()
	if len(r.GetUnknown()) > 0 {
		return bad("", unknownField)
	}
	accepted := commands[r.Descriptor().FullName()]
	var worst protoreflect.FieldDescriptor
	r.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(accepted, fd.Name()) && (worst == nil || fd.Index() < worst.Index()) {
			worst = fd
		}
		return true
	})
	if worst == nil {
		return nil
	}
	return unaccepted(string(r.Descriptor().FullName()), string(worst.Name()))
}
