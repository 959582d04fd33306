package main

import (
	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	_ "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
)

// A part is what is wanted of a message.
type part struct {
	// name is the message's full name, file where it goes.
	name, file string
	// read are the fields that the structs have.
	read string
	// accepted are the fields that package mesh/resource honours, and those that change
	// nothing about a call (names for people and for statistics, metadata). Any other that
	// is set asks for something that would not be done, and refuses the resource.
	//
	// grpc-go overlooks most of those others (gRFC A27: unsupported fields are ignored). It
	// must serve control planes built for Envoy. The library serves one that asks its own
	// decoder first, and an operator who believes what was applied.
	accepted string
	// as is the Go name, where that of protoc-gen-go is taken.
	as string
	// sent is written, too.
	sent bool
}

const (
	core     = "envoy.config.core.v3."
	listener = "envoy.config.listener.v3."
	manager  = "envoy.extensions.filters.network.http_connection_manager.v3."
	route    = "envoy.config.route.v3."
	cluster  = "envoy.config.cluster.v3."
	endpoint = "envoy.config.endpoint.v3."
	matcher  = "envoy.type.matcher.v3."
	rbac     = "envoy.config.rbac.v3."
	tls      = "envoy.extensions.transport_sockets.tls.v3."
	lb       = "envoy.extensions.load_balancing_policies."
	ads      = "envoy.service.discovery.v3."
	faults   = "envoy.extensions.filters."
	own      = "tulle.policy.v1."
)

// every as accepted is for messages that are not asked what they hold beyond what is read.
const every = "*"

var subset = []part{
	{
		name: listener + "Listener", file: "listener",
		read:     "name api_listener metadata address filter_chains default_filter_chain",
		accepted: "name api_listener metadata stat_prefix address filter_chains default_filter_chain",
	},
	{name: listener + "ApiListener", file: "listener", read: "api_listener", accepted: "api_listener"},
	{
		name: listener + "FilterChain", file: "listener",
		read: "filter_chain_match filters transport_socket", accepted: "name filter_chain_match filters transport_socket",
	},
	{name: listener + "FilterChainMatch", file: "listener"},
	{name: listener + "Filter", file: "listener", read: "name typed_config", accepted: "name typed_config"},
	{
		name: manager + "HttpConnectionManager", file: "listener",
		read:     "rds route_config http_filters common_http_protocol_options",
		accepted: "stat_prefix codec_type rds route_config http_filters common_http_protocol_options",
	},
	{name: manager + "Rds", file: "listener", read: "config_source route_config_name", accepted: "config_source route_config_name"},
	{name: manager + "HttpFilter", file: "listener", read: "name typed_config is_optional disabled", accepted: every},
	{name: core + "HttpProtocolOptions", file: "listener", read: "max_stream_duration", accepted: "max_stream_duration"},
	{name: "envoy.extensions.filters.http.router.v3.Router", file: "listener", accepted: every},

	{name: core + "ConfigSource", file: "core", read: "ads self", accepted: "ads self resource_api_version"},
	{name: core + "AggregatedConfigSource", file: "core", accepted: every},
	{name: core + "SelfConfigSource", file: "core", accepted: every},
	{name: core + "Metadata", file: "core", read: "filter_metadata", accepted: every},
	{name: core + "TypedExtensionConfig", file: "core", read: "name typed_config", accepted: every},
	{
		name: core + "RuntimeFractionalPercent", file: "core", read: "default_value",
		accepted: "default_value runtime_key", // there is no runtime to override the default
	},
	{name: core + "Address", file: "core", read: "socket_address", accepted: "socket_address"},
	{
		name: core + "SocketAddress", file: "core",
		read: "protocol address port_value", accepted: "protocol address port_value",
	},
	{name: core + "TransportSocket", file: "core", read: "name typed_config", accepted: "name typed_config"},
	{name: core + "Locality", file: "core", read: "region zone sub_zone", accepted: every, sent: true},
	{
		name: core + "Node", file: "discovery", accepted: every, sent: true,
		read: "id cluster metadata locality user_agent_name user_agent_version",
	},
	{name: "google.protobuf.Struct", file: "core", read: "fields", accepted: every, sent: true},
	{name: "google.protobuf.Value", file: "core", read: "string_value", accepted: every, sent: true},
	{name: "envoy.type.v3.FractionalPercent", file: "core", read: "numerator denominator", accepted: every},
	{name: "envoy.type.v3.Int64Range", file: "core", read: "start end", accepted: every},

	{
		name: route + "RouteConfiguration", file: "route", read: "name virtual_hosts cluster_specifier_plugins",
		accepted: "name virtual_hosts cluster_specifier_plugins metadata validate_clusters",
	},
	{name: route + "ClusterSpecifierPlugin", file: "route", read: "extension is_optional", accepted: every},
	{
		name: route + "VirtualHost", file: "route", read: "name domains routes typed_per_filter_config retry_policy",
		accepted: "name domains routes typed_per_filter_config metadata retry_policy",
	},
	{
		name: route + "Route", file: "route",
		read:     "name match route redirect direct_response non_forwarding_action typed_per_filter_config",
		accepted: "name match route redirect direct_response filter_action non_forwarding_action typed_per_filter_config metadata stat_prefix",
	},
	{name: route + "RedirectAction", file: "route", accepted: every},
	{name: route + "DirectResponseAction", file: "route", accepted: every},
	{name: route + "NonForwardingAction", file: "route", accepted: every},
	{
		name: route + "RouteMatch", file: "route",
		read: "prefix path safe_regex case_sensitive runtime_fraction headers query_parameters",
		accepted: "prefix path safe_regex case_sensitive runtime_fraction headers query_parameters " +
			"grpc", // every call is one
	},
	{name: route + "QueryParameterMatcher", file: "route", accepted: every},
	{
		name: route + "HeaderMatcher", file: "route",
		read: "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match invert_match",
		accepted: "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match " +
			"invert_match",
	},
	{
		name: route + "RouteAction", file: "route",
		read:     "cluster weighted_clusters cluster_specifier_plugin max_stream_duration retry_policy hash_policy",
		accepted: "cluster weighted_clusters cluster_specifier_plugin max_stream_duration retry_policy hash_policy",
	},
	{
		name: route + "RetryPolicy", file: "route",
		read: "retry_on num_retries retry_back_off", accepted: "retry_on num_retries retry_back_off",
	},
	{
		name: route + "RetryPolicy.RetryBackOff", file: "route",
		read: "base_interval max_interval", accepted: "base_interval max_interval",
	},
	{name: route + "RouteAction.HashPolicy", file: "route", read: "header", accepted: "header terminal"},
	{name: route + "RouteAction.HashPolicy.Header", file: "route", read: "header_name regex_rewrite", accepted: "header_name"},
	{name: matcher + "RegexMatchAndSubstitute", file: "route", accepted: every},
	{
		name: route + "RouteAction.MaxStreamDuration", file: "route",
		read: "max_stream_duration grpc_timeout_header_max", accepted: "max_stream_duration grpc_timeout_header_max",
	},
	{name: route + "WeightedCluster", file: "route", read: "clusters", accepted: "clusters"},
	{
		name: route + "WeightedCluster.ClusterWeight", file: "route",
		read: "name weight typed_per_filter_config", accepted: "name weight typed_per_filter_config",
	},
	{name: route + "FilterConfig", file: "route", read: "config is_optional disabled", accepted: every},

	{
		name: faults + "http.fault.v3.HTTPFault", file: "fault",
		read: "delay abort max_active_faults", accepted: "delay abort max_active_faults",
	},
	{
		name: faults + "http.fault.v3.FaultAbort", file: "fault",
		read: "http_status grpc_status header_abort percentage", accepted: "http_status grpc_status header_abort percentage",
	},
	{name: faults + "http.fault.v3.FaultAbort.HeaderAbort", file: "fault", accepted: every},
	{
		name: faults + "common.fault.v3.FaultDelay", file: "fault",
		read: "fixed_delay header_delay percentage", accepted: "fixed_delay header_delay percentage",
	},
	{name: faults + "common.fault.v3.FaultDelay.HeaderDelay", file: "fault", accepted: every},

	{
		name: cluster + "Cluster", file: "cluster",
		read: "name type cluster_type eds_cluster_config lb_policy circuit_breakers lrs_server transport_socket ring_hash_lb_config " +
			"least_request_lb_config load_balancing_policy outlier_detection",
		accepted: "name alt_stat_name type eds_cluster_config lb_policy circuit_breakers metadata " +
			"connect_timeout " + // gRPC has its own, of 20 s
			"lrs_server lrs_report_endpoint_metrics " + // an offer to take load reports
			"transport_socket ring_hash_lb_config least_request_lb_config load_balancing_policy outlier_detection",
	},
	{name: cluster + "Cluster.CustomClusterType", file: "cluster", read: "name", accepted: every},
	{
		name: cluster + "Cluster.RingHashLbConfig", file: "cluster",
		read: "minimum_ring_size hash_function maximum_ring_size", accepted: "minimum_ring_size hash_function maximum_ring_size",
	},
	{name: cluster + "Cluster.LeastRequestLbConfig", file: "cluster", read: "choice_count", accepted: "choice_count"},
	{
		name: cluster + "OutlierDetection", file: "cluster",
		read: "interval base_ejection_time max_ejection_time max_ejection_percent " +
			"enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor " +
			"enforcing_failure_percentage failure_percentage_threshold failure_percentage_minimum_hosts failure_percentage_request_volume",
		accepted: "interval base_ejection_time max_ejection_time max_ejection_percent " +
			"enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor " +
			"enforcing_failure_percentage failure_percentage_threshold failure_percentage_minimum_hosts failure_percentage_request_volume",
	},
	{name: cluster + "LoadBalancingPolicy", file: "cluster", read: "policies", accepted: every},
	{name: cluster + "LoadBalancingPolicy.Policy", file: "cluster", read: "typed_extension_config", accepted: every},
	{name: lb + "round_robin.v3.RoundRobin", file: "cluster"},
	{name: lb + "least_request.v3.LeastRequest", file: "cluster", read: "choice_count", accepted: "choice_count"},
	{
		name: lb + "ring_hash.v3.RingHash", file: "cluster",
		read: "hash_function minimum_ring_size maximum_ring_size", accepted: "hash_function minimum_ring_size maximum_ring_size",
	},
	{
		name: lb + "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", file: "cluster",
		read:     "enable_oob_load_report blackout_period weight_expiration_period weight_update_period error_utilization_penalty",
		accepted: "enable_oob_load_report blackout_period weight_expiration_period weight_update_period error_utilization_penalty",
	},
	{name: lb + "wrr_locality.v3.WrrLocality", file: "cluster", read: "endpoint_picking_policy", accepted: every},
	{name: cluster + "Cluster.EdsClusterConfig", file: "cluster", read: "eds_config service_name", accepted: "eds_config service_name"},
	{name: cluster + "CircuitBreakers", file: "cluster", read: "thresholds", accepted: "thresholds"},
	{name: cluster + "CircuitBreakers.Thresholds", file: "cluster", read: "priority max_requests", accepted: "priority max_requests"},

	{
		name: endpoint + "ClusterLoadAssignment", file: "endpoint",
		read: "cluster_name endpoints policy", accepted: "cluster_name endpoints policy",
	},
	{name: endpoint + "ClusterLoadAssignment.Policy", file: "endpoint", read: "drop_overloads", accepted: "drop_overloads"},
	{
		name: endpoint + "ClusterLoadAssignment.Policy.DropOverload", file: "endpoint",
		read: "category drop_percentage", accepted: "category drop_percentage",
	},
	{
		name: endpoint + "LocalityLbEndpoints", file: "endpoint",
		read: "locality lb_endpoints load_balancing_weight priority", accepted: "locality metadata lb_endpoints load_balancing_weight priority",
	},
	{
		name: endpoint + "LbEndpoint", file: "endpoint",
		read: "endpoint health_status metadata load_balancing_weight", accepted: "endpoint health_status metadata load_balancing_weight",
	},
	{
		name: endpoint + "Endpoint", file: "endpoint", read: "address additional_addresses",
		accepted: "address additional_addresses observability_name " +
			"hostname", // for authorities that endpoints choose, which no route asks for
	},
	{name: endpoint + "Endpoint.AdditionalAddress", file: "endpoint", read: "address", accepted: "address"},

	{name: tls + "UpstreamTlsContext", file: "tls", read: "common_tls_context", accepted: "common_tls_context"},
	{
		name: tls + "DownstreamTlsContext", file: "tls",
		read: "common_tls_context require_client_certificate", accepted: "common_tls_context require_client_certificate",
	},
	{
		name: tls + "CommonTlsContext", file: "tls",
		read: "tls_certificate_provider_instance validation_context", accepted: "tls_certificate_provider_instance validation_context",
	},
	{name: tls + "CertificateProviderPluginInstance", file: "tls", read: "instance_name", accepted: "instance_name"},
	{
		name: tls + "CertificateValidationContext", file: "tls",
		read: "ca_certificate_provider_instance match_subject_alt_names", accepted: "ca_certificate_provider_instance match_subject_alt_names",
	},

	{
		name: own + "Balancing", file: "own", accepted: every,
		read: "policy peak_ewma choices ring_hash weighted_round_robin slow_start breaker outlier_detection " +
			"max_ejected_percent max_requests_per_endpoint zone subset max_stream_age",
	},
	{name: own + "PeakEWMA", file: "own", read: "default_rtt decay failure_penalty utilization", accepted: every},
	{name: own + "RingHash", file: "own", read: "min_ring_size max_ring_size", accepted: every},
	{
		name: own + "WeightedRoundRobin", file: "own", accepted: every,
		read: "blackout_period weight_expiration_period weight_update_period error_utilization_penalty",
	},
	{name: own + "SlowStart", file: "own", read: "window aggression min_weight_percent", accepted: every},
	{
		name: own + "Breaker", file: "own", accepted: every,
		read: "disabled consecutive_failures min_penalty max_penalty jitter success_rate window min_requests codes",
	},
	{
		name: own + "OutlierDetection.SuccessRate", file: "own", accepted: every,
		read: "stdev_factor minimum_hosts request_volume",
	},
	{
		name: own + "OutlierDetection.FailurePercentage", file: "own", accepted: every,
		read: "threshold minimum_hosts request_volume",
	},
	{
		name: own + "OutlierDetection", file: "own", accepted: every,
		read: "interval base_ejection_time max_ejection_time success_rate failure_percentage",
	},
	{name: own + "Zone", file: "own", read: "mode low high", accepted: every},
	{
		name: own + "Traffic", file: "own", accepted: every,
		read: "retry retry_budget hedge mirrors headers rate_limit breaker idle_timeout hop_cost hash_header",
	},
	{
		name: own + "Retry", file: "own", accepted: every,
		read: "codes attempts per_try_timeout backoff_base backoff_max idempotent buffer_bytes",
	},
	{name: own + "RetryBudget", file: "own", read: "percent min_per_second window", accepted: every},
	{name: own + "Hedge", file: "own", read: "delay quantile attempts", accepted: every},
	{name: own + "Mirror", file: "own", read: "cluster per_million timeout", accepted: every},
	{name: own + "Headers", file: "own", read: "set add remove", accepted: every},
	{name: own + "Header", file: "own", read: "name value", accepted: every},
	{name: own + "Rate", file: "own", read: "per_second burst", accepted: every},
	{name: own + "Admission", file: "own", read: "rate_limits concurrency fault", accepted: every},
	{name: own + "RateLimit", file: "own", read: "name per metadata_key rate methods callers", accepted: every},
	{name: own + "Concurrency", file: "own", read: "limit adaptive min max tolerance", accepted: every},
	{name: own + "Fault", file: "own", read: "delay delay_per_million abort_code abort_per_million", accepted: every},

	{name: matcher + "RegexMatcher", file: "matcher", read: "regex", accepted: "google_re2 regex"},
	{
		name: matcher + "StringMatcher", file: "matcher",
		read:     "exact prefix suffix contains safe_regex ignore_case",
		accepted: "exact prefix", // of identities and access rules
	},
	{name: matcher + "PathMatcher", file: "matcher", read: "path", accepted: "path"},

	{name: faults + "http.rbac.v3.RBACPerRoute", file: "rbac", read: "rbac", accepted: "rbac", as: "HttpRBACPerRoute"},
	{
		name: faults + "http.rbac.v3.RBAC", file: "rbac", as: "HttpRBAC",
		read: "rules shadow_rules", accepted: "rules shadow_rules rules_stat_prefix shadow_rules_stat_prefix track_per_rule_stats",
	},
	{name: rbac + "RBAC", file: "rbac", read: "action policies", accepted: "action policies"},
	{name: rbac + "Policy", file: "rbac", read: "permissions principals", accepted: "permissions principals"},
	{
		name: rbac + "Permission", file: "rbac",
		read: "any and_rules or_rules not_rule url_path header", accepted: "any and_rules or_rules not_rule url_path header",
	},
	{name: rbac + "Permission.Set", file: "rbac", read: "rules", accepted: "rules"},
	{
		name: rbac + "Principal", file: "rbac",
		read: "any and_ids or_ids not_id authenticated", accepted: "any and_ids or_ids not_id authenticated",
	},
	{name: rbac + "Principal.Set", file: "rbac", read: "ids", accepted: "ids"},
	{name: rbac + "Principal.Authenticated", file: "rbac", read: "principal_name", accepted: "principal_name"},

	{
		name: ads + "DeltaDiscoveryRequest", file: "discovery", accepted: every, sent: true,
		read: "node type_url resource_names_subscribe resource_names_unsubscribe initial_resource_versions response_nonce error_detail",
	},
	{
		name: ads + "DeltaDiscoveryResponse", file: "discovery", accepted: every,
		read: "resources type_url removed_resources removed_resource_names nonce resource_errors",
	},
	{name: ads + "Resource", file: "discovery", read: "name resource_name version resource", accepted: every},
	{name: ads + "ResourceName", file: "discovery", read: "name", accepted: every},
	{name: ads + "ResourceError", file: "discovery", read: "resource_name error_detail", accepted: every},
}
