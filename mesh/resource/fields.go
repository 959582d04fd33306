package resource

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fields are the fields of each message that are accepted: those this package
// honours, and those that change nothing about a call (names for people and
// for statistics, metadata). Any other that is set asks for something that would
// not be done, so it refuses the resource.
//
// grpc-go overlooks most of those others (gRFC A27: unsupported fields are
// ignored). It must serve control planes built for Envoy. This package serves
// one that asks its own decoder first, and an operator who believes what was
// applied.
var fields = map[protoreflect.FullName][]protoreflect.Name{
	"envoy.config.listener.v3.Listener": {
		"name", "api_listener", "metadata", "stat_prefix",
		"address", "filter_chains", "default_filter_chain", // of a server's
	},
	"envoy.config.listener.v3.ApiListener":      {"api_listener"},
	"envoy.config.listener.v3.FilterChain":      {"name", "filter_chain_match", "filters", "transport_socket"},
	"envoy.config.listener.v3.FilterChainMatch": {},
	"envoy.config.listener.v3.Filter":           {"name", "typed_config"},
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": {
		"stat_prefix", "codec_type", "rds", "route_config", "http_filters", "common_http_protocol_options",
	},
	"envoy.extensions.filters.network.http_connection_manager.v3.Rds": {"config_source", "route_config_name"},
	"envoy.config.core.v3.HttpProtocolOptions":                        {"max_stream_duration"},
	"envoy.config.core.v3.ConfigSource":                               {"ads", "self", "resource_api_version"},

	"envoy.config.route.v3.RouteConfiguration": {
		"name", "virtual_hosts", "cluster_specifier_plugins", "metadata", "validate_clusters",
	},
	"envoy.config.route.v3.VirtualHost": {"name", "domains", "routes", "typed_per_filter_config", "metadata", "retry_policy"},
	"envoy.config.route.v3.Route": {
		"name", "match", "route", "redirect", "direct_response", "filter_action", "non_forwarding_action",
		"typed_per_filter_config", "metadata", "stat_prefix",
	},
	"envoy.config.route.v3.RouteMatch": {
		"prefix", "path", "safe_regex", "case_sensitive", "runtime_fraction", "headers", "query_parameters",
		"grpc", // every call is one
	},
	"envoy.config.core.v3.RuntimeFractionalPercent": {
		"default_value",
		"runtime_key", // there is no runtime to override the default
	},
	"envoy.type.matcher.v3.RegexMatcher": {"google_re2", "regex"},
	"envoy.config.route.v3.HeaderMatcher": {
		"name", "exact_match", "safe_regex_match", "range_match", "present_match", "prefix_match", "suffix_match",
		"contains_match", "string_match", "invert_match",
	},
	"envoy.config.route.v3.RouteAction": {
		"cluster", "weighted_clusters", "cluster_specifier_plugin", "max_stream_duration", "retry_policy", "hash_policy",
	},
	"envoy.config.route.v3.RetryPolicy":                   {"retry_on", "num_retries", "retry_back_off"},
	"envoy.config.route.v3.RetryPolicy.RetryBackOff":      {"base_interval", "max_interval"},
	"envoy.config.route.v3.RouteAction.HashPolicy":        {"header", "terminal"},
	"envoy.config.route.v3.RouteAction.HashPolicy.Header": {"header_name"},
	"envoy.config.route.v3.RouteAction.MaxStreamDuration": {"max_stream_duration", "grpc_timeout_header_max"},
	"envoy.config.route.v3.WeightedCluster":               {"clusters"},
	"envoy.config.route.v3.WeightedCluster.ClusterWeight": {"name", "weight", "typed_per_filter_config"},

	"envoy.extensions.filters.http.fault.v3.HTTPFault": {"delay", "abort", "max_active_faults"},
	"envoy.extensions.filters.http.fault.v3.FaultAbort": {
		"http_status", "grpc_status", "header_abort", "percentage",
	},
	"envoy.extensions.filters.common.fault.v3.FaultDelay": {"fixed_delay", "header_delay", "percentage"},

	"envoy.config.cluster.v3.Cluster": {
		"name", "alt_stat_name", "type", "eds_cluster_config", "lb_policy", "circuit_breakers", "metadata",
		"connect_timeout",                           // gRPC has its own, of 20 s
		"lrs_server", "lrs_report_endpoint_metrics", // an offer to take load reports
		"transport_socket", "ring_hash_lb_config", "least_request_lb_config", "load_balancing_policy", "outlier_detection",
	},
	"envoy.config.cluster.v3.Cluster.RingHashLbConfig":     {"minimum_ring_size", "hash_function", "maximum_ring_size"},
	"envoy.config.cluster.v3.Cluster.LeastRequestLbConfig": {"choice_count"},
	"envoy.config.cluster.v3.OutlierDetection": {
		"interval", "base_ejection_time", "max_ejection_time", "max_ejection_percent",
		"enforcing_success_rate", "success_rate_minimum_hosts", "success_rate_request_volume", "success_rate_stdev_factor",
		"enforcing_failure_percentage", "failure_percentage_threshold", "failure_percentage_minimum_hosts", "failure_percentage_request_volume",
	},
	lbMessages + "round_robin.v3.RoundRobin":     {},
	lbMessages + "least_request.v3.LeastRequest": {"choice_count"},
	lbMessages + "ring_hash.v3.RingHash":         {"hash_function", "minimum_ring_size", "maximum_ring_size"},
	lbMessages + "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin": {
		"enable_oob_load_report", "blackout_period", "weight_expiration_period", "weight_update_period", "error_utilization_penalty",
	},
	"envoy.config.cluster.v3.Cluster.EdsClusterConfig":   {"eds_config", "service_name"},
	"envoy.config.cluster.v3.CircuitBreakers":            {"thresholds"},
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds": {"priority", "max_requests"},

	"envoy.config.endpoint.v3.ClusterLoadAssignment":                     {"cluster_name", "endpoints", "policy"},
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy":              {"drop_overloads"},
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload": {"category", "drop_percentage"},
	"envoy.config.endpoint.v3.LocalityLbEndpoints": {
		"locality", "metadata", "lb_endpoints", "load_balancing_weight", "priority",
	},
	"envoy.config.endpoint.v3.LbEndpoint": {"endpoint", "health_status", "metadata", "load_balancing_weight"},
	"envoy.config.endpoint.v3.Endpoint": {
		"address", "additional_addresses", "observability_name",
		"hostname", // for authorities that endpoints choose, which no route asks for
	},
	"envoy.config.endpoint.v3.Endpoint.AdditionalAddress": {"address"},
	"envoy.config.core.v3.Address":                        {"socket_address"},
	"envoy.config.core.v3.SocketAddress":                  {"protocol", "address", "port_value"},

	"envoy.config.core.v3.TransportSocket":                                        {"name", "typed_config"},
	"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext":                {"common_tls_context"},
	"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext":              {"common_tls_context", "require_client_certificate"},
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext":                  {"tls_certificate_provider_instance", "validation_context"},
	"envoy.extensions.transport_sockets.tls.v3.CertificateProviderPluginInstance": {"instance_name"},
	"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext":      {"ca_certificate_provider_instance", "match_subject_alt_names"},
	"envoy.type.matcher.v3.StringMatcher":                                         {"exact", "prefix"}, // of identities and access rules
	"envoy.type.matcher.v3.PathMatcher":                                           {"path"},
	"envoy.extensions.filters.http.rbac.v3.RBACPerRoute":                          {"rbac"},
	"envoy.extensions.filters.http.rbac.v3.RBAC": {
		"rules", "shadow_rules", "rules_stat_prefix", "shadow_rules_stat_prefix", "track_per_rule_stats",
	},
	"envoy.config.rbac.v3.RBAC":                    {"action", "policies"},
	"envoy.config.rbac.v3.Policy":                  {"permissions", "principals"},
	"envoy.config.rbac.v3.Permission":              {"any", "and_rules", "or_rules", "not_rule", "url_path", "header"},
	"envoy.config.rbac.v3.Permission.Set":          {"rules"},
	"envoy.config.rbac.v3.Principal":               {"any", "and_ids", "or_ids", "not_id", "authenticated"},
	"envoy.config.rbac.v3.Principal.Set":           {"ids"},
	"envoy.config.rbac.v3.Principal.Authenticated": {"principal_name"},

	"tulle.command.v1.Commands": {"service", "taps", "log"},
	"tulle.command.v1.Tap": {
		"id", "instance", "to", "from", "method", "metadata", "failures", "max_rps", "payload", "redact", "until",
	},
	"tulle.command.v1.Log": {"instance", "level", "access", "until"},
}

// reasons are better words for fields that people are likely to set.
var reasons = map[protoreflect.FullName]string{
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
	lbMessages = "envoy.extensions.load_balancing_policies."

	notHashed  = "is not hashed by here; hash by a header"
	notCounted = "is not what gRPC ejects by (gRFC A50); breakers are part of the mesh's own policy"
	notExact   = "is not evaluated here; say it by exact or prefix"
	unmatched  = "is not evaluated here: the rule would not be the one that was written"
)

// known returns an error for the first field of m, in the message's order, that
// is set and not accepted. m is a message in fields. It also refuses a field that
// the definition here does not know, which unmarshal drops and unmarshalStrict
// keeps.
func known(m proto.Message) error {
	r := m.ProtoReflect()
	if len(r.GetUnknown()) > 0 {
		return bad("", "has a field that is not known to this version, and is nothing to pass over")
	}
	accepted := fields[r.Descriptor().FullName()]
	var worst protoreflect.FieldDescriptor
	r.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		for _, name := range accepted {
			if fd.Name() == name {
				return true
			}
		}
		if worst == nil || fd.Index() < worst.Index() {
			worst = fd
		}
		return true
	})
	if worst == nil {
		return nil
	}
	if reason, ok := reasons[worst.FullName()]; ok {
		return bad(string(worst.Name()), "%s", reason)
	}
	return bad(string(worst.Name()), "is not supported by this client; remove it")
}
