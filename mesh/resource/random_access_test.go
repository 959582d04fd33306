package resource_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// accessRule is a policy as gRPC's authorization policies write it (gRFC A43): a
// '*' at the end of a text makes it a prefix, "*" alone is anything. Nobody named
// is anybody, no path is any.
type accessRule struct {
	name       string
	principals []string
	paths      []string
	headers    []accessHeader // all of them
}

type accessHeader struct {
	key    string
	values []string // one of them
}

// accessCall is a call to decide.
type accessCall struct {
	id, method string
	md         metadata.MD
}

// The pools are small, so that random rules and random calls meet.
var (
	poolIDs = []string{
		web, payment, foreign, "spiffe://tulle.local/ns/shop/svc/cart", "spiffe://tulle.local/ns/shop2/svc/cart",
		"spiffe://tulle.local/x", "spiffe://tulle.local", "spiffe://tulle.local.evil.org/ns/shop/svc/cart",
	}
	poolBelow = []string{
		"*", "spiffe://*", "spiffe://tulle.local/*", "spiffe://tulle.local/ns/*", "spiffe://tulle.local/ns/shop/*",
		"spiffe://tulle.local/ns/shop/svc/*", "spiffe://other.org/*", "spiffe://tulle.local/ns/shop/svc/cart/*",
	}
	poolCalled   = []string{"/shop.Cart/Add", "/shop.Cart/Remove", "/shop.Cart2/Add", "/shop.Pay/Charge", vote, "/v/m"}
	poolServices = []string{"*", "/*", "/shop.Cart/*", "/shop.Pay/*", "/voting.v1.Voting/*", "/v/*", "/shop/*"}
	poolOdd      = []string{"", "/", "/shop.Cart/", "shop.Cart/Add", "//", "/a/shop.Cart/Add", "/shop.Cart//Add", "//Add"}
	poolKeys     = []string{"x-a", "x-b", "X-C"}
	// poolPaths is what no look-up decides.
	poolPaths = []func() *matcherv3.StringMatcher{
		func() *matcherv3.StringMatcher { return text("/shop.*") },
		func() *matcherv3.StringMatcher { return text("/shop.Cart/A*") },
		func() *matcherv3.StringMatcher { return text("/shop.Cart/*") },
		func() *matcherv3.StringMatcher { return text("/*") },
		func() *matcherv3.StringMatcher { return text("/shop.Cart/Add/*") },
		func() *matcherv3.StringMatcher { return regex("/shop\\.(Cart|Pay)/.*") },
		func() *matcherv3.StringMatcher { return regex("/shop") },
	}
	poolContents = []string{"", "a", "b", "a,b", "a,a", ",", "ab", ",a", "a,"}
)

func randomRule(r *rand.Rand, name string) accessRule {
	rule := accessRule{name: name}
	for range r.IntN(4) {
		rule.principals = append(rule.principals, pick(r, slices.Concat(poolIDs, poolBelow)))
	}
	for range r.IntN(4) {
		rule.paths = append(rule.paths, pick(r, slices.Concat(poolCalled, poolServices)))
	}
	if chance(r, 2) {
		for range r.IntN(3) {
			h := accessHeader{key: pick(r, poolKeys)}
			for range 1 + r.IntN(3) {
				h.values = append(h.values, pick(r, append(poolContents, "*")))
			}
			rule.headers = append(rule.headers, h)
		}
	}
	return rule
}

// randomRuleList returns up to most rules, and at least one.
func randomRuleList(r *rand.Rand, kind string, most int) []accessRule {
	list := make([]accessRule, 1+r.IntN(most))
	for i := range list {
		list[i] = randomRule(r, fmt.Sprintf("shop/%d/%s/0", i, kind))
	}
	return list
}

func randomAccessCall(r *rand.Rand) accessCall {
	c := accessCall{method: pick(r, poolCalled), md: metadata.MD{}}
	if !chance(r, 5) {
		c.id = pick(r, poolIDs)
	}
	if chance(r, 20) {
		c.method = pick(r, poolOdd)
	}
	for range r.IntN(5) {
		c.md.Append(pick(r, poolKeys), pick(r, poolContents))
	}
	return c
}

// matches is the rule read anew for each call, as gRFC A43 has it.
func (a *accessRule) matches(c accessCall) bool {
	is := func(pattern, s string) bool {
		prefix, ok := strings.CutSuffix(pattern, "*")
		return ok && s != "" && strings.HasPrefix(s, prefix) || pattern == s
	}
	by := len(a.principals) == 0 || c.id != "" && slices.ContainsFunc(a.principals, func(p string) bool { return is(p, c.id) })
	at := len(a.paths) == 0 || slices.ContainsFunc(a.paths, func(p string) bool { return is(p, c.method) })
	lacks := func(h accessHeader) bool {
		values, ok := c.md[strings.ToLower(h.key)]
		return !ok || !slices.ContainsFunc(h.values, func(v string) bool { return is(v, strings.Join(values, ",")) })
	}
	return by && at && !slices.ContainsFunc(a.headers, lacks)
}

// encodeRules writes the rules as xDS policies, each in one of the ways there are
// to say the same.
func encodeRules(r *rand.Rand, list []accessRule) policies {
	out := policies{}
	for _, rule := range list {
		p := &rbacv3.Policy{}
		p.Permissions = encodePermissions(r, rule)
		for _, principal := range rule.principals {
			p.Principals = append(p.Principals, encodePrincipal(principal))
		}
		if len(p.GetPrincipals()) == 0 {
			p.Principals = []*rbacv3.Principal{anybody()}
		} else if chance(r, 2) {
			p.Principals = []*rbacv3.Principal{{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: p.GetPrincipals()}}}}
		}
		out[rule.name] = p
	}
	return out
}

func encodePrincipal(s string) *rbacv3.Principal {
	if s == "*" {
		return authenticated()
	}
	return named(text(s))
}

func encodePermissions(r *rand.Rand, rule accessRule) []*rbacv3.Permission {
	var paths, headers []*rbacv3.Permission
	for _, s := range rule.paths {
		if s == "*" {
			paths = append(paths, anyMethod())
			continue
		}
		paths = append(paths, method(s))
	}
	if len(paths) > 0 && chance(r, 4) {
		paths = []*rbacv3.Permission{allOf(oneOf(paths...), oneOf(widened(rule.paths)...))}
	}
	for _, h := range rule.headers {
		var values []*rbacv3.Permission
		for _, v := range h.values {
			values = append(values, encodeHeader(r, h.key, v))
		}
		headers = append(headers, oneOf(values...))
	}
	switch {
	case len(paths) == 0 && len(headers) == 0:
		return []*rbacv3.Permission{anyMethod()}
	case len(headers) == 0:
		if chance(r, 2) {
			return paths
		}
		return []*rbacv3.Permission{oneOf(paths...)}
	case len(paths) == 0:
		return []*rbacv3.Permission{allOf(headers...)}
	case chance(r, 2):
		return []*rbacv3.Permission{allOf(append(headers, oneOf(paths...))...)}
	default: // each path with the headers
		var list []*rbacv3.Permission
		for _, path := range paths {
			list = append(list, allOf(path, allOf(headers...)))
		}
		return list
	}
}

// widened are the services of paths, and one that none of them may be in: they and
// the paths together are the paths.
func widened(paths []string) []*rbacv3.Permission {
	list := []*rbacv3.Permission{method("/nowhere.Service/*")}
	for _, s := range paths {
		list = append(list, method(cmp.Or(s[:strings.LastIndexByte(s, '/')+1], "/")+"*"))
	}
	return list
}

func encodeHeader(r *rand.Rand, key, value string) *rbacv3.Permission {
	switch {
	case value == "*":
		return present(key)
	case chance(r, 2):
		return equals(key, value)
	default:
		return withHeader(&routev3.HeaderMatcher{Name: key, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: text(value)}})
	}
}

// randomAccess is the configuration of a filter of either action, now and then
// with something in it that is to be refused.
func randomAccess(r *rand.Rand, action rbacv3.RBAC_Action) *httprbacv3.RBAC {
	m := &httprbacv3.RBAC{Rules: rules(action, nil)}
	if !chance(r, 4) {
		m.Rules.Policies = encodeRules(r, randomRuleList(r, strings.ToLower(action.String()), 3))
	}
	if chance(r, 4) {
		m.ShadowRules = rules(action, encodeRules(r, randomRuleList(r, "shadow", 2)))
	}
	if chance(r, 4) {
		mutate(r, m)
	}
	return m
}

func randomInboundRoute(t testing.TB, r *rand.Rand) *routev3.Route {
	t.Helper()
	var deny, allow *httprbacv3.RBAC
	if !chance(r, 10) {
		deny, allow = randomAccess(r, rbacv3.RBAC_DENY), randomAccess(r, rbacv3.RBAC_ALLOW)
	}
	route := inboundRoute(t, pick(r, poolPrefixes), deny, allow)
	if chance(r, 3) {
		if route.TypedPerFilterConfig == nil {
			route.TypedPerFilterConfig = map[string]*anypb.Any{}
		}
		maps.Copy(route.GetTypedPerFilterConfig(), saying(t, randomAdmission(r)))
	}
	return route
}

func randomServerListener(t testing.TB, r *rand.Rand) *listenerv3.Listener {
	t.Helper()
	m := &hcmv3.HttpConnectionManager{RouteSpecifier: byRDS("fixed"), HttpFilters: []*hcmv3.HttpFilter{
		filter(resource.AccessDenyFilter, packed(t, randomAccess(r, rbacv3.RBAC_DENY))),
		filter(resource.AccessAllowFilter, packed(t, randomAccess(r, rbacv3.RBAC_ALLOW))),
		filter("router", packed(t, &routerv3.Router{})),
	}}
	if chance(r, 4) {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes(randomInboundRoute(t, r))}
	}
	tls := downstream()
	switch r.IntN(4) {
	case 0:
		mutate(r, m)
	case 1:
		mutate(r, tls)
	}
	l := serverListener(t, m, tls)
	l.Name = "subject"
	if chance(r, 4) {
		l.Metadata = permissive(structpb.NewStringValue(pick(r, []string{"2026-03-01T12:00:00Z", "soon", ""})))
	}
	return l
}
