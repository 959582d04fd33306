package translate

import (
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// Only what every gRPC server evaluates alike is ever written (gRFC A41): any, and, or,
// the path, a header, and an identity by value or up to a slash. No metadata of Envoy's,
// no address: some of them hold always or never in servers that do not know them, and
// the other way around within NOT, which is written around what they all know.

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
		if !p.Protects(in.Service.Name) {
			continue // one of all services, but for this
		}
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
	return &rbacv3.Policy{Permissions: permissions(r), Principals: c.callers(r, anyone)}
}

// permissions of which one must hold.
func permissions(r model.AccessRule) []*rbacv3.Permission {
	if len(r.Unless) == 0 {
		return matching(r.Calls())
	}
	unless := make([]*rbacv3.Permission, len(r.Unless))
	for i, m := range r.Unless {
		unless[i] = anyOf(matching(m))
	}
	not := notRule(anyOf(unless))
	if r.Calls().Any() {
		return []*rbacv3.Permission{not}
	}
	return []*rbacv3.Permission{allOf([]*rbacv3.Permission{anyOf(matching(r.Calls())), not})}
}

// callers of which one must call.
func (c *compiler) callers(r model.AccessRule, anyone func() []*rbacv3.Principal) []*rbacv3.Principal {
	who := c.principals(r.From, anyone)
	if len(r.NotFrom) == 0 {
		return who
	}
	not := oneCaller(c.principals(r.NotFrom, anyPrincipal))
	return []*rbacv3.Principal{{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: []*rbacv3.Principal{
		oneCaller(who), {Identifier: &rbacv3.Principal_NotId{NotId: not}},
	}}}}}
}

func oneCaller(list []*rbacv3.Principal) *rbacv3.Principal {
	if len(list) == 1 {
		return list[0]
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: list}}}
}

// principals of which one must call; none is everybody.
func (c *compiler) principals(from []model.Principal, anyone func() []*rbacv3.Principal) []*rbacv3.Principal {
	if len(from) == 0 {
		return anyPrincipal()
	}
	out := make([]*rbacv3.Principal, 0, len(from))
	for _, p := range from {
		domain := c.in.Domain
		switch p.Kind {
		case model.Anyone:
			out = append(out, anyone()...)
		case model.OfService:
			out = append(out, identity(exactly(domain.ServiceID(p.Value))))
		case model.OfNamespace:
			out = append(out, identity(beginning("spiffe://"+domain.Name+"/ns/"+p.Value+"/")))
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
	return []*rbacv3.Principal{identity(beginning("spiffe://" + c.in.Domain.Name + "/"))}
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
