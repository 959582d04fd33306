package resource

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// accessFilter is the rules of one of the two filters.
type accessFilter struct {
	enforced *rules
	shadow   *rules // what is on trial; nil for what is enforced
}

// accessFilters are both, where they are set.
type accessFilters struct{ deny, allow *accessFilter }

// set puts the filter called name in its place.
func (a *accessFilters) set(name string, f *accessFilter) {
	if name == AccessDenyFilter {
		a.deny = f
	} else {
		a.allow = f
	}
}

// access returns nil where neither filter is set.
func (a *accessFilters) access() (*Access, error) {
	switch {
	case a.deny == nil && a.allow == nil:
		return nil, nil
	case a.deny == nil:
		return nil, bad("", "has %q and not %q, which belongs to it", AccessAllowFilter, AccessDenyFilter)
	case a.allow == nil:
		return nil, bad("", "has %q and not %q, which belongs to it", AccessDenyFilter, AccessAllowFilter)
	}
	out := &Access{enforced: ruleChain{a.deny.enforced, a.allow.enforced}}
	if a.deny.shadow != nil || a.allow.shadow != nil {
		out.candidate = &ruleChain{or(a.deny.shadow, a.deny.enforced), or(a.allow.shadow, a.allow.enforced)}
	}
	return out, nil
}

func or(r, fallback *rules) *rules {
	if r != nil {
		return r
	}
	return fallback
}

// actionOf returns the action of the access filter that must be called name.
func actionOf(name string) (xdsv3.RBAC_Action, error) {
	switch name {
	case AccessDenyFilter:
		return xdsv3.RBAC_DENY, nil
	case AccessAllowFilter:
		return xdsv3.RBAC_ALLOW, nil
	default:
		return 0, bad("", "%q: access filters must be named %q and %q", name, AccessDenyFilter, AccessAllowFilter)
	}
}

// decodeAccessOverride reads what a route has in place of the filter called name.
func decodeAccessOverride(name string, config *anypb.Any) (*accessFilter, error) {
	action, err := actionOf(name)
	if err != nil {
		return nil, err
	}
	var m xdsv3.HttpRBACPerRoute
	if !holds(config, &m) {
		return nil, bad("", "%q: has the type %q, it must be an RBACPerRoute", name, config.GetTypeUrl())
	}
	if err := m.UnmarshalStrict(config.GetValue()); err != nil {
		return nil, bad("", "%q: %v", name, err)
	}
	if err := known(&m); err != nil {
		return nil, under(fmt.Sprintf("[%q]", name), err)
	}
	f, err := decodeAccess(m.GetRbac(), action)
	return f, under(fmt.Sprintf("[%q]", name), under("rbac", err))
}

// decodeAccess reads the configuration of an RBAC filter. One without rules, which
// is no filter at all (gRFC A41), is refused: who leaves them out by mistake would
// open what was to be guarded, and DENY of no policy says the same on purpose.
func decodeAccess(m *xdsv3.HttpRBAC, action xdsv3.RBAC_Action) (*accessFilter, error) {
	if m == nil {
		return nil, bad("", "is missing: nothing would be enforced")
	}
	if err := known(m); err != nil {
		return nil, err
	}
	if m.GetRules() == nil {
		return nil, bad("rules", "are missing: nothing would be enforced; DENY with no policies denies nothing, ALLOW with none allows nothing")
	}
	var f accessFilter
	var err error
	if f.enforced, err = decodeRules(m.GetRules(), action); err != nil {
		return nil, under("rules", err)
	}
	if m.GetShadowRules() != nil {
		if f.shadow, err = decodeRules(m.GetShadowRules(), action); err != nil {
			return nil, under("shadow_rules", err)
		}
	}
	return &f, nil
}

func decodeRules(m *xdsv3.RBAC, action xdsv3.RBAC_Action) (*rules, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	if m.GetAction() != action {
		return nil, bad("action", "%v is not evaluated here; this filter's is %v", m.GetAction(), action)
	}
	if n := len(m.GetPolicies()); n > maxPolicies {
		return nil, bad("policies", "are %d, at most %d are accepted", n, maxPolicies)
	}
	b := newRulesBuilder()
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		if err := b.policy(name, m.GetPolicies()[name]); err != nil {
			return nil, under(fmt.Sprintf("policies[%q]", name), err)
		}
	}
	return b.build(), nil
}

func (b *rulesBuilder) policy(name string, m *xdsv3.Policy) error {
	if name == "" {
		return bad("", "has no name: a call that it denies could not say why")
	}
	if err := known(m); err != nil {
		return err
	}
	permissions, err := decodePermissions("permissions", m.GetPermissions(), 0)
	if err != nil {
		return err
	}
	who, err := decodeCallers("principals", m.GetPrincipals())
	if err != nil {
		return err
	}
	return b.add(name, permissions, who)
}

// decodePermissions reads a list of which one must hold.
func decodePermissions(field string, list []*xdsv3.Permission, depth int) ([]term, error) {
	if len(list) == 0 {
		return nil, bad(field, "is empty: it would hold for no call")
	}
	var terms []term
	for i, m := range list {
		t, err := decodePermission(m, depth+1)
		if err != nil {
			return nil, at(field, i, err)
		}
		terms = append(terms, t...)
	}
	if terms = either(terms); len(terms) > maxTerms {
		return nil, bad(field, "come to %d conditions, at most %d are accepted", len(terms), maxTerms)
	}
	return terms, nil
}

func decodePermission(m *xdsv3.Permission, depth int) ([]term, error) {
	if depth > maxRuleDepth {
		return nil, bad("", "is nested deeper than %d", maxRuleDepth)
	}
	if err := known(m); err != nil {
		return nil, err
	}
	switch rule := m.GetRule().(type) {
	case *xdsv3.Permission_Any:
		if !rule.Any {
			return nil, bad("any", "must be true")
		}
		return []term{{any: true}}, nil
	case *xdsv3.Permission_OrRules:
		if err := known(rule.OrRules); err != nil {
			return nil, under("or_rules", err)
		}
		terms, err := decodePermissions("rules", rule.OrRules.GetRules(), depth)
		return terms, under("or_rules", err)
	case *xdsv3.Permission_AndRules:
		if err := known(rule.AndRules); err != nil {
			return nil, under("and_rules", err)
		}
		terms, err := decodeAll(rule.AndRules.GetRules(), depth)
		return terms, under("and_rules", err)
	case *xdsv3.Permission_UrlPath:
		t, err := decodeURLPath(rule.UrlPath)
		return []term{t}, under("url_path", err)
	case *xdsv3.Permission_Header:
		c, err := decodeCondition(rule.Header)
		if err != nil {
			return nil, under("header", err)
		}
		return []term{{any: true, conditions: []condition{c}}}, nil
	case *xdsv3.Permission_NotRule:
		terms, err := decodePermission(rule.NotRule, depth+1)
		if err != nil {
			return nil, under("not_rule", err)
		}
		return []term{{any: true, conditions: []condition{{value: textOf(m), test: &notTest{terms}}}}}, nil
	default:
		return nil, bad("", "has no rule that is evaluated here: set any, and_rules, or_rules, not_rule, url_path or header")
	}
}

// textOf tells messages apart that are not equal.
func textOf(m xdsv3.Message) string { return string(m.Raw()) }

// decodeAll reads a list of which all must hold, and multiplies it out.
func decodeAll(list []*xdsv3.Permission, depth int) ([]term, error) {
	if len(list) == 0 {
		return nil, bad("rules", "is empty: it would hold for every call")
	}
	terms := []term{{any: true}}
	for i, m := range list {
		more, err := decodePermission(m, depth+1)
		if err != nil {
			return nil, at("rules", i, err)
		}
		if n := len(terms) * len(more); n > maxTerms {
			return nil, at("rules", i, bad("", "comes to %d conditions with those before it, at most %d are accepted", n, maxTerms))
		}
		product := make([]term, 0, len(terms)*len(more))
		for _, t := range terms {
			for _, u := range more {
				product = append(product, both(t, u))
			}
		}
		terms = either(product)
	}
	return terms, nil
}
