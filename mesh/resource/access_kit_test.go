package resource_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	web     = "spiffe://tulle.local/ns/default/svc/web"
	payment = "spiffe://tulle.local/ns/shop/svc/payment"
	foreign = "spiffe://other.org/ns/default/svc/web"
)

// policies of an RBAC message, by name.
type policies map[string]*rbacv3.Policy

func rules(action rbacv3.RBAC_Action, p policies) *rbacv3.RBAC {
	return &rbacv3.RBAC{Action: action, Policies: p}
}

// denying and allowing are the configurations of the two filters.
func denying(p policies) *httprbacv3.RBAC {
	return &httprbacv3.RBAC{Rules: rules(rbacv3.RBAC_DENY, p)}
}

func allowing(p policies) *httprbacv3.RBAC {
	return &httprbacv3.RBAC{Rules: rules(rbacv3.RBAC_ALLOW, p)}
}

func policy(permission *rbacv3.Permission, principal *rbacv3.Principal) *rbacv3.Policy {
	return &rbacv3.Policy{Permissions: []*rbacv3.Permission{permission}, Principals: []*rbacv3.Principal{principal}}
}

func anyMethod() *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
}

// text is exact, or where it ends in '*' a prefix.
func text(s string) *matcherv3.StringMatcher {
	if prefix, ok := strings.CutSuffix(s, "*"); ok {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func method(s string) *rbacv3.Permission { return urlPath(text(s)) }

func urlPath(m *matcherv3.StringMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{
		UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: m}},
	}}
}

func withHeader(m *routev3.HeaderMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: m}}
}

func equals(name, value string) *rbacv3.Permission {
	return withHeader(&routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: value}})
}

func present(name string) *rbacv3.Permission {
	return withHeader(&routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}})
}

func allOf(list ...*rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: list}}}
}

func oneOf(list ...*rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: list}}}
}

func anybody() *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
}

// authenticated is anyone with an identity.
func authenticated() *rbacv3.Principal { return named(nil) }

func named(m *matcherv3.StringMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: &rbacv3.Principal_Authenticated{PrincipalName: m}}}
}

func callers(ids ...string) *rbacv3.Principal {
	set := &rbacv3.Principal_Set{}
	for _, id := range ids {
		set.Ids = append(set.Ids, named(text(id)))
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: set}}
}

// inboundRoute is a server's route with rules of its own; nil leaves them out.
func inboundRoute(t testing.TB, prefix string, deny, allow *httprbacv3.RBAC) *routev3.Route {
	t.Helper()
	r := &routev3.Route{
		Name:                 "access",
		Match:                byPrefix(prefix),
		Action:               &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
		TypedPerFilterConfig: map[string]*anypb.Any{},
	}
	for name, m := range map[string]*httprbacv3.RBAC{resource.AccessDenyFilter: deny, resource.AccessAllowFilter: allow} {
		if m != nil {
			r.TypedPerFilterConfig[name] = packed(t, &httprbacv3.RBACPerRoute{Rbac: m})
		}
	}
	return r
}

// deciding compiles the rules of both filters.
func deciding(t testing.TB, deny, allow *httprbacv3.RBAC) *resource.Access {
	t.Helper()
	c, err := resource.DecodeRouteConfiguration(encode(t, routes(inboundRoute(t, "/", deny, allow))))
	if err != nil {
		t.Fatal(err)
	}
	return c.VirtualHosts[0].Routes[0].Access
}

// provider and commonTLS are what every transport socket of the mesh has.
func provider() *tlsv3.CertificateProviderPluginInstance {
	return &tlsv3.CertificateProviderPluginInstance{InstanceName: resource.CertificateProvider}
}

func commonTLS(ids ...*matcherv3.StringMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsCertificateProviderInstance: provider(),
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			CaCertificateProviderInstance: provider(),
			MatchSubjectAltNames:          ids,
		}},
	}
}

func socket(t testing.TB, m proto.Message) *corev3.TransportSocket {
	t.Helper()
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(t, m)},
	}
}

func downstream() *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: commonTLS(), RequireClientCertificate: wrapperspb.Bool(true)}
}

// accessFilters are the filters of a server, which allow nothing.
func accessFilters(t testing.TB) []*hcmv3.HttpFilter {
	t.Helper()
	return []*hcmv3.HttpFilter{
		filter(resource.AccessDenyFilter, packed(t, denying(nil))),
		filter(resource.AccessAllowFilter, packed(t, allowing(nil))),
		filter("router", packed(t, &routerv3.Router{})),
	}
}

// serverListener is what the servers of voting get.
func serverListener(t testing.TB, m *hcmv3.HttpConnectionManager, tls proto.Message) *listenerv3.Listener {
	t.Helper()
	return &listenerv3.Listener{
		Name:    "tulle/server/voting",
		Address: tcp("0.0.0.0", 0),
		FilterChains: []*listenerv3.FilterChain{{
			TransportSocket: socket(t, tls),
			Filters: []*listenerv3.Filter{{
				Name:       "http",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, m)},
			}},
		}},
	}
}
