package resource_test

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const vote = "/voting.v1.Voting/Vote"

func TestAnAllowNothingPolicyDeniesAll(t *testing.T) {
	access := deciding(t, denying(nil), allowing(nil))
	for _, id := range []string{"", web, payment} {
		for _, method := range []string{vote, "/grpc.health.v1.Health/Check", "", "nothing"} {
			if d := access.Decide(&resource.Caller{ID: id}, method, nil); d != (resource.Decision{}) {
				t.Errorf("%q may call %q: %+v", id, method, d)
			}
		}
	}
}

func TestNoAccessDeniesAll(t *testing.T) {
	var access *resource.Access
	if d := access.Decide(&resource.Caller{ID: web}, vote, nil); d.Allowed {
		t.Errorf("got %+v", d)
	}
	var inbound *resource.Inbound
	if inbound.Access(vote) != nil || (&resource.Inbound{}).Access(vote) != nil {
		t.Error("an empty Inbound has access rules")
	}
}

func TestRulesDecide(t *testing.T) {
	all := allowing(policies{"mesh/default": policy(anyMethod(), authenticated())})
	only := func(permission *rbacv3.Permission, principal *rbacv3.Principal) *httprbacv3.RBAC {
		return allowing(policies{"default/voting/allow/0": policy(permission, principal)})
	}
	const allowed, object = "default/voting/allow/0", "default/voting"
	for _, tt := range []struct {
		name        string
		deny, allow *httprbacv3.RBAC
		id, method  string
		md          metadata.MD
		want        bool
		policy      string
	}{
		{"anyone with an identity may call", nil, all, web, vote, nil, true, "mesh/default"},
		{"without an identity nobody may", nil, all, "", vote, nil, false, "mesh/default"},
		{"anybody is also one without an identity", nil, only(anyMethod(), anybody()), "", vote, nil, true, allowed},
		{"anybody is also one with an identity", nil, only(anyMethod(), anybody()), web, vote, nil, true, allowed},
		{"a caller by id", nil, only(anyMethod(), callers(payment, web)), web, vote, nil, true, allowed},
		{"another caller", nil, only(anyMethod(), callers(payment)), web, vote, nil, false, object},
		{"an id is all of it", nil, only(anyMethod(), callers(web)), web + "-2", vote, nil, false, object},
		{"another trust domain", nil, only(anyMethod(), callers(web)), foreign, vote, nil, false, object},
		{"below a trust domain", nil, only(anyMethod(), callers("spiffe://tulle.local/*")), payment, vote, nil, true, allowed},
		{"below another trust domain", nil, only(anyMethod(), callers("spiffe://tulle.local/*")), foreign, vote, nil, false, object},
		{"a trust domain whose name begins alike", nil, only(anyMethod(), callers("spiffe://tulle.local/*")), "spiffe://tulle.local.evil.org/x", vote, nil, false, object},
		{"below a namespace", nil, only(anyMethod(), callers("spiffe://tulle.local/ns/shop/*")), payment, vote, nil, true, allowed},
		{"a namespace whose name begins alike", nil, only(anyMethod(), callers("spiffe://tulle.local/ns/shop/*")), "spiffe://tulle.local/ns/shop2/svc/web", vote, nil, false, object},
		{"below the scheme is who has an identity", nil, only(anyMethod(), callers("spiffe://*")), foreign, vote, nil, true, allowed},
		{"below the scheme is not who has none", nil, only(anyMethod(), callers("spiffe://*")), "", vote, nil, false, object},
		{"a method by name", nil, only(method(vote), authenticated()), web, vote, nil, true, allowed},
		{"another method", nil, only(method(vote), authenticated()), web, vote + "s", nil, false, object},
		{"case matters", nil, only(method(vote), authenticated()), web, "/voting.v1.Voting/vote", nil, false, object},
		{"all methods of a service", nil, only(method("/voting.v1.Voting/*"), authenticated()), web, vote, nil, true, allowed},
		{"a service whose name begins alike", nil, only(method("/voting.v1.Voting/*"), authenticated()), web, "/voting.v1.Voting2/Vote", nil, false, object},
		{"all methods by their slash", nil, only(method("/*"), authenticated()), web, vote, nil, true, allowed},
		{"method and caller of different policies are no match", nil, allowing(policies{
			"a/a/allow/0": policy(method(vote), callers(payment)),
			"a/b/allow/0": policy(method("/voting.v1.Voting/Count"), callers(web)),
		}), web, vote, nil, false, "a/a, a/b"},
		{"what is denied is denied", denying(policies{"default/voting/deny/1": policy(method(vote), callers(web))}), all, web, vote, nil, false, "default/voting/deny/1"},
		{"what is not denied is for the allow list", denying(policies{"default/voting/deny/1": policy(method(vote), callers(web))}), all, payment, vote, nil, true, "mesh/default"},
		{"to deny anybody is to deny who has no identity", denying(policies{"d": policy(anyMethod(), anybody())}), only(anyMethod(), anybody()), "", vote, nil, false, "d"},
		{"to deny by identity does not touch who has none", denying(policies{"d": policy(anyMethod(), authenticated())}), only(anyMethod(), anybody()), "", vote, nil, true, allowed},
		{"a header by value", nil, only(allOf(method(vote), equals("x-tenant", "a")), authenticated()), web, vote, metadata.Pairs("x-tenant", "a"), true, allowed},
		{"a header of another value", nil, only(allOf(method(vote), equals("x-tenant", "a")), authenticated()), web, vote, metadata.Pairs("x-tenant", "ab"), false, object},
		{"no metadata at all", nil, only(allOf(method(vote), equals("x-tenant", "a")), authenticated()), web, vote, nil, false, object},
		{"a header twice is its values joined", nil, only(equals("x-tenant", "a,b"), authenticated()), web, vote, metadata.Pairs("x-tenant", "a", "x-tenant", "b"), true, allowed},
		{"a header twice is not its first value", nil, only(equals("x-tenant", "a"), authenticated()), web, vote, metadata.Pairs("x-tenant", "a", "x-tenant", "b"), false, object},
		{"a header twice is not its last value", nil, only(equals("x-tenant", "b"), authenticated()), web, vote, metadata.Pairs("x-tenant", "a", "x-tenant", "b"), false, object},
		{"a header that is empty", nil, only(equals("x-tenant", ""), authenticated()), web, vote, metadata.Pairs("x-tenant", ""), true, allowed},
		{"a header that is absent is not an empty one", nil, only(equals("x-tenant", ""), authenticated()), web, vote, nil, false, object},
		{"a header that is there", nil, only(present("x-tenant"), authenticated()), web, vote, metadata.Pairs("x-tenant", "a"), true, allowed},
		{"a header that is there and empty", nil, only(present("x-tenant"), authenticated()), web, vote, metadata.Pairs("x-tenant", ""), false, object},
		{"a header that is there, empty, twice", nil, only(present("x-tenant"), authenticated()), web, vote, metadata.Pairs("x-tenant", "", "x-tenant", ""), true, allowed},
		{"a header's name is in lower case", nil, only(present("X-Tenant"), authenticated()), web, vote, metadata.Pairs("x-tenant", "a"), true, allowed},
		{"two headers", nil, only(allOf(present("x-a"), present("x-b")), authenticated()), web, vote, metadata.Pairs("x-a", "1"), false, object},
		{"one of two headers", nil, only(oneOf(present("x-a"), present("x-b")), authenticated()), web, vote, metadata.Pairs("x-b", "1"), true, allowed},
		{"a method and a service together are the method", nil, only(allOf(method(vote), method("/voting.v1.Voting/*")), authenticated()), web, vote, nil, true, allowed},
		{"and not the service", nil, only(allOf(method("/voting.v1.Voting/*"), method(vote)), authenticated()), web, "/voting.v1.Voting/Count", nil, false, object},
		{"methods that exclude each other match nothing", nil, only(allOf(method(vote), method("/a.B/C")), authenticated()), web, vote, nil, false, object},
		{"the objects of five policies", nil, allowing(policies{
			"a/x-1/allow/0": policy(anyMethod(), callers(web)), "a/x/allow/0": policy(anyMethod(), callers(web)),
			"a/x/allow/1": policy(anyMethod(), callers(web)), "a/y/allow/0": policy(anyMethod(), callers(web)),
			"a/z/allow/0": policy(anyMethod(), callers(web)),
		}), "", vote, nil, false, "a/x, a/x-1, a/y and 1 more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			deny := tt.deny
			if deny == nil {
				deny = denying(nil)
			}
			access := deciding(t, deny, tt.allow)
			got := access.Decide(&resource.Caller{ID: tt.id}, tt.method, tt.md)
			if want := (resource.Decision{Allowed: tt.want, Policy: tt.policy}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if tt.id == "" && got != access.Decide(nil, tt.method, tt.md) {
				t.Error("no caller is another than one without an identity")
			}
		})
	}
}

func TestOnlyRulesAboutMetadataReadIt(t *testing.T) {
	for _, tt := range []struct {
		name       string
		permission *rbacv3.Permission
		principal  *rbacv3.Principal
		want       bool
	}{
		{"methods and callers", method(vote), callers(web), false},
		{"methods by prefix, and exceptions", method("/voting.*"), allCallers(anybody(), notCaller(callers(web))), false},
		{"NOT of methods", not(oneOf(method(vote), method("/voting.*"))), anybody(), false},
		{"a header", present("x-a"), anybody(), true},
		{"NOT of a header", not(allOf(method(vote), present("x-a"))), anybody(), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			access := deciding(t, denying(policies{"p": policy(tt.permission, tt.principal)}), allowing(nil))
			if got := access.ReadsMetadata(); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestMethodsOfNoCanonicalFormAreDenied(t *testing.T) {
	access := deciding(t, denying(nil), allowing(policies{"all": policy(anyMethod(), anybody())}))
	for _, method := range []string{"", "/", "//", "a", "a/b", "/a", "/a/", "//b", "/a/b/", "/a/b/c", "/a//b"} {
		if d := access.Decide(&resource.Caller{ID: web}, method, nil); d.Allowed || d.Policy != "" {
			t.Errorf("%q: %+v", method, d)
		}
	}
	if d := access.Decide(&resource.Caller{ID: web}, "/a/b", nil); !d.Allowed {
		t.Errorf("got %+v", d)
	}
}

func TestRulesOnTrialAreToldAndNeverEnforced(t *testing.T) {
	all := policies{"mesh/default": policy(anyMethod(), authenticated())}
	onTrial := func(m *httprbacv3.RBAC, shadow policies) *httprbacv3.RBAC {
		m.ShadowRules = rules(m.GetRules().GetAction(), shadow)
		return m
	}
	for _, tt := range []struct {
		name        string
		deny, allow *httprbacv3.RBAC
		method      string
		want        resource.Decision
	}{
		{
			"a DENY on trial denies nobody",
			onTrial(denying(nil), policies{"a/b/deny/0": policy(anyMethod(), anybody())}), allowing(all), vote,
			resource.Decision{Allowed: true, Policy: "mesh/default", WouldDeny: true, WouldPolicy: "a/b/deny/0"},
		},
		{
			"an ALLOW on trial denies nobody",
			denying(nil), onTrial(allowing(all), policies{"a/b/allow/0": policy(anyMethod(), callers(payment))}), vote,
			resource.Decision{Allowed: true, Policy: "mesh/default", WouldDeny: true, WouldPolicy: "a/b"},
		},
		{
			"an ALLOW of nothing on trial denies nobody",
			denying(nil), onTrial(allowing(all), nil), vote,
			resource.Decision{Allowed: true, Policy: "mesh/default", WouldDeny: true},
		},
		{
			"an ALLOW on trial lets nobody in",
			denying(nil), onTrial(allowing(nil), all), vote,
			resource.Decision{WouldPolicy: "mesh/default"},
		},
		{
			"what both say alike",
			denying(nil), onTrial(allowing(all), all), vote,
			resource.Decision{Allowed: true, Policy: "mesh/default", WouldPolicy: "mesh/default"},
		},
		{
			"what is enforced takes part in what would be",
			onTrial(denying(nil), policies{}), allowing(nil), vote,
			resource.Decision{WouldDeny: true},
		},
		{
			"a method of no canonical form is denied by both",
			onTrial(denying(nil), policies{}), allowing(all), "vote",
			resource.Decision{WouldDeny: true},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := deciding(t, tt.deny, tt.allow).Decide(&resource.Caller{ID: web}, tt.method, nil)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestInboundPicksTheFirstRouteByPath(t *testing.T) {
	of := func(name string) *httprbacv3.RBAC { return allowing(policies{name: policy(anyMethod(), anybody())}) }
	listener := &resource.Listener{Server: &resource.Server{Access: deciding(t, denying(nil), of("listener"))}}
	plain := inboundRoute(t, "/plain/", nil, nil)
	byHeader := inboundRoute(t, "/header/", nil, nil)
	byHeader.Match.Headers = []*routev3.HeaderMatcher{present("x-a").GetHeader()}
	sampled := inboundRoute(t, "/sampled/", nil, nil)
	sampled.Match.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: share(50, 0)}
	client := to("voting")
	client.Match = byPrefix("/client/")
	vh := host(t, inboundRoute(t, "/health/", denying(nil), of("health")), plain, byHeader, sampled, client, inboundRoute(t, "/", denying(nil), of("rest")))
	inbound := &resource.Inbound{Listener: listener, VirtualHost: vh}
	for method, want := range map[string]string{
		"/health/Check": "health",
		"/healthy/Live": "rest",
		"/plain/Method": "listener",
		vote:            "rest",
		"/header/A":     "",
		"/sampled/A":    "",
		"/client/A":     "",
		"no method":     "",
	} {
		t.Run(fmt.Sprintf("%s is for %q", method, want), func(t *testing.T) {
			d := inbound.Access(method).Decide(&resource.Caller{ID: web}, method, nil)
			if d.Policy != want || d.Allowed != (want != "") {
				t.Errorf("got %+v, want %q", d, want)
			}
		})
	}
}

// bigAccess has n policies, each for a method and a caller of its own, and one
// for all callers of a namespace. No answer may cost more than the look-up.
func bigAccess(tb testing.TB, n int) *resource.Access {
	tb.Helper()
	list := policies{"shop/all/allow/0": policy(method("/shop.Cart/*"), callers("spiffe://tulle.local/ns/shop/*"))}
	for i := range n - 1 {
		list[fmt.Sprintf("default/service-%d/allow/0", i)] = policy(method(benchMethod(i)), callers(benchCaller(i)))
	}
	return deciding(tb, denying(policies{"default/guard/deny/0": policy(method("/admin.Admin/*"), authenticated())}), allowing(list))
}

func benchMethod(i int) string { return fmt.Sprintf("/shop.Service%d/Method%d", i/10, i%10) }

func benchCaller(i int) string {
	return fmt.Sprintf("spiffe://tulle.local/ns/default/svc/service-%d", i)
}

func TestADecisionDoesNotAllocate(t *testing.T) {
	big := bigAccess(t, 1_000)
	trial := allowing(policies{"h": policy(allOf(method(vote), equals("x-a", "1,2"), present("x-b")), callers(web, "spiffe://tulle.local/ns/shop/*"))})
	trial.ShadowRules = trial.GetRules()
	headers := deciding(t, denying(nil), trial)
	md := metadata.Pairs("x-a", "1", "x-a", "2", "x-b", "x")
	inbound := &resource.Inbound{
		Listener:    &resource.Listener{Server: &resource.Server{Access: headers}},
		VirtualHost: host(t, inboundRoute(t, "/health/", denying(nil), trial), inboundRoute(t, "/", denying(nil), trial)),
	}
	for _, tt := range []struct {
		name, id, method string
		decide           func(*resource.Caller, string) resource.Decision
		want             bool
	}{
		{"the last of many policies", benchCaller(998), benchMethod(998), func(c *resource.Caller, m string) resource.Decision { return big.Decide(c, m, md) }, true},
		{"by prefix", payment, "/shop.Cart/Add", func(c *resource.Caller, m string) resource.Decision { return big.Decide(c, m, md) }, true},
		{"headers, with rules on trial", web, vote, func(c *resource.Caller, m string) resource.Decision { return headers.Decide(c, m, md) }, true},
		{"by route", payment, vote, func(c *resource.Caller, m string) resource.Decision { return inbound.Access(m).Decide(c, m, md) }, true},
		{"a denial", web, "/admin.Admin/Delete", func(c *resource.Caller, m string) resource.Decision { return big.Decide(c, m, md) }, false},
		{"a denial for want of a policy", "", "/other.Service/Method", func(c *resource.Caller, m string) resource.Decision { return big.Decide(c, m, md) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			caller := &resource.Caller{ID: tt.id}
			if d := tt.decide(caller, tt.method); d.Allowed != tt.want {
				t.Fatalf("got %+v", d)
			}
			if n := testing.AllocsPerRun(100, func() { tt.decide(caller, tt.method) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
