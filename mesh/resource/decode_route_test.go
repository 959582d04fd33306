package resource_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// to is a route of all calls to cluster, with changes.
func to(cluster string, changes ...func(*routev3.Route)) *routev3.Route {
	r := &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}},
	}
	for _, change := range changes {
		change(r)
	}
	return r
}

func acting(change func(*routev3.RouteAction)) *routev3.Route {
	return to("voting", func(r *routev3.Route) { change(r.GetRoute()) })
}

func matching(change func(*routev3.RouteMatch)) *routev3.Route {
	return to("voting", func(r *routev3.Route) { change(r.GetMatch()) })
}

func weighted(clusters ...*routev3.WeightedCluster_ClusterWeight) *routev3.Route {
	return acting(func(a *routev3.RouteAction) {
		a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: clusters}}
	})
}

func weight(cluster string, w uint32) *routev3.WeightedCluster_ClusterWeight {
	return &routev3.WeightedCluster_ClusterWeight{Name: cluster, Weight: wrapperspb.UInt32(w)}
}

func bounded(header, stream *durationpb.Duration) *routev3.Route {
	return acting(func(a *routev3.RouteAction) {
		a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{GrpcTimeoutHeaderMax: header, MaxStreamDuration: stream}
	})
}

// routes is a route configuration of one virtual host.
func routes(list ...*routev3.Route) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:         "voting",
		VirtualHosts: []*routev3.VirtualHost{{Name: "voting", Domains: []string{"*"}, Routes: list}},
	}
}

func aborting(t testing.TB, code codes.Code) *anypb.Any {
	t.Helper()
	return packed(t, &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
		ErrorType:  &faultv3.FaultAbort_GrpcStatus{GrpcStatus: uint32(code)},
		Percentage: share(100, typev3.FractionalPercent_HUNDRED),
	}})
}

func TestRoutesAreDecoded(t *testing.T) {
	one := []resource.WeightedCluster{{Name: "voting", Weight: 1}}
	for _, tt := range []struct {
		name string
		in   *routev3.Route
		want resource.Route
	}{
		{"to a cluster", to("voting"), resource.Route{Clusters: one, TotalWeight: 1}},
		{
			"to clusters by weight, without those that have none",
			weighted(weight("voting/v1", 90), weight("", 0), weight("voting/v2", 10)),
			resource.Route{Clusters: []resource.WeightedCluster{{Name: "voting/v1", Weight: 90}, {Name: "voting/v2", Weight: 10}}, TotalWeight: 100},
		},
		{
			"weights may sum to the largest of 32 bits",
			weighted(weight("voting", 1<<32-2), weight("voting", 1)),
			resource.Route{Clusters: []resource.WeightedCluster{{Name: "voting", Weight: 1<<32 - 2}, {Name: "voting", Weight: 1}}, TotalWeight: 1<<32 - 1},
		},
		{"a timeout", bounded(nil, durationpb.New(time.Second)), resource.Route{Clusters: one, TotalWeight: 1, Timeout: new(time.Second)}},
		{
			"grpc_timeout_header_max comes before max_stream_duration",
			bounded(durationpb.New(2*time.Second), durationpb.New(time.Second)),
			resource.Route{Clusters: one, TotalWeight: 1, Timeout: new(2 * time.Second)},
		},
		{
			"a timeout of zero is one, and not the default",
			bounded(durationpb.New(0), durationpb.New(time.Second)),
			resource.Route{Clusters: one, TotalWeight: 1, Timeout: new(time.Duration(0))},
		},
		{"max_stream_duration with nothing in it is the default", bounded(nil, nil), resource.Route{Clusters: one, TotalWeight: 1}},
		{
			"with a fault",
			to("voting", func(r *routev3.Route) {
				r.TypedPerFilterConfig = map[string]*anypb.Any{resource.FaultFilter: aborting(t, codes.Aborted)}
			}),
			resource.Route{Clusters: one, TotalWeight: 1, Fault: &resource.Fault{AbortPerMillion: 1_000_000, AbortCode: codes.Aborted}},
		},
		{
			"with a fault in a FilterConfig, and an optional one of an unknown filter",
			to("voting", func(r *routev3.Route) {
				r.TypedPerFilterConfig = map[string]*anypb.Any{
					resource.FaultFilter: packed(t, &routev3.FilterConfig{Config: aborting(t, codes.Aborted)}),
					"later":              packed(t, &routev3.FilterConfig{Config: packed(t, wrapperspb.Bool(true)), IsOptional: true}),
				}
			}),
			resource.Route{Clusters: one, TotalWeight: 1, Fault: &resource.Fault{AbortPerMillion: 1_000_000, AbortCode: codes.Aborted}},
		},
		{
			"whose action is a redirect",
			to("", func(r *routev3.Route) { r.Action = &routev3.Route_Redirect{} }),
			resource.Route{Unsupported: "its action is redirect, which gRPC has not"},
		},
		{
			"whose action is a direct response",
			to("", func(r *routev3.Route) { r.Action = &routev3.Route_DirectResponse{} }),
			resource.Route{Unsupported: "its action is direct_response, which gRPC has not"},
		},
		{
			"whose action is a server's",
			to("", func(r *routev3.Route) { r.Action = &routev3.Route_NonForwardingAction{} }),
			resource.Route{Unsupported: "its action is non_forwarding_action, which is a server's"},
		},
		{
			"without an action",
			to("", func(r *routev3.Route) { r.Action = nil }),
			resource.Route{Unsupported: "it has no action that a gRPC client can carry out"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resource.DecodeRouteConfiguration(encode(t, routes(tt.in)))
			if err != nil {
				t.Fatal(err)
			}
			want := &resource.RouteConfiguration{
				Name:         "voting",
				VirtualHosts: []*resource.VirtualHost{{Name: "voting", Domains: []string{"*"}, Routes: []*resource.Route{&tt.want}}},
			}
			if diff := cmp.Diff(want, got, plain); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}

func TestRoutesThatOnlyOthersUnderstandAreSkipped(t *testing.T) {
	in := routes(
		matching(func(m *routev3.RouteMatch) {
			m.QueryParameters = []*routev3.QueryParameterMatcher{{Name: "q"}}
			m.PathSpecifier = nil // unread
		}),
		acting(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x"}
		}),
		acting(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterSpecifierPlugin{ClusterSpecifierPlugin: "p"}
		}),
		acting(func(a *routev3.RouteAction) { a.ClusterSpecifier = nil }),
		to("voting"),
	)
	in.ClusterSpecifierPlugins = []*routev3.ClusterSpecifierPlugin{{Extension: &corev3.TypedExtensionConfig{Name: "p"}, IsOptional: true}}
	got, err := resource.DecodeRouteConfiguration(encode(t, in))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.VirtualHosts[0].Routes); n != 1 {
		t.Errorf("%d routes are left, want 1", n)
	}
	want := []string{
		"virtual_hosts[0].routes[0]: matches on query parameters, which gRPC calls do not have",
		"virtual_hosts[0].routes[1]: says where to send calls in a way that gRPC clients do not know",
		`virtual_hosts[0].routes[2]: its cluster specifier plugin "p" is optional and not known`,
		"virtual_hosts[0].routes[3]: says where to send calls in a way that gRPC clients do not know",
	}
	if diff := cmp.Diff(want, got.Skipped); diff != "" {
		t.Errorf("want - got +\n%s", diff)
	}
}

func TestRouteConfigurationsAreRefused(t *testing.T) {
	overriding := func(name string, config *anypb.Any) *routev3.Route {
		return to("voting", func(r *routev3.Route) { r.TypedPerFilterConfig = map[string]*anypb.Any{name: config} })
	}
	header := func(h *routev3.HeaderMatcher) *routev3.Route {
		h.Name = "x"
		return matching(func(m *routev3.RouteMatch) { m.Headers = []*routev3.HeaderMatcher{h} })
	}
	text := func(m *matcherv3.StringMatcher) *routev3.Route {
		return header(&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}})
	}
	path := func(regex string) *routev3.Route {
		return matching(func(m *routev3.RouteMatch) {
			m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: regex}}
		})
	}
	const at = `RouteConfiguration "voting": virtual_hosts[0].routes[0].`
	for _, tt := range []struct {
		name string
		in   *routev3.RouteConfiguration
		want string
	}{
		{"without a name", &routev3.RouteConfiguration{}, "RouteConfiguration: name: is empty"},
		{"with virtual hosts elsewhere", &routev3.RouteConfiguration{Name: "voting", Vhds: &routev3.Vhds{}}, "vhds: is not supported"},
		{
			"with a cluster specifier plugin",
			&routev3.RouteConfiguration{Name: "voting", ClusterSpecifierPlugins: []*routev3.ClusterSpecifierPlugin{{}}},
			"cluster_specifier_plugins[0]: ",
		},
		{
			"with an empty domain",
			&routev3.RouteConfiguration{Name: "voting", VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*", ""}}}},
			`virtual_hosts[0].domains[1]: "" can match nothing`,
		},
		{
			"with a * inside a domain",
			&routev3.RouteConfiguration{Name: "voting", VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"a*b"}}}},
			`virtual_hosts[0].domains[0]: "a*b" can match nothing`,
		},
		{"without a match", routes(to("voting", func(r *routev3.Route) { r.Match = nil })), at + "match: is missing"},
		{"without a path", routes(matching(func(m *routev3.RouteMatch) { m.PathSpecifier = nil })), at + "match: has no path specifier"},
		{
			"with a path only others know",
			routes(matching(func(m *routev3.RouteMatch) {
				m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/x"}
			})),
			at + "match.path_separated_prefix: is not supported",
		},
		{
			"with a match on the connection",
			routes(matching(func(m *routev3.RouteMatch) { m.TlsContext = &routev3.RouteMatch_TlsContextMatchOptions{} })),
			at + "match.tls_context: is not supported",
		},
		{"with a regex that does not parse", routes(path("(")), at + "match.safe_regex.regex: error parsing regexp: missing closing )"},
		{"with a regex that parses in parentheses only", routes(path("a)(b")), at + "match.safe_regex.regex: error parsing regexp: unexpected )"},
		{"with a regex of another engine's", routes(path("(?=a)")), at + "match.safe_regex.regex: error parsing regexp: invalid or unsupported Perl syntax"},
		{"with a regex that is too long", routes(path(strings.Repeat("a", 4_097))), "regex: has 4097 bytes, at most 4096 are accepted"},
		{"with a regex that is too large", routes(path("(abcd?){400}")), "instructions, at most 1000 are accepted"},
		{
			"with a fraction of an unknown denominator",
			routes(matching(func(m *routev3.RouteMatch) {
				m.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: share(1, 9)}
			})),
			at + "match.runtime_fraction.default_value.denominator: 9 is unknown",
		},
		{"with a header matched by nothing", routes(header(&routev3.HeaderMatcher{})), at + `match.headers[0]: does not say what to match "x" by`},
		{
			"with an empty prefix of a header",
			routes(header(&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_PrefixMatch{}})),
			at + "match.headers[0].prefix_match: is empty",
		},
		{
			"with an empty suffix of a header",
			routes(text(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{}})),
			at + "match.headers[0].string_match.suffix: is empty",
		},
		{"with a text matched by nothing", routes(text(&matcherv3.StringMatcher{})), at + "match.headers[0].string_match: has no pattern"},
		{
			"with a header's regex that does not parse",
			routes(header(&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{
				SafeRegexMatch: &matcherv3.RegexMatcher{Regex: "["},
			}})),
			at + "match.headers[0].safe_regex_match.regex: error parsing regexp",
		},
		{
			"with absent headers taken for empty",
			routes(header(&routev3.HeaderMatcher{TreatMissingHeaderAsEmpty: true})),
			at + "match.headers[0].treat_missing_header_as_empty: is honoured by no gRPC client",
		},
		{
			"with 65 headers",
			routes(matching(func(m *routev3.RouteMatch) { m.Headers = slices.Repeat([]*routev3.HeaderMatcher{{Name: "x"}}, 65) })),
			at + "match.headers: are 65, at most 64 are accepted",
		},
		{"to a cluster without a name", routes(to("")), at + "route.cluster: is empty"},
		{"to no weighted cluster", routes(weighted()), at + "route.weighted_clusters.clusters: have no weight above zero"},
		{"with weights that sum to zero", routes(weighted(weight("v1", 0), weight("v2", 0))), at + "route.weighted_clusters.clusters: have no weight above zero"},
		{
			"with weights that sum to too much",
			routes(weighted(weight("v1", 1<<32-1), weight("v2", 1))),
			at + "route.weighted_clusters.clusters[1].weight: makes the sum exceed 4294967295",
		},
		{"to a weighted cluster without a name", routes(weighted(weight("", 1))), at + "route.weighted_clusters.clusters[0].name: is empty"},
		{"to 1,001 clusters", routes(weighted(slices.Repeat([]*routev3.WeightedCluster_ClusterWeight{weight("v", 1)}, 1_001)...)), "at most 1000"},
		{
			"to a plugin that is not there",
			routes(acting(func(a *routev3.RouteAction) {
				a.ClusterSpecifier = &routev3.RouteAction_ClusterSpecifierPlugin{ClusterSpecifierPlugin: "p"}
			})),
			at + `route.cluster_specifier_plugin: "p" is not among cluster_specifier_plugins`,
		},
		{"with a negative timeout", routes(bounded(nil, durationpb.New(-1))), at + "route.max_stream_duration.max_stream_duration: is negative"},
		{
			"with a timeout out of range",
			routes(bounded(&durationpb.Duration{Nanos: -1, Seconds: 1}, nil)),
			at + "route.max_stream_duration.grpc_timeout_header_max: is no valid duration",
		},
		{
			"with the timeout of a proxy",
			routes(acting(func(a *routev3.RouteAction) { a.Timeout = durationpb.New(time.Second) })),
			at + "route.timeout: is not what bounds a gRPC call; set max_stream_duration",
		},
		{
			"with mirroring",
			routes(acting(func(a *routev3.RouteAction) {
				a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "x"}}
			})),
			at + "route.request_mirror_policies: is done by no gRPC client",
		},
		{
			"with headers to add",
			routes(to("voting", func(r *routev3.Route) { r.RequestHeadersToAdd = []*corev3.HeaderValueOption{{}} })),
			at + "request_headers_to_add: is not supported by this client",
		},
		{
			"with a fault of a filter of another name",
			routes(overriding("chaos", aborting(t, codes.Aborted))),
			at + `typed_per_filter_config: "chaos": the fault filter must be named`,
		},
		{"with a router overridden", routes(overriding("r", packed(t, &routerv3.Router{}))), at + `typed_per_filter_config: "r": the router cannot be overridden`},
		{"with access rules", routes(overriding("a", packed(t, &rbacv3.RBACPerRoute{}))), at + `typed_per_filter_config: "a": access is decided by a server's listener`},
		{
			"with a configuration of an unknown filter",
			routes(overriding("x", packed(t, wrapperspb.Bool(true)))),
			at + `typed_per_filter_config: "x": no filter of type`,
		},
		{
			"with a disabled filter",
			routes(overriding(resource.FaultFilter, packed(t, &routev3.FilterConfig{Disabled: true}))),
			`disabled is not supported; an empty HTTPFault injects nothing`,
		},
		{
			"with a weighted cluster's fault that is refused",
			routes(weighted(&routev3.WeightedCluster_ClusterWeight{
				Name: "v", Weight: wrapperspb.UInt32(1), TypedPerFilterConfig: map[string]*anypb.Any{"chaos": aborting(t, 1)},
			})),
			at + `route.weighted_clusters.clusters[0].typed_per_filter_config: "chaos"`,
		},
		{"with 10,001 routes", routes(slices.Repeat([]*routev3.Route{to("voting")}, 10_001)...), "virtual_hosts: have more than 10000 routes"},
		{
			"with 10,001 domains",
			&routev3.RouteConfiguration{Name: "voting", VirtualHosts: []*routev3.VirtualHost{{Domains: slices.Repeat([]string{"*"}, 10_001)}}},
			"virtual_hosts: have more than 10000 domains",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.RouteType, tt.in, tt.want)
		})
	}
}
