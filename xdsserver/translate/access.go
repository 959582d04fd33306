package translate

import (
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// Only what every gRPC server evaluates alike is ever written (gRFC A41): any, and,
// or, the path by value or up to a slash, a header by value or presence, and an
// identity by value or up to a slash. No NOT, no expression, no metadata, no
// address: some of them hold always or never in servers that do not know them.

// meshDefault is the policy that the mesh's default makes.
const meshDefault = "mesh/default"

// PolicyRef returns the object that a policy of a server's rules was made from, as
// resource.Decision names it; ok is false for the rule about health, and for a list
// of several objects.
func PolicyRef(policy string) (ref model.Ref, ok bool) {
	if policy == meshDefault {
		return (&model.Mesh{Name: model.DefaultMesh}).Ref(), true
	}
	parts := strings.Split(policy, "/")
	if len(parts) != 2 && (len(parts) != 4 || parts[2] != allowList && parts[2] != denyList) {
		return model.Ref{}, false
	}
	if model.CheckLabel(parts[0]) != nil || parts[1] == "" || strings.ContainsAny(parts[1], ", ") {
		return model.Ref{}, false
	}
	return (&model.AccessPolicy{Namespace: parts[0], Name: parts[1]}).Ref(), true
}

// The lists of a policy, as they stand in the names of what is made from them.
const (
	allowList = "allow"
	denyList  = "deny"
)

// rules is what one filter enforces, or would.
type rules struct {
	action   rbacv3.RBAC_Action
	policies map[string]*rbacv3.Policy
}

func (r rules) message() *rbacv3.RBAC { return &rbacv3.RBAC{Action: r.action, Policies: r.policies} }

// filterOf is the configuration of a filter. Shadow is what is on trial; nil for
// nothing.
func filterOf(enforced rules, shadow *rules) *httprbacv3.RBAC {
	m := &httprbacv3.RBAC{Rules: enforced.message()}
	if shadow != nil {
		m.ShadowRules = shadow.message()
	}
	return m
}

// perRoute is a route's own configuration of a filter.
func perRoute(enforced rules, shadow *rules) *anypb.Any {
	return pack(&httprbacv3.RBACPerRoute{Rbac: filterOf(enforced, shadow)})
}

// access is the rules about calls of the service: what denies, and what allows.
func (in Input) access() (deny, allow *anypb.Any) {
	enforced, trial := newCompiler(in), newCompiler(in)
	onTrial := false
	for _, p := range in.Policies {
		now, then := p.Rules, p.Rules
		if p.Audit {
			now = model.AccessRules{}
		}
		if p.Shadow != nil {
			then = *p.Shadow
		}
		onTrial = onTrial || p.Audit || p.Shadow != nil
		enforced.add(p, now)
		trial.add(p, then)
	}
	enforcedDeny, enforcedAllow := enforced.rules()
	if !onTrial {
		return perRoute(enforcedDeny, nil), perRoute(enforcedAllow, nil)
	}
	trialDeny, trialAllow := trial.rules()
	return perRoute(enforcedDeny, &trialDeny), perRoute(enforcedAllow, &trialAllow)
}

// A compiler makes the rules of one service's policies.
type compiler struct {
	in          Input
	deny, allow map[string]*rbacv3.Policy
	lists       bool     // some policy has an allow list
	nothing     []string // the policies whose allow list is empty
}

func newCompiler(in Input) *compiler {
	return &compiler{in: in, deny: map[string]*rbacv3.Policy{}, allow: map[string]*rbacv3.Policy{}}
}

func (c *compiler) add(p *model.AccessPolicy, r model.AccessRules) {
	c.lists = c.lists || r.Lists()
	if r.Lists() && len(r.Allow) == 0 {
		c.nothing = append(c.nothing, p.Namespace+"/"+p.Name)
	}
	for i, rule := range r.Deny {
		c.deny[policyName(p, denyList, i)] = c.policy(rule, anyPrincipal)
	}
	for i, rule := range r.Allow {
		c.allow[policyName(p, allowList, i)] = c.policy(rule, c.authenticated)
	}
}

// policyName leads back to the object, see [PolicyRef].
func policyName(p *model.AccessPolicy, list string, i int) string {
	return p.Namespace + "/" + p.Name + "/" + list + "/" + strconv.Itoa(i)
}

// rules returns what was added, with the mesh's default where nobody says who may
// call.
//
// Where nothing at all is allowed the empty allow list would do, and does. That it
// is denied by name as well changes no decision, and has callers told by what.
func (c *compiler) rules() (deny, allow rules) {
	switch {
	case c.lists && len(c.allow) == 0:
		for _, name := range c.nothing {
			c.deny[name] = everything(anyPrincipal())
		}
	case c.lists:
	case c.in.AccessDefault != model.AccessAuthenticated:
		c.deny[meshDefault] = everything(anyPrincipal())
	case c.in.PermissiveUntil.IsZero():
		c.allow[meshDefault] = everything(c.authenticated())
	default:
		// Who comes without TLS has no identity. It has to be let in while the
		// server takes such connections, and comes no further after that.
		c.allow[meshDefault] = everything(anyPrincipal())
	}
	return rules{rbacv3.RBAC_DENY, c.deny}, rules{rbacv3.RBAC_ALLOW, c.allow}
}

func everything(callers []*rbacv3.Principal) *rbacv3.Policy {
	return &rbacv3.Policy{Permissions: anyPermission(), Principals: callers}
}

// policy is one rule. Anyone is whom it means by that.
func (c *compiler) policy(r model.AccessRule, anyone func() []*rbacv3.Principal) *rbacv3.Policy {
	return &rbacv3.Policy{Permissions: permissions(r), Principals: c.principals(r.From, anyone)}
}

// permissions of which one must hold.
func permissions(r model.AccessRule) []*rbacv3.Permission {
	methods := make([]*rbacv3.Permission, 0, len(r.Methods))
	for _, m := range r.Methods {
		methods = append(methods, method(m))
	}
	if len(r.Metadata) == 0 {
		if len(methods) == 0 {
			return anyPermission()
		}
		return methods
	}
	all := make([]*rbacv3.Permission, 0, 1+len(r.Metadata))
	switch len(methods) {
	case 0:
	case 1:
		all = append(all, methods[0])
	default:
		all = append(all, &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: methods}}})
	}
	for _, m := range r.Metadata {
		all = append(all, &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: metadataMatcher(m)}})
	}
	if len(all) == 1 {
		return all
	}
	return []*rbacv3.Permission{{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: all}}}}
}

func method(m string) *rbacv3.Permission {
	path := exactly(m)
	if service, ok := strings.CutSuffix(m, "*"); ok {
		path = beginning(service)
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{
		Rule: &matcherv3.PathMatcher_Path{Path: path},
	}}}
}

func metadataMatcher(m model.MetadataMatch) *routev3.HeaderMatcher {
	if m.Value == "" {
		return &routev3.HeaderMatcher{Name: m.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	}
	// Deprecated, and the form of gRFC A41, which every gRPC reads.
	return &routev3.HeaderMatcher{Name: m.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: m.Value}}
}

// principals of which one must call; none is everybody.
func (c *compiler) principals(from []model.Principal, anyone func() []*rbacv3.Principal) []*rbacv3.Principal {
	if len(from) == 0 {
		return anyPrincipal()
	}
	out := make([]*rbacv3.Principal, 0, len(from))
	for _, p := range from {
		domain := c.in.TrustDomain
		switch p.Kind {
		case model.Anyone:
			out = append(out, anyone()...)
		case model.OfService:
			out = append(out, identity(exactly(spiffe.ServiceID(domain, p.Value))))
		case model.OfNamespace:
			out = append(out, identity(beginning("spiffe://"+domain+"/ns/"+p.Value+"/")))
		case model.OfID:
			out = append(out, identity(exactly(p.Value)))
		case model.Below:
			out = append(out, identity(beginning(p.Value)))
		}
	}
	return out
}

// authenticated is every identity of the trust domain.
func (c *compiler) authenticated() []*rbacv3.Principal {
	return []*rbacv3.Principal{identity(beginning("spiffe://" + c.in.TrustDomain + "/"))}
}

func identity(name *matcherv3.StringMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: &rbacv3.Principal_Authenticated{PrincipalName: name}}}
}

func anyPrincipal() []*rbacv3.Principal {
	return []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}}
}

func anyPermission() []*rbacv3.Permission {
	return []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}}
}
