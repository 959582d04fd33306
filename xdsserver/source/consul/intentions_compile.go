package consul

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// An intentionCompiler makes policies, and collects what it refuses.
type intentionCompiler struct {
	// allow is what holds where no intention does.
	allow    bool
	problems []model.Problem
	// told is what was told, by entry.
	told map[string][]string
}

// refusef tells what is not done of an entry, each once, since that of the wildcard is
// part of every destination, and no more than a few of one entry.
func (c *intentionCompiler) refusef(e *api.ServiceIntentionsConfigEntry, field, format string, args ...any) {
	p := model.Problem{
		Object: model.Ref{Kind: model.KindAccessPolicy, Namespace: model.DefaultNamespace, Name: everyName},
		From:   intentionsFrom(e.Name), Field: field, Message: fmt.Errorf(format, args...).Error(),
	}
	if e.Name != wildcard {
		p.Object.Name = reduce(policyOf(e.Name))
	}
	switch told := c.told[e.Name]; {
	case slices.Contains(told, p.Field+p.Message):
	case len(told) < maxProblems:
		if c.told == nil {
			c.told = map[string][]string{}
		}
		c.told[e.Name] = append(told, p.Field+p.Message)
		c.problems = append(c.problems, p)
	}
}

// A source is one source of an intention, as it is honoured.
type intentionSource struct {
	name        string
	allow       bool         // where there are no permissions
	permissions []permission // in order
	l7          bool         // it has permissions, if none that may match
}

// compile writes the rules of a policy; false where it needs none. Entries may be nil.
func (c *intentionCompiler) compile(p *model.AccessPolicy, entries ...*api.ServiceIntentionsConfigEntry) bool {
	sources, ok := c.sources(entries)
	if ok {
		p.Rules = c.rules(sources)
		if len(p.Rules.Deny) == 0 && !p.Rules.HasAllow {
			return false
		}
		problems := model.CheckPolicy(p)
		if len(problems) == 0 {
			return true
		}
		for _, e := range entries {
			if e != nil {
				c.refusef(e, "", "cannot be written as a policy, so every call is denied: %s %s", problems[0].Field, problems[0].Message)
				break
			}
		}
	}
	p.Rules = model.AccessRules{Deny: []model.AccessRule{{}}}
	return true
}

// sources returns those that decide, the first first; ok is false where all must be
// denied, since one denies whom nobody can tell.
func (c *intentionCompiler) sources(entries []*api.ServiceIntentionsConfigEntry) (out []intentionSource, ok bool) {
	type entrySource struct {
		*api.SourceIntention

		entry *api.ServiceIntentionsConfigEntry
		at    int
	}
	var all []entrySource
	for _, e := range entries {
		if e == nil {
			continue
		}
		if why := elsewhere(e.Partition, e.Namespace); why != "" {
			c.refusef(e, "Name", "is in %s, which the mesh does not have: every call to %s is denied", why, e.Name)
			return nil, false
		}
		for i, s := range e.Sources {
			all = append(all, entrySource{s, e, i})
		}
	}
	slices.SortStableFunc(all, func(a, b entrySource) int { return cmp.Compare(b.Precedence, a.Precedence) })
	for _, s := range all {
		source, keep, tellable := c.source(s.entry, fmt.Sprintf("Sources[%d]", s.at), s.SourceIntention)
		switch {
		case !tellable:
			return nil, false
		case !keep, slices.ContainsFunc(out, func(o intentionSource) bool { return o.name == s.Name }):
			continue // it matches nobody, or one of a higher precedence decides
		}
		if out = append(out, source); s.Name == wildcard {
			break // none behind it is asked
		}
	}
	return out, true
}

// source reads one. It is not kept where it matches nobody; it is not tellable where
// it denies callers whom nobody can tell from others.
func (c *intentionCompiler) source(e *api.ServiceIntentionsConfigEntry, field string, s *api.SourceIntention) (out intentionSource, keep, tellable bool) {
	allows := len(s.Permissions) == 0 && s.Action == api.IntentionActionAllow
	untold := func(why string) (intentionSource, bool, bool) {
		if allows {
			c.refusef(e, field, "source %.80s %s: it is not allowed", s.Name, why)
		} else {
			c.refusef(e, field, "source %.80s %s, and nobody can tell whom it denies: every call is denied", s.Name, why)
		}
		return out, false, allows
	}
	switch where := elsewhere(s.Partition, s.Namespace); {
	case s.Peer != "":
		// Of another trust domain: its callers get no connection at all.
		c.refusef(e, field+".Peer", "source %.80s is of the peer %.80s, and nobody but callers of the mesh's own trust domain gets in", s.Name, s.Peer)
		return out, false, true
	case s.SamenessGroup != "":
		return untold("is of a sameness group, which the mesh does not have")
	case where != "":
		return untold("is in " + where + ", which the mesh does not have")
	case s.Name != wildcard && len(principalsOf(s.Name)) == 0:
		return untold("has a name that the mesh does not take")
	}
	out = intentionSource{name: s.Name, allow: allows, l7: len(s.Permissions) > 0}
	if !out.l7 && s.Action != api.IntentionActionAllow && s.Action != api.IntentionActionDeny {
		c.refusef(e, field+".Action", "source %.80s has the action %.80q, which is unknown: it is denied", s.Name, s.Action)
	}
	if e.JWT != nil && out.allow {
		c.refusef(e, "JWT", "source %.80s is allowed with a token alone, and servers of the mesh look at no JWT: it is denied", s.Name)
		out.allow = false
	}
	for i, p := range s.Permissions {
		permission, ok := c.permission(e, fmt.Sprintf("%s.Permissions[%d]", field, i), s.Name, p)
		if !ok {
			continue
		}
		out.permissions = append(out.permissions, permission)
		if permission.calls.Any() {
			break // none behind it is asked
		}
	}
	return out, true, true
}

// elsewhere names a partition or namespace that is not the default one.
func elsewhere(partition, namespace string) string {
	switch {
	case partition != "" && partition != "default":
		return fmt.Sprintf("the partition %.80q", partition)
	case namespace != "" && namespace != "default":
		return fmt.Sprintf("the namespace %.80q", namespace)
	}
	return ""
}

// rules writes sources as what is denied, and what is allowed of the rest. A denial has
// as its exceptions what comes before it, so that nothing depends on an order.
func (c *intentionCompiler) rules(sources []intentionSource) model.AccessRules {
	var out model.AccessRules
	var before, allowed, denied []model.Principal
	for _, s := range sources {
		from := principalsOf(s.name)
		rule := model.AccessRule{From: from}
		if s.name == wildcard {
			rule = model.AccessRule{NotFrom: before}
		}
		switch {
		case s.l7:
			c.addPermissions(&out, rule, s.permissions)
		case s.name == wildcard && s.allow:
			c.addAllow(&out, rule)
		case s.name == wildcard:
			out.Deny = append(out.Deny, rule)
		case s.allow:
			allowed = append(allowed, from...)
		default:
			denied = append(denied, from...)
		}
		before = append(before, from...)
	}
	for callers := range slices.Chunk(denied, maxCallers) {
		out.Deny = append(out.Deny, model.AccessRule{From: callers})
	}
	for callers := range slices.Chunk(allowed, maxCallers) {
		c.addAllow(&out, model.AccessRule{From: callers})
	}
	out.HasAllow = !c.allow
	return out
}

// maxCallers is of one rule.
const maxCallers = 1000

// addAllow adds a rule where what no rule allows is denied. It is for whom Anyone names,
// where it names nobody.
func (c *intentionCompiler) addAllow(out *model.AccessRules, rule model.AccessRule) {
	if c.allow {
		return
	}
	if len(rule.From) == 0 {
		rule.From = []model.Principal{{Kind: model.Anyone}}
	}
	out.Allow = append(out.Allow, rule)
}

// addPermissions adds what the rule's callers may call, of which the first that matches
// decides.
func (c *intentionCompiler) addPermissions(out *model.AccessRules, rule model.AccessRule, permissions []permission) {
	var allowed []model.CallMatch
	for _, p := range permissions {
		one := rule
		one.Methods, one.Path, one.Metadata = p.calls.Methods, p.calls.Path, p.calls.Metadata
		if p.allow {
			c.addAllow(out, one)
			allowed = append(allowed, p.calls)
			continue
		}
		one.Unless = slices.Clone(allowed)
		out.Deny = append(out.Deny, one)
	}
}

// policyOf is the name of a service's own policy: "consul-web", or with a dot where that
// would be too long for DNS.
func policyOf(service string) string {
	if len(service) > maxLabel-len(ownPrefix) {
		return "consul." + service
	}
	return ownPrefix + service
}

const maxLabel = 63

// servicesOf are the services of the mesh that Consul knows by a name: the one of that
// name, and those of other namespaces that are registered under it.
func servicesOf(name string) []model.ServiceName {
	var out []model.ServiceName
	add := func(namespace, name string) {
		if model.CheckLabel(name) == nil && model.CheckLabel(namespace) == nil {
			out = append(out, model.ServiceName{Namespace: namespace, Name: name})
		}
	}
	add(model.DefaultNamespace, name)
	for at := range name {
		if !strings.HasPrefix(name[at:], "--") {
			continue
		}
		s := model.ServiceName{Namespace: name[at+2:], Name: name[:at]}
		if s.Namespace != model.DefaultNamespace && consul.CatalogName(s.String()) == name {
			add(s.Namespace, s.Name)
		}
	}
	return out
}

// principalsOf are the callers that Consul knows by a name; none for the wildcard.
func principalsOf(name string) []model.Principal {
	if name == wildcard {
		return nil
	}
	var out []model.Principal
	for _, s := range servicesOf(name) {
		out = append(out, model.Principal{Kind: model.OfService, Value: s.String()})
	}
	return out
}
