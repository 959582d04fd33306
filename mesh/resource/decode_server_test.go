package resource_test

import (
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// inboundManager has the access filters and the routes of voting.
func inboundManager(t testing.TB) *hcmv3.HttpConnectionManager {
	t.Helper()
	return &hcmv3.HttpConnectionManager{RouteSpecifier: byRDS("tulle/server/voting"), HttpFilters: accessFilters(t)}
}

func permissive(value *structpb.Value) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"tulle": {Fields: map[string]*structpb.Value{"permissive_until": value}},
	}}
}

func TestServersListenersAreDecoded(t *testing.T) {
	want := func(change func(*resource.Listener)) resource.Listener {
		l := resource.Listener{Name: "tulle/server/voting", RouteName: "tulle/server/voting", Server: &resource.Server{Address: "0.0.0.0:0"}}
		change(&l)
		return l
	}
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *listenerv3.Listener)
		want   resource.Listener
	}{
		{"as our servers get it", func(*testing.T, *listenerv3.Listener) {}, want(func(*resource.Listener) {})},
		{"for one address of a stock server", func(_ *testing.T, m *listenerv3.Listener) {
			m.Name, m.Address = "tulle/server/voting/10.0.0.1:8080", tcp("10.0.0.1", 8080)
		}, want(func(l *resource.Listener) {
			l.Name, l.Server.Address = "tulle/server/voting/10.0.0.1:8080", "10.0.0.1:8080"
		})},
		{"for all addresses of a stock server", func(_ *testing.T, m *listenerv3.Listener) {
			m.Name, m.Address = "tulle/server/voting/[::]:8080", tcp("::", 8080)
		}, want(func(l *resource.Listener) { l.Name, l.Server.Address = "tulle/server/voting/[::]:8080", "[::]:8080" })},
		{"permissive until a time", func(_ *testing.T, m *listenerv3.Listener) {
			m.Metadata = permissive(structpb.NewStringValue("2026-03-01T12:00:00Z"))
		}, want(func(l *resource.Listener) {
			l.Server.PermissiveUntil = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		})},
		{"metadata of others is theirs", func(_ *testing.T, m *listenerv3.Listener) {
			m.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"a": {}, "tulle": {}}}
		}, want(func(*resource.Listener) {})},
		{"the default filter chain may be the one", func(_ *testing.T, m *listenerv3.Listener) {
			m.DefaultFilterChain, m.FilterChains = m.GetFilterChains()[0], nil
		}, want(func(*resource.Listener) {})},
		{"a filter chain may have a name and match everything", func(_ *testing.T, m *listenerv3.Listener) {
			m.FilterChains[0].Name, m.FilterChains[0].FilterChainMatch = "all", &listenerv3.FilterChainMatch{}
		}, want(func(*resource.Listener) {})},
		{"routes may stand inline", func(t *testing.T, m *listenerv3.Listener) {
			manager := inboundManager(t)
			manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{}}
			m.FilterChains = serverListener(t, manager, downstream()).GetFilterChains()
		}, want(func(l *resource.Listener) { l.RouteName, l.Routes = "", &resource.RouteConfiguration{} })},
		{"optional filters that are unknown are skipped", func(t *testing.T, m *listenerv3.Listener) {
			manager := inboundManager(t)
			unknown := filter("x", packed(t, wrapperspb.Bool(true)))
			unknown.IsOptional = true
			manager.HttpFilters = append([]*hcmv3.HttpFilter{unknown}, manager.GetHttpFilters()...)
			m.FilterChains = serverListener(t, manager, downstream()).GetFilterChains()
		}, want(func(*resource.Listener) {})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := serverListener(t, inboundManager(t), downstream())
			tt.change(t, m)
			got, err := resource.Decode(resource.ListenerType, encode(t, m))
			if err != nil {
				t.Fatal(err)
			}
			access := got.(*resource.Listener).Server.Access
			if diff := cmp.Diff(&tt.want, got, plain, cmpopts.IgnoreFields(resource.Server{}, "Access")); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
			if access == nil || access.Decide(&resource.Caller{ID: web}, vote, nil).Allowed {
				t.Errorf("the listener's access rules are %v, want some that allow nothing", access)
			}
		})
	}
}

func TestAServersListenerMayAllowSomething(t *testing.T) {
	manager := inboundManager(t)
	manager.HttpFilters[0] = filter(resource.AccessDenyFilter, packed(t, denying(policies{"d": policy(anyMethod(), callers(payment))})))
	manager.HttpFilters[1] = filter(resource.AccessAllowFilter, packed(t, allowing(policies{"a": policy(anyMethod(), authenticated())})))
	l, err := resource.DecodeListener(encode(t, serverListener(t, manager, downstream())))
	if err != nil {
		t.Fatal(err)
	}
	if d := l.Server.Access.Decide(&resource.Caller{ID: web}, vote, nil); !d.Allowed || d.Policy != "a" {
		t.Errorf("got %+v", d)
	}
	if d := l.Server.Access.Decide(&resource.Caller{ID: payment}, vote, nil); d.Allowed || d.Policy != "d" {
		t.Errorf("got %+v", d)
	}
}

func TestServersListenersAreRefused(t *testing.T) {
	changed := func(change func(*listenerv3.Listener)) func(*testing.T) *listenerv3.Listener {
		return func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			m := serverListener(t, inboundManager(t), downstream())
			change(m)
			return m
		}
	}
	chain := func(change func(*listenerv3.FilterChain)) func(*testing.T) *listenerv3.Listener {
		return changed(func(m *listenerv3.Listener) { change(m.GetFilterChains()[0]) })
	}
	manager := func(change func(*hcmv3.HttpConnectionManager)) func(*testing.T) *listenerv3.Listener {
		return func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			m := inboundManager(t)
			change(m)
			return serverListener(t, m, downstream())
		}
	}
	tls := func(change func(*tlsv3.DownstreamTlsContext)) func(*testing.T) *listenerv3.Listener {
		return func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			m := downstream()
			change(m)
			return serverListener(t, inboundManager(t), m)
		}
	}
	const at, inManager = "filter_chains[0].", "filter_chains[0].filters[0].typed_config."
	const inTLS = "filter_chains[0].transport_socket.typed_config."
	for _, tt := range []struct {
		name string
		in   func(*testing.T) *listenerv3.Listener
		want string
	}{
		{"without an address", changed(func(m *listenerv3.Listener) { m.Address = nil }), `Listener "tulle/server/voting": address: is missing`},
		{"with an address of no socket", changed(func(m *listenerv3.Listener) { m.Address = &corev3.Address{} }), "address.socket_address: is missing"},
		{"of a pipe", changed(func(m *listenerv3.Listener) {
			m.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/x"}}}
		}), "address.pipe: is not supported"},
		{"without a host", changed(func(m *listenerv3.Listener) { m.Address = tcp("", 80) }), "address.socket_address.address: is empty"},
		{"of UDP", changed(func(m *listenerv3.Listener) { m.GetAddress().GetSocketAddress().Protocol = corev3.SocketAddress_UDP }), "address.socket_address.protocol: UDP is not supported"},
		{"with too high a port", changed(func(m *listenerv3.Listener) { m.Address = tcp("::", 65536) }), "address.socket_address.port_value: 65536 is no port"},
		{"with a permissive time that is no text", changed(func(m *listenerv3.Listener) { m.Metadata = permissive(structpb.NewBoolValue(true)) }), "metadata.filter_metadata.tulle.permissive_until: is no string"},
		{"with a permissive time that is none", changed(func(m *listenerv3.Listener) { m.Metadata = permissive(structpb.NewStringValue("always")) }), `permissive_until: "always" is no time`},
		{"with an empty permissive time", changed(func(m *listenerv3.Listener) { m.Metadata = permissive(structpb.NewStringValue("")) }), `permissive_until: "" is no time`},
		{"with listener filters", changed(func(m *listenerv3.Listener) { m.ListenerFilters = []*listenerv3.ListenerFilter{{}} }), "listener_filters: is not supported"},
		{"without filter chains", changed(func(m *listenerv3.Listener) { m.FilterChains = nil }), "filter_chains: must be one"},
		{"with two filter chains", changed(func(m *listenerv3.Listener) { m.FilterChains = append(m.FilterChains, m.GetFilterChains()...) }), "filter_chains: must be one"},
		{"with a filter chain and a default one", changed(func(m *listenerv3.Listener) { m.DefaultFilterChain = m.GetFilterChains()[0] }), "filter_chains: must be one"},
		{"for some connections only", chain(func(m *listenerv3.FilterChain) {
			m.FilterChainMatch = &listenerv3.FilterChainMatch{SourcePorts: []uint32{1}}
		}), at + "filter_chain_match.source_ports: is not supported"},
		{"in plain text", chain(func(m *listenerv3.FilterChain) { m.TransportSocket = nil }), at + "transport_socket: is missing: connections would be made in plain text"},
		{"with another transport socket", chain(func(m *listenerv3.FilterChain) { m.TransportSocket.Name = "raw_buffer" }), at + `transport_socket.name: "raw_buffer" is not supported`},
		{"with a transport socket of nothing", chain(func(m *listenerv3.FilterChain) { m.TransportSocket.ConfigType = nil }), at + "transport_socket.typed_config: has the type"},
		{"without filters", chain(func(m *listenerv3.FilterChain) { m.Filters = nil }), at + "filters: must be one"},
		{"with a filter without a name", chain(func(m *listenerv3.FilterChain) { m.GetFilters()[0].Name = "" }), at + "filters[0].name: is empty"},
		{"with another filter", chain(func(m *listenerv3.FilterChain) { m.GetFilters()[0].ConfigType = nil }), at + "filters[0].typed_config: has the type"},
		{"with TLS of a client", func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			return serverListener(t, inboundManager(t), &tlsv3.UpstreamTlsContext{CommonTlsContext: commonTLS()})
		}, "must be the message DownstreamTlsContext"},
		{"without client certificates", tls(func(m *tlsv3.DownstreamTlsContext) { m.RequireClientCertificate = nil }), inTLS + "require_client_certificate: must be true"},
		{"with client certificates for who likes", tls(func(m *tlsv3.DownstreamTlsContext) { m.RequireClientCertificate = wrapperspb.Bool(false) }), inTLS + "require_client_certificate: must be true"},
		{"with SNI required", tls(func(m *tlsv3.DownstreamTlsContext) { m.RequireSni = wrapperspb.Bool(true) }), inTLS + "require_sni: is not supported"},
		{"without TLS settings", tls(func(m *tlsv3.DownstreamTlsContext) { m.CommonTlsContext = nil }), inTLS + "common_tls_context: is missing"},
		{"without a validation of certificates", tls(func(m *tlsv3.DownstreamTlsContext) { m.CommonTlsContext.ValidationContextType = nil }), inTLS + "common_tls_context.validation_context: is missing"},
		{"with callers named in TLS", tls(func(m *tlsv3.DownstreamTlsContext) { m.CommonTlsContext = commonTLS(text(web)) }), inTLS + "common_tls_context.validation_context.match_subject_alt_names: is of a client"},
		{"without routes", manager(func(m *hcmv3.HttpConnectionManager) { m.RouteSpecifier = nil }), inManager[:len(inManager)-1] + ": has no routes"},
		{"with routes from the server itself, which is the same", manager(func(m *hcmv3.HttpConnectionManager) {
			m.GetRds().ConfigSource = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}}
		}), inManager + "rds.config_source: must be ads in a server's listener"},
		{"with a timeout", manager(func(m *hcmv3.HttpConnectionManager) { m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{} }), inManager + "common_http_protocol_options: is of a client"},
		{"with trusted hops (gRFC A41)", manager(func(m *hcmv3.HttpConnectionManager) { m.XffNumTrustedHops = 1 }), inManager + "xff_num_trusted_hops"},
		{"without access filters", manager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = m.GetHttpFilters()[2:] }), inManager + `http_filters: have no "tulle.access.deny" and no "tulle.access.allow": everybody could call`},
		{"without the allow filter", manager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = slices.Delete(m.GetHttpFilters(), 1, 2)
		}), `has "tulle.access.deny" and not "tulle.access.allow"`},
		{"without the deny filter", manager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = m.GetHttpFilters()[1:] }), `has "tulle.access.allow" and not "tulle.access.deny"`},
		{"without a router", manager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = m.GetHttpFilters()[:2] }), "http_filters: has no router"},
		{"with an access filter behind the router", manager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters[1], m.HttpFilters[2] = m.GetHttpFilters()[2], m.GetHttpFilters()[1]
		}), `http_filters[2]: "tulle.access.allow" stands behind the router`},
		{"with a disabled access filter", manager(func(m *hcmv3.HttpConnectionManager) { m.GetHttpFilters()[1].Disabled = true }), "http_filters[1].disabled: is not supported"},
		{"with an access filter of another name", manager(func(m *hcmv3.HttpConnectionManager) { m.GetHttpFilters()[0].Name = "rbac" }), `http_filters[0]: "rbac": access filters must be named`},
		{"with access filters that took each other's place", manager(func(m *hcmv3.HttpConnectionManager) {
			m.GetHttpFilters()[0].Name, m.GetHttpFilters()[1].Name = resource.AccessAllowFilter, resource.AccessDenyFilter
		}), "http_filters[0].typed_config.rules.action: DENY is not evaluated here"},
		{"with an access filter without rules", func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			m := inboundManager(t)
			m.HttpFilters[0] = filter(resource.AccessDenyFilter, packed(t, &httprbacv3.RBAC{}))
			return serverListener(t, m, downstream())
		}, "http_filters[0].typed_config.rules: are missing: nothing would be enforced"},
		{"with an access filter of a route's type", func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			m := inboundManager(t)
			m.HttpFilters[0] = filter(resource.AccessDenyFilter, packed(t, &httprbacv3.RBACPerRoute{}))
			return serverListener(t, m, downstream())
		}, "http_filters[0].typed_config: has the type"},
		{"with a fault filter", func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			m := inboundManager(t)
			m.HttpFilters = append([]*hcmv3.HttpFilter{filter(resource.FaultFilter, packed(t, &faultv3.HTTPFault{}))}, m.GetHttpFilters()...)
			return serverListener(t, m, downstream())
		}, "a server injects no faults"},
		{"with an unknown filter", func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			m := inboundManager(t)
			m.HttpFilters = append([]*hcmv3.HttpFilter{filter("x", packed(t, wrapperspb.Bool(true)))}, m.GetHttpFilters()...)
			return serverListener(t, m, downstream())
		}, `no filter of type "type.googleapis.com/google.protobuf.BoolValue" is known`},
		{"with a router that is none", func(t *testing.T) *listenerv3.Listener {
			t.Helper()
			m := inboundManager(t)
			m.HttpFilters[2] = filter("router", packed(t, &routerv3.Router{}))
			m.HttpFilters[2].GetTypedConfig().Value = []byte{0xff}
			return serverListener(t, m, downstream())
		}, "http_filters[2].typed_config: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.ListenerType, tt.in(t), tt.want)
		})
	}
}
