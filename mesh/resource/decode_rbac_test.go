package resource_test

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func regex(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: s}}}
}

func caseless(m *matcherv3.StringMatcher) *matcherv3.StringMatcher {
	m.IgnoreCase = true
	return m
}

// having is m with a field set to an empty message, whose type no import is worth.
func having[M proto.Message](field protoreflect.Name, m M) M {
	r := m.ProtoReflect()
	r.Mutable(r.Descriptor().Fields().ByName(field))
	return m
}

// deepOr is a permission in n or_rules.
func deepOr(n int) *rbacv3.Permission {
	m := anyMethod()
	for range n {
		m = oneOf(m)
	}
	return m
}

func not(m *rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: m}}
}

func allCallers(ids ...*rbacv3.Principal) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: ids}}}
}

func notCaller(m *rbacv3.Principal) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: m}}
}

// many is n conditions on headers of which one must hold.
func many(name string, n int) *rbacv3.Permission {
	var list []*rbacv3.Permission
	for i := range n {
		list = append(list, equals(name, fmt.Sprint(i)))
	}
	return oneOf(list...)
}

func TestPoliciesThatWouldNotBeEvaluatedAreRefused(t *testing.T) {
	permission := func(m *rbacv3.Permission) *httprbacv3.RBAC {
		return allowing(policies{"p": policy(m, anybody())})
	}
	principal := func(m *rbacv3.Principal) *httprbacv3.RBAC {
		return allowing(policies{"p": policy(anyMethod(), m)})
	}
	changed := func(change func(*rbacv3.Policy)) *httprbacv3.RBAC {
		p := policy(anyMethod(), anybody())
		change(p)
		return allowing(policies{"p": p})
	}
	matching := func(m *routev3.HeaderMatcher) *httprbacv3.RBAC { return permission(allOf(method(vote), withHeader(m))) }
	cidr := &corev3.CidrRange{AddressPrefix: "10.0.0.0"}
	const at, header = `policies["p"].permissions[0].`, `policies["p"].permissions[0].and_rules.rules[1].header`
	for _, tt := range []struct {
		name  string
		allow *httprbacv3.RBAC
		want  string
	}{
		{"no rules", &httprbacv3.RBAC{}, `["tulle.access.allow"].rbac.rules: are missing: nothing would be enforced`},
		{"rules on trial alone", &httprbacv3.RBAC{ShadowRules: rules(rbacv3.RBAC_ALLOW, nil)}, "rbac.rules: are missing"},
		{"a tree of matchers", having("matcher", allowing(nil)), "rbac.matcher: is not evaluated here"},
		{"a tree of matchers on trial", having("shadow_matcher", allowing(nil)), "rbac.shadow_matcher: is not evaluated here"},
		{"the action LOG", &httprbacv3.RBAC{Rules: rules(rbacv3.RBAC_LOG, nil)}, "rbac.rules.action: LOG is not evaluated here; this filter's is ALLOW"},
		{"an unknown action", &httprbacv3.RBAC{Rules: rules(7, nil)}, "rbac.rules.action: 7 is not evaluated here"},
		{"the other filter's action", denying(nil), "rbac.rules.action: DENY is not evaluated here; this filter's is ALLOW"},
		{
			"what is refused, on trial",
			&httprbacv3.RBAC{Rules: rules(rbacv3.RBAC_ALLOW, nil), ShadowRules: rules(rbacv3.RBAC_LOG, nil)},
			"rbac.shadow_rules.action: LOG",
		},
		{
			"audit logging",
			&httprbacv3.RBAC{Rules: &rbacv3.RBAC{AuditLoggingOptions: &rbacv3.RBAC_AuditLoggingOptions{}}},
			"rbac.rules.audit_logging_options: are not done here",
		},
		{"no name", allowing(policies{"": policy(anyMethod(), anybody())}), `policies[""]: has no name`},
		{"no permissions", changed(func(p *rbacv3.Policy) { p.Permissions = nil }), `policies["p"].permissions: is empty`},
		{"no principals", changed(func(p *rbacv3.Policy) { p.Principals = nil }), `policies["p"].principals: is empty`},
		{"a condition", changed(func(p *rbacv3.Policy) { having("condition", p) }), `policies["p"].condition: is not evaluated here`},
		{"a checked condition", changed(func(p *rbacv3.Policy) { having("checked_condition", p) }), `policies["p"].checked_condition: is not evaluated`},
		{"an empty permission", permission(&rbacv3.Permission{}), at[:len(at)-1] + ": has no rule that is evaluated here"},
		{"any of false", permission(&rbacv3.Permission{Rule: &rbacv3.Permission_Any{}}), at + "any: must be true"},
		{"no permissions to choose from", permission(oneOf()), at + "or_rules.rules: is empty"},
		{"no permissions to combine", permission(allOf()), at + "and_rules.rules: is empty"},
		{"metadata of Envoy", permission(&rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: &matcherv3.MetadataMatcher{}}}), at + "metadata: is not evaluated here"},
		{"the server's name", permission(&rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: text("a")}}), at + "requested_server_name: is not evaluated"},
		{"the address called", permission(&rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: cidr}}), at + "destination_ip: is not evaluated"},
		{"the port called", permission(&rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: 1}}), at + "destination_port: is not evaluated"},
		{"an extension", permission(&rbacv3.Permission{Rule: &rbacv3.Permission_Matcher{Matcher: &corev3.TypedExtensionConfig{}}}), at + "matcher: is not evaluated"},
		{"a method by no pattern", permission(urlPath(nil)), at + "url_path.path: has no pattern"},
		{"a method in any case", permission(urlPath(caseless(text(vote)))), at + "url_path.path.ignore_case: is not evaluated here"},
		{"a method without a slash", permission(method("Vote")), at + `url_path.path.exact: "Vote" is no method`},
		{"a method with a path before it", permission(method("/a" + vote)), at + `url_path.path.exact: "/a/voting.v1.Voting/Vote" is no method`},
		{"a prefix of nothing", permission(method("*")), at + `url_path.path.prefix: "" does not begin with a slash`},
		{"a header of no kind", matching(&routev3.HeaderMatcher{Name: "x"}), header + `: does not say what to match "x" by`},
		{"a header that is read as empty when missing", matching(&routev3.HeaderMatcher{Name: "x", TreatMissingHeaderAsEmpty: true}), header + ".treat_missing_header_as_empty"},
		{"a header without a name", matching(present("").GetHeader()), header + ".name: is empty"},
		{"a binary header", matching(present("x-bin").GetHeader()), header + `.name: "x-bin" is none`},
		{"a header of gRPC's own", matching(present("Grpc-Timeout").GetHeader()), header + `.name: "grpc-timeout" is none`},
		{"the scheme", matching(present(":scheme").GetHeader()), header + `.name: ":scheme" is none`},
		{"the path", matching(present(":path").GetHeader()), header + `.name: ":path" is none`},
		{"the host", matching(present("Host").GetHeader()), header + `.name: "host" is none`},
		{"an empty principal", principal(&rbacv3.Principal{}), `policies["p"].principals[0]: has no identifier that is evaluated here`},
		{"any of false, of callers", principal(&rbacv3.Principal{Identifier: &rbacv3.Principal_Any{}}), "principals[0].any: must be true"},
		{"no callers to choose from", principal(callers()), "principals[0].or_ids.ids: is empty"},
		{"NOT of what is not evaluated", permission(oneOf(anyMethod(), allOf(anyMethod(), not(&rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: 1}})))), at + "or_rules.rules[1].and_rules.rules[1].not_rule.destination_port: is not evaluated"},
		{"NOT of nothing", permission(not(&rbacv3.Permission{})), at + "not_rule: has no rule"},
		{"a method by an expression that is none", permission(urlPath(regex("("))), at + "url_path.path.safe_regex.regex: "},
		{"a method by its end", permission(urlPath(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "x"}})), at + "url_path.path: has no pattern"},
		{"a header by an expression that is none", matching(&routev3.HeaderMatcher{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: &matcherv3.RegexMatcher{Regex: "("}}}), header + ".safe_regex_match.regex: "},
		{"a header by a prefix of nothing", matching(&routev3.HeaderMatcher{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_PrefixMatch{}}), header + ".prefix_match: is empty"},
		{"NOT, of callers", principal(&rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: anybody()}}), `policies["p"].principals[0]: has no identifier`},
		{"two callers at one time", principal(allCallers(callers(web), callers(payment))), "principals[0].and_ids.ids: hold 2 identifiers without a NOT"},
		{"exceptions alone", principal(allCallers(notCaller(callers(web)))), "principals[0].and_ids.ids: hold 0 identifiers without a NOT"},
		{"an exception that is not evaluated", principal(allCallers(anybody(), notCaller(named(regex("a"))))), "principals[0].and_ids.ids[1].authenticated.principal_name.safe_regex: is not evaluated here"},
		{"exceptions among callers to choose from", principal(&rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: []*rbacv3.Principal{allCallers(anybody())}}}}), "principals[0].or_ids.ids[0]: has no identifier"},
		{"the caller's address", principal(&rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: cidr}}), "principals[0].direct_remote_ip: is not evaluated"},
		{"the caller's address behind proxies", principal(&rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: cidr}}), "principals[0].remote_ip: is not evaluated"},
		{"a header as a caller", principal(&rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: present("x").GetHeader()}}), "principals[0].header: is not evaluated"},
		{"a path as a caller", principal(&rbacv3.Principal{Identifier: &rbacv3.Principal_UrlPath{UrlPath: &matcherv3.PathMatcher{}}}), "principals[0].url_path: is not evaluated"},
		{"metadata as a caller", principal(&rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: &matcherv3.MetadataMatcher{}}}), "principals[0].metadata: is not evaluated"},
		{"a caller by regex", principal(named(regex("spiffe://.*"))), "principals[0].authenticated.principal_name.safe_regex: is not evaluated here"},
		{"a caller by no pattern", principal(named(&matcherv3.StringMatcher{})), "principals[0].authenticated.principal_name: has no pattern"},
		{"a caller by the end of its id", principal(named(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "web"}})), "principal_name.suffix: is not evaluated here"},
		{"a caller without a scheme", principal(callers("web")), `principals[0].or_ids.ids[0].authenticated.principal_name.exact: "web" is no SPIFFE id`},
		{"a caller of the empty name, which is one without a certificate", principal(callers("")), `principal_name.exact: "" is no SPIFFE id`},
		{"a caller whose id ends in a slash", principal(callers(web + "/")), `principal_name.exact: "` + web + `/": "" is no segment`},
		{"a caller of no trust domain", principal(callers("spiffe:///ns")), `"" is no trust domain`},
		{"a caller of an upper-case trust domain", principal(callers("spiffe://TULLE/ns")), `"TULLE" is no trust domain`},
		{"a caller whose id climbs", principal(callers("spiffe://tulle.local/ns/../x")), `".." is no segment`},
		{"a prefix in the middle of a segment", principal(callers("spiffe://tulle.local/ns/sh*")), `prefix: "spiffe://tulle.local/ns/sh" must end in '/'`},
		{"a trust domain without its slash", principal(callers("spiffe://tulle.local*")), `prefix: "spiffe://tulle.local" must end in '/'`},
		{"a prefix that is no id", principal(callers("a/*")), `prefix: "a" is no SPIFFE id`},
		{"permissions nested 17 deep", permission(deepOr(17)), "is nested deeper than 16"},
		{"permissions that multiply", permission(allOf(many("x-a", 40), many("x-b", 40))), "and_rules.rules[1]: comes to 1600 conditions with those before it, at most 1000"},
		{"1,001 conditions", permission(many("x-a", 1_001)), "or_rules.rules: come to 1001 conditions, at most 1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.RouteType, routes(inboundRoute(t, "/", denying(nil), tt.allow)), tt.want)
		})
	}
}

func TestAccessRulesOfRoutesAreRefused(t *testing.T) {
	changed := func(change func(*routev3.Route)) *routev3.RouteConfiguration {
		r := inboundRoute(t, "/", denying(nil), allowing(nil))
		change(r)
		return routes(r)
	}
	override := func(name string, config *anypb.Any) *routev3.RouteConfiguration {
		return changed(func(r *routev3.Route) { r.TypedPerFilterConfig[name] = config })
	}
	const at = "virtual_hosts[0].routes[0]."
	for _, tt := range []struct {
		name string
		in   *routev3.RouteConfiguration
		want string
	}{
		{"of one filter only", routes(inboundRoute(t, "/", nil, allowing(nil))), at + `typed_per_filter_config: has "tulle.access.allow" and not "tulle.access.deny"`},
		{"of the other filter only", routes(inboundRoute(t, "/", denying(nil), nil)), at + `typed_per_filter_config: has "tulle.access.deny" and not "tulle.access.allow"`},
		{"of a filter of another name", override("rbac", packed(t, &httprbacv3.RBACPerRoute{})), at + `typed_per_filter_config: "rbac": access filters must be named`},
		{"that switch a filter off", override(resource.AccessAllowFilter, packed(t, &httprbacv3.RBACPerRoute{})), at + `typed_per_filter_config["tulle.access.allow"].rbac: is missing`},
		{"of a filter's type", override(resource.AccessAllowFilter, packed(t, allowing(nil))), "it must be an RBACPerRoute"},
		{
			"that are disabled",
			override(resource.AccessDenyFilter, packed(t, &routev3.FilterConfig{Disabled: true})),
			at + `typed_per_filter_config: "tulle.access.deny": disabled is not supported`,
		},
		{"that are no message", override(resource.AccessDenyFilter, &anypb.Any{
			TypeUrl: "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute", Value: []byte{0xff},
		}), at + `typed_per_filter_config: "tulle.access.deny": `},
		{"for some headers", changed(func(r *routev3.Route) { r.Match.Headers = []*routev3.HeaderMatcher{present("x").GetHeader()} }), at + "match.headers: pick no access rules"},
		{"for a share of calls", changed(func(r *routev3.Route) {
			r.Match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: share(1, 0)}
		}), at + "match.runtime_fraction: picks no access rules"},
		{"for a regex", changed(func(r *routev3.Route) { r.Match = byRegex(".*") }), at + "match.safe_regex: picks no access rules"},
		{"for methods in any case", changed(func(r *routev3.Route) { r.Match.CaseSensitive = wrapperspb.Bool(false) }), at + "match.case_sensitive: must not be false"},
		{"of a client's route", changed(func(r *routev3.Route) { r.Action = to("voting").GetAction() }), at + `typed_per_filter_config: "tulle.access.allow": access is decided by a server's listener`},
		{"of a virtual host", func() *routev3.RouteConfiguration {
			c := routes()
			c.VirtualHosts[0].TypedPerFilterConfig = inboundRoute(t, "/", denying(nil), allowing(nil)).GetTypedPerFilterConfig()
			return c
		}(), `virtual_hosts[0].typed_per_filter_config: "tulle.access.allow": access is decided by a server's listener and routes`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.RouteType, tt.in, tt.want)
		})
	}
}

// TestUnknownFieldsOfAccessRulesAreRefused is about a newer control plane: what it
// forbids by a field that is new must not be allowed here.
func TestUnknownFieldsOfAccessRulesAreRefused(t *testing.T) {
	later := protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1)
	for _, tt := range []struct {
		name   string
		change func(*httprbacv3.RBACPerRoute, *rbacv3.Policy)
		want   string
	}{
		{"of the override", func(m *httprbacv3.RBACPerRoute, _ *rbacv3.Policy) { m.ProtoReflect().SetUnknown(later) }, `["tulle.access.allow"]: has a field`},
		{"of the filter", func(m *httprbacv3.RBACPerRoute, _ *rbacv3.Policy) { m.GetRbac().ProtoReflect().SetUnknown(later) }, `["tulle.access.allow"].rbac: has a field`},
		{"of the rules", func(m *httprbacv3.RBACPerRoute, _ *rbacv3.Policy) {
			m.GetRbac().GetRules().ProtoReflect().SetUnknown(later)
		}, "rules: has a field"},
		{"of a policy", func(_ *httprbacv3.RBACPerRoute, p *rbacv3.Policy) { p.ProtoReflect().SetUnknown(later) }, `policies["p"]: has a field`},
		{"of a permission", func(_ *httprbacv3.RBACPerRoute, p *rbacv3.Policy) {
			p.GetPermissions()[0].ProtoReflect().SetUnknown(later)
		}, "permissions[0]: has a field"},
		{"of a set", func(_ *httprbacv3.RBACPerRoute, p *rbacv3.Policy) {
			p.GetPrincipals()[0].GetOrIds().ProtoReflect().SetUnknown(later)
		}, "principals[0].or_ids: has a field"},
		{"of a name", func(_ *httprbacv3.RBACPerRoute, p *rbacv3.Policy) {
			p.GetPrincipals()[0].GetOrIds().GetIds()[0].GetAuthenticated().GetPrincipalName().ProtoReflect().SetUnknown(later)
		}, "principal_name: has a field that is not known to this version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &httprbacv3.RBACPerRoute{Rbac: allowing(policies{"p": policy(anyMethod(), callers(web))})}
			tt.change(m, m.GetRbac().GetRules().GetPolicies()["p"])
			r := inboundRoute(t, "/", denying(nil), nil)
			r.TypedPerFilterConfig[resource.AccessAllowFilter] = packed(t, m)
			wantRefused(t, resource.RouteType, routes(r), tt.want)
		})
	}
}

func TestLimitsOfAccessRules(t *testing.T) {
	list := policies{}
	for i := range 20_001 {
		list[fmt.Sprint(i)] = policy(anyMethod(), anybody())
	}
	wantRefused(t, resource.RouteType, routes(inboundRoute(t, "/", denying(nil), allowing(list))), "policies: are 20001, at most 20000 are accepted")

	methods := make([]*rbacv3.Permission, 2_000)
	for i := range methods {
		methods[i] = method(benchMethod(i))
	}
	wide := policy(allOf(oneOf(methods...), many("x-a", 501)), anybody())
	wantRefused(t, resource.RouteType, routes(inboundRoute(t, "/", denying(nil), allowing(policies{"wide": wide}))), "names more methods and callers than are accepted")
	wide = policy(allOf(not(oneOf(methods...)), many("x-a", 501)), anybody())
	wantRefused(t, resource.RouteType, routes(inboundRoute(t, "/", denying(nil), allowing(policies{"not": wide}))), "names more methods and callers than are accepted")

	deciding(t, denying(nil), allowing(policies{"deep": policy(deepOr(14), anybody()), "many": policy(many("x-a", 1_000), anybody())}))
}
