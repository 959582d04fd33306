// Package accesstest makes, for tests, what a server enforces: from a few words,
// by way of the resources that xdsserver would send.
//
//	in := accesstest.Inbound(t, accesstest.Rules{
//		Allow: map[string]accesstest.Rule{"default/voting/allow/0": {From: web, Method: "/voting.v1.Voting/Vote"}},
//	})
//	in.Access("/voting.v1.Voting/Vote").Decide(&resource.Caller{ID: web}, "/voting.v1.Voting/Vote", nil)
//
// It writes no manifest: how those become resources is xdsserver's to test.
package accesstest

import (
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Rule is one policy of an RBAC filter. The zero Rule holds for every call.
type Rule struct {
	// From is a caller's SPIFFE id, or one that ends in '*' for all below it;
	// empty is anybody, also without an identity.
	From string
	// Method is "/package.Service/Method", or "/package.Service/*"; empty is any.
	Method string
	// Header is the name of metadata that must be there; empty asks for none.
	Header string
}

// Anyone is a From for all that have an identity.
const Anyone = "*"

// Rules are those of a server, each with its name.
type Rules struct {
	Allow, Deny map[string]Rule
	// ShadowAllow and ShadowDeny are on trial; nil for nothing.
	ShadowAllow, ShadowDeny map[string]Rule
}

// Inbound returns what a server enforces by the rules.
func Inbound(tb testing.TB, r Rules) *resource.Inbound {
	tb.Helper()
	route := &routev3.Route{
		Name:   "access",
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
		TypedPerFilterConfig: map[string]*anypb.Any{
			resource.AccessDenyFilter:  filter(tb, rbacv3.RBAC_DENY, r.Deny, r.ShadowDeny),
			resource.AccessAllowFilter: filter(tb, rbacv3.RBAC_ALLOW, r.Allow, r.ShadowAllow),
		},
	}
	encoded, err := proto.Marshal(&routev3.RouteConfiguration{
		Name:         "tulle/server/voting",
		VirtualHosts: []*routev3.VirtualHost{{Name: "inbound", Domains: []string{"*"}, Routes: []*routev3.Route{route}}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	routes, err := resource.DecodeRouteConfiguration(encoded)
	if err != nil {
		tb.Fatal(err)
	}
	return &resource.Inbound{
		Listener:    &resource.Listener{Name: "tulle/server/voting", Server: &resource.Server{}},
		VirtualHost: routes.VirtualHosts[0],
	}
}

func filter(tb testing.TB, action rbacv3.RBAC_Action, enforced, shadow map[string]Rule) *anypb.Any {
	tb.Helper()
	m := &httprbacv3.RBAC{Rules: rules(action, enforced)}
	if shadow != nil {
		m.ShadowRules = rules(action, shadow)
	}
	packed, err := anypb.New(&httprbacv3.RBACPerRoute{Rbac: m})
	if err != nil {
		tb.Fatal(err)
	}
	return packed
}

func rules(action rbacv3.RBAC_Action, all map[string]Rule) *rbacv3.RBAC {
	m := &rbacv3.RBAC{Action: action, Policies: map[string]*rbacv3.Policy{}}
	for name, r := range all {
		m.Policies[name] = &rbacv3.Policy{
			Permissions: []*rbacv3.Permission{r.permission()},
			Principals:  []*rbacv3.Principal{r.principal()},
		}
	}
	return m
}

func (r Rule) permission() *rbacv3.Permission {
	var all []*rbacv3.Permission
	if r.Method != "" {
		all = append(all, &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{
			UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: text(r.Method)}},
		}})
	}
	if r.Header != "" {
		all = append(all, &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: &routev3.HeaderMatcher{
			Name:                 r.Header,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}}})
	}
	if len(all) == 0 {
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: all}}}
}

func (r Rule) principal() *rbacv3.Principal {
	if r.From == "" {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
	}
	who := &rbacv3.Principal_Authenticated{}
	if r.From != Anyone {
		who.PrincipalName = text(r.From)
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: who}}
}

// text is exact, or where it ends in '*' a prefix.
func text(s string) *matcherv3.StringMatcher {
	if prefix, ok := strings.CutSuffix(s, "*"); ok {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}
