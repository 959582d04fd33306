package resource_test

import (
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// plain compares what a resource says, not what it matches by.
var plain = cmpopts.IgnoreUnexported(resource.VirtualHost{}, resource.Route{}, resource.Access{})

// wantRefused decodes m and wants it refused for a reason that contains want.
func wantRefused(t *testing.T, typeURL string, m proto.Message, want string) {
	t.Helper()
	got, err := resource.Decode(typeURL, encode(t, m))
	if err == nil || got != nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v and the error %v, want one with %q", got, err, want)
	}
}

func listener(change func(*hcmv3.HttpConnectionManager)) func(*testing.T) *listenerv3.Listener {
	return func(t *testing.T) *listenerv3.Listener {
		t.Helper()
		m := &hcmv3.HttpConnectionManager{RouteSpecifier: byRDS("voting")}
		change(m)
		return clientListener(t, "voting", m)
	}
}

func share(numerator uint32, in typev3.FractionalPercent_DenominatorType) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: numerator, Denominator: in}
}

func TestListenersAreDecoded(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   func(*testing.T) *listenerv3.Listener
		want resource.Listener
	}{
		{
			"routes come by RDS",
			listener(func(*hcmv3.HttpConnectionManager) {}),
			resource.Listener{Name: "voting", RouteName: "voting"},
		},
		{
			"the server a resource comes from may be called self",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.GetRds().ConfigSource = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}}
			}),
			resource.Listener{Name: "voting", RouteName: "voting"},
		},
		{
			"routes stand inline and need no name",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{}}
			}),
			resource.Listener{Name: "voting", Routes: &resource.RouteConfiguration{}},
		},
		{
			"the default timeout is max_stream_duration",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxStreamDuration: durationpb.New(3 * time.Second)}
			}),
			resource.Listener{Name: "voting", RouteName: "voting", MaxStreamDuration: 3 * time.Second},
		},
		{
			"a fault filter without a fault lets routes have theirs",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = []*hcmv3.HttpFilter{filter(resource.FaultFilter, packed(t, &faultv3.HTTPFault{}))}
			}),
			resource.Listener{Name: "voting", RouteName: "voting", FaultFilter: true, Fault: &resource.Fault{}},
		},
		{
			"a fault filter may have a fault for all routes",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = []*hcmv3.HttpFilter{filter(resource.FaultFilter, packed(t, &faultv3.HTTPFault{
					Abort: &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: 10}, Percentage: share(5, typev3.FractionalPercent_HUNDRED)},
				}))}
			}),
			resource.Listener{
				Name: "voting", RouteName: "voting", FaultFilter: true,
				Fault: &resource.Fault{AbortPerMillion: 50_000, AbortCode: codes.Aborted},
			},
		},
		{
			"optional filters that are unknown are skipped, also behind the router",
			func(t *testing.T) *listenerv3.Listener {
				t.Helper()
				unknown := filter("early", packed(t, wrapperspb.Bool(true)))
				unknown.IsOptional = true
				return &listenerv3.Listener{Name: "voting", ApiListener: &listenerv3.ApiListener{ApiListener: packed(t, &hcmv3.HttpConnectionManager{
					RouteSpecifier: byRDS("voting"),
					HttpFilters: []*hcmv3.HttpFilter{
						unknown,
						filter("router", packed(t, &routerv3.Router{})),
						{Name: "late", IsOptional: true, Disabled: true},
					},
				})}}
			},
			resource.Listener{Name: "voting", RouteName: "voting"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resource.DecodeListener(encode(t, tt.in(t)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got, plain); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}

func TestListenersAreRefused(t *testing.T) {
	filters := func(list ...*hcmv3.HttpFilter) func(*testing.T) *listenerv3.Listener {
		return listener(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = list })
	}
	for _, tt := range []struct {
		name string
		in   func(*testing.T) *listenerv3.Listener
		want string
	}{
		{
			"without a name",
			func(t *testing.T) *listenerv3.Listener {
				t.Helper()
				return clientListener(t, "", &hcmv3.HttpConnectionManager{})
			},
			"Listener: name: is empty",
		},
		{
			"of a client and a server",
			func(t *testing.T) *listenerv3.Listener {
				t.Helper()
				m := clientListener(t, "voting", &hcmv3.HttpConnectionManager{RouteSpecifier: byRDS("voting")})
				m.Address = tcp("::", 80)
				return m
			},
			`Listener "voting": address: is of a server`,
		},
		{
			"without an api_listener",
			func(*testing.T) *listenerv3.Listener { return &listenerv3.Listener{Name: "voting"} },
			"api_listener: is missing",
		},
		{
			"with an api_listener of another type",
			func(t *testing.T) *listenerv3.Listener {
				t.Helper()
				return &listenerv3.Listener{Name: "voting", ApiListener: &listenerv3.ApiListener{ApiListener: packed(t, &routerv3.Router{})}}
			},
			"must be an HttpConnectionManager",
		},
		{"without routes", listener(func(m *hcmv3.HttpConnectionManager) { m.RouteSpecifier = nil }), "has no routes"},
		{
			"with scoped routes",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{}}
			}),
			"scoped_routes: is not supported",
		},
		{
			"with routes from a file",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.GetRds().ConfigSource.ConfigSourceSpecifier = &corev3.ConfigSource_Path{Path: "/etc/routes"}
			}),
			"rds.config_source: must be ads or self",
		},
		{"with RDS of no name", listener(func(m *hcmv3.HttpConnectionManager) { m.GetRds().RouteConfigName = "" }), "rds.route_config_name: is empty"},
		{
			"with inline routes that are refused",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
					VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: []*routev3.Route{{}}}},
				}}
			}),
			`api_listener.api_listener.route_config.virtual_hosts[0].routes[0].match: is missing`,
		},
		{"with trusted hops (gRFC A41)", listener(func(m *hcmv3.HttpConnectionManager) { m.XffNumTrustedHops = 1 }), "xff_num_trusted_hops"},
		{
			"with IP detection extensions (gRFC A41)",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.OriginalIpDetectionExtensions = []*corev3.TypedExtensionConfig{{Name: "x"}}
			}),
			"original_ip_detection_extensions",
		},
		{
			"with a negative default timeout",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxStreamDuration: durationpb.New(-time.Second)}
			}),
			"common_http_protocol_options.max_stream_duration: is negative: -1s",
		},
		{
			"with an idle timeout",
			listener(func(m *hcmv3.HttpConnectionManager) {
				m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(time.Second)}
			}),
			"common_http_protocol_options.idle_timeout: is not supported by this client",
		},
		{
			"without a router",
			func(t *testing.T) *listenerv3.Listener {
				t.Helper()
				return &listenerv3.Listener{Name: "voting", ApiListener: &listenerv3.ApiListener{
					ApiListener: packed(t, &hcmv3.HttpConnectionManager{RouteSpecifier: byRDS("voting")}),
				}}
			},
			"http_filters: has no router at its end",
		},
		{"with two routers", filters(filter("first", packed(t, &routerv3.Router{}))), `http_filters[1]: "router" stands behind the router`},
		{"with two filters of one name", filters(filter("router", packed(t, &routerv3.Router{}))), `http_filters[1].name: "router" is taken`},
		{"with a filter without a name", filters(filter("", packed(t, &routerv3.Router{}))), "http_filters[0].name: is empty"},
		{"with an unknown filter", filters(filter("x", packed(t, wrapperspb.Bool(true)))), `no filter of type "type.googleapis.com/google.protobuf.BoolValue" is known`},
		{"with a filter without a configuration", filters(&hcmv3.HttpFilter{Name: "x"}), `no filter of type "" is known`},
		{"with access rules, which are a server's", filters(filter("x", packed(t, &rbacv3.RBAC{}))), "access is decided by a server's listener"},
		{
			"with a disabled fault filter",
			filters(&hcmv3.HttpFilter{Name: resource.FaultFilter, Disabled: true, ConfigType: filter("", packed(t, &faultv3.HTTPFault{})).GetConfigType()}),
			"http_filters[0].disabled: is not supported",
		},
		{"with a fault filter of another name", filters(filter("chaos", packed(t, &faultv3.HTTPFault{}))), `must be named "envoy.filters.http.fault"`},
		{
			"with a fault that is limited in rate",
			filters(filter(resource.FaultFilter, packed(t, &faultv3.HTTPFault{ResponseRateLimit: &commonfaultv3.FaultRateLimit{}}))),
			"http_filters[0].typed_config.response_rate_limit: is not supported",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.ListenerType, tt.in(t), tt.want)
		})
	}
}

func TestFaultsAreDecoded(t *testing.T) {
	fixed := func(d time.Duration) *commonfaultv3.FaultDelay {
		return &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(d)},
			Percentage:         share(1, typev3.FractionalPercent_TEN_THOUSAND),
		}
	}
	abort := func(kind *faultv3.FaultAbort) *faultv3.HTTPFault {
		kind.Percentage = share(250, typev3.FractionalPercent_HUNDRED)
		return &faultv3.HTTPFault{Abort: kind}
	}
	for _, tt := range []struct {
		name string
		in   *faultv3.HTTPFault
		want resource.Fault
	}{
		{"nothing", &faultv3.HTTPFault{}, resource.Fault{}},
		{"a fixed delay", &faultv3.HTTPFault{Delay: fixed(time.Second)}, resource.Fault{DelayPerMillion: 100, Delay: time.Second}},
		{"a delay of nothing has no share", &faultv3.HTTPFault{Delay: fixed(0)}, resource.Fault{}},
		{
			"a delay by header",
			&faultv3.HTTPFault{Delay: &commonfaultv3.FaultDelay{
				FaultDelaySecifier: &commonfaultv3.FaultDelay_HeaderDelay_{},
				Percentage:         share(7, typev3.FractionalPercent_MILLION),
			}},
			resource.Fault{DelayByHeader: true, DelayPerMillion: 7, DelayUnit: 1},
		},
		{
			"a share above all is all",
			abort(&faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: 14}}),
			resource.Fault{AbortPerMillion: 1_000_000, AbortCode: codes.Unavailable},
		},
		{
			"an unknown gRPC status is UNKNOWN",
			abort(&faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: 17}}),
			resource.Fault{AbortPerMillion: 1_000_000, AbortCode: codes.Unknown},
		},
		{
			"an HTTP status is mapped",
			abort(&faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: 401}}),
			resource.Fault{AbortPerMillion: 1_000_000, AbortCode: codes.Unauthenticated},
		},
		{
			"an abort by header",
			abort(&faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_HeaderAbort_{}}),
			resource.Fault{AbortPerMillion: 1_000_000, AbortByHeader: true, AbortUnit: 10_000},
		},
		{"an abort that says no status has no share", abort(&faultv3.FaultAbort{}), resource.Fault{}},
		{
			"a limit of active faults",
			&faultv3.HTTPFault{Delay: fixed(time.Second), MaxActiveFaults: wrapperspb.UInt32(9)},
			resource.Fault{DelayPerMillion: 100, Delay: time.Second, MaxActive: 9},
		},
		{"a limit of no active fault is no fault", &faultv3.HTTPFault{Delay: fixed(time.Second), MaxActiveFaults: wrapperspb.UInt32(0)}, resource.Fault{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := resource.DecodeListener(encode(t, listener(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = []*hcmv3.HttpFilter{filter(resource.FaultFilter, packed(t, tt.in))}
			})(t)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, l.Fault); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}

func TestFaultsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   *faultv3.HTTPFault
		want string
	}{
		{
			"with a negative delay",
			&faultv3.HTTPFault{Delay: &commonfaultv3.FaultDelay{
				FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(-1)},
			}},
			"delay.fixed_delay: is negative: -1ns",
		},
		{"with an unknown denominator", &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{Percentage: share(1, 3)}}, "abort.percentage.denominator: 3 is unknown"},
		{
			"with what is no HTTP status",
			&faultv3.HTTPFault{Abort: &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: 600}}},
			"abort.http_status: 600 is no HTTP status",
		},
		{"for some headers only", &faultv3.HTTPFault{Headers: []*routev3.HeaderMatcher{{Name: "x"}}}, "headers: is not supported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := listener(func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = []*hcmv3.HttpFilter{filter(resource.FaultFilter, packed(t, tt.in))}
			})(t)
			wantRefused(t, resource.ListenerType, in, tt.want)
		})
	}
}
