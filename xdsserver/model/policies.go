package model

import (
	"fmt"
	"strings"
	"time"
)

func (v *validation) mesh(m *Mesh) {
	if m.Closed { // what is wrong with it is told by who read it
		v.closeMesh(m)
		return
	}
	c := &checker{ref: m.Ref(), from: m.From}
	c.mesh(m)
	if v.accept(c.problems) {
		v.set.Mesh = m
		return
	}
	closed := m.Close()
	if closed.AccessDefault > AccessDeny {
		closed.AccessDefault = AccessDeny
	}
	v.closeMesh(closed)
}

// closeMesh is for a Mesh that is bad. One that is good goes before it.
func (v *validation) closeMesh(m *Mesh) {
	switch {
	case v.set.Mesh != nil && !v.set.Mesh.Closed:
	case v.previous.Mesh != nil && !v.previous.Mesh.Closed:
		v.set.Mesh = v.previous.Mesh
	case v.set.Mesh == nil || m.AccessDefault == AccessDeny:
		v.set.Mesh = m
	}
}

// permissive warns of static endpoints, which a permissive service does not make so.
func (v *validation) permissive() {
	var inherit []ServiceName
	for _, name := range sortedNames(v.set.Services) {
		s := v.set.Services[name]
		switch {
		case len(s.Endpoints) == 0 || v.set.Permissive(s).IsZero():
		case s.PermissiveUntil.IsZero():
			inherit = append(inherit, name)
		default:
			c := &checker{ref: s.Ref(), from: s.From}
			c.warnf("spec.mtls", "%s", strictAnyway(nil))
			v.accept(c.problems)
		}
	}
	if m := v.set.Mesh; m != nil && len(inherit) > 0 {
		c := &checker{ref: m.Ref(), from: m.From}
		c.warnf("spec.mtls", "%s", strictAnyway(inherit))
		v.accept(c.problems)
	}
}

func strictAnyway(services []ServiceName) string {
	which := "this service"
	if len(services) > 0 {
		which = few(services)
	}
	return "static endpoints of " + which + " stay strict: stock servers have no permissive mode, and clients of the mesh connect to " +
		"nobody without an identity"
}

func (v *validation) policy(p *AccessPolicy) {
	before := v.policyBefore(p.Ref())
	if p.Closed { // what is wrong with it is told by who read it
		v.closePolicy(p, before)
		return
	}
	c := &checker{ref: p.Ref(), from: p.From}
	c.policy(p)
	v.strangers(c, p)
	v.unevaluated(c, p)
	if v.accept(c.problems) {
		v.set.Policies = append(v.set.Policies, p)
		return
	}
	if before != nil && !before.Closed || p.enforces() {
		v.closePolicy(p.Close(), before)
	}
}

// closePolicy puts the last good form of a bad policy in its place, or else the
// closed one.
func (v *validation) closePolicy(p, before *AccessPolicy) {
	if before != nil && !before.Closed {
		v.set.Policies = append(v.set.Policies, before)
		return
	}
	if len(p.Services)+len(p.Namespaces) == 0 && !p.AllServices {
		return // it names nobody
	}
	v.set.Policies = append(v.set.Policies, p)
	c := &checker{ref: p.Ref(), from: p.From}
	c.errorf("spec.services", "no good form of the policy is in use, so every call to %s is denied until it is corrected", p.protects())
	v.accept(c.problems)
}

func (v *validation) policyBefore(ref Ref) *AccessPolicy {
	if v.policiesBefore == nil {
		v.policiesBefore = make(map[Ref]*AccessPolicy, len(v.previous.Policies))
		for _, p := range v.previous.Policies {
			v.policiesBefore[p.Ref()] = p
		}
	}
	return v.policiesBefore[ref]
}

// strangers warns of services that nobody knows. A policy about them is good: they
// may start later, and are protected from their first moment on.
func (v *validation) strangers(c *checker, p *AccessPolicy) {
	for _, s := range p.Services {
		if v.stranger(s) {
			c.warnf("spec.services", "no service %s is known: %sthe policy protects it once it starts", s, v.guess(s))
		}
	}
	check := func(field string, rules []AccessRule) {
		for i, r := range rules {
			for j, from := range r.From {
				if from.Kind != OfService {
					continue
				}
				if s, err := ParseServiceName(from.Value); err == nil && v.stranger(s) {
					c.warnf(fmt.Sprintf("%s[%d].from[%d]", field, i, j), "no service %s is known: %sthe rule holds once it calls", s, v.guess(s))
				}
			}
		}
	}
	check("spec.allow", p.Rules.Allow)
	check("spec.deny", p.Rules.Deny)
	if p.Shadow != nil {
		check("spec.shadow.allow", p.Shadow.Allow)
		check("spec.shadow.deny", p.Shadow.Deny)
	}
}

func (v *validation) stranger(name ServiceName) bool {
	_, aside := v.aside[name]
	return v.set.Services[name] == nil && !aside && CheckLabel(name.Name) == nil && CheckLabel(name.Namespace) == nil
}

// unevaluated warns of what a policy says and its servers cannot tell: stock
// servers read no rules on trial, and a caller without an identity is from nowhere.
func (v *validation) unevaluated(c *checker, p *AccessPolicy) {
	trial := p.Audit || p.Shadow != nil
	denies := !p.Audit && deniesByName(p.Rules.Deny)
	if !trial && !denies {
		return
	}
	var static, open []ServiceName
	var until time.Time
	for _, name := range v.protected(p) {
		s := v.set.Services[name]
		if len(s.Endpoints) > 0 {
			static = append(static, name)
		}
		if t := v.set.Permissive(s); !t.IsZero() {
			open = append(open, name)
			if t.After(until) {
				until = t
			}
		}
	}
	if trial && len(static) > 0 {
		field := "spec.mode"
		if p.Shadow != nil {
			field = "spec.shadow"
		}
		c.warnf(field, "is not evaluated by stock servers, as those at static endpoints of %s may be: what it would deny there is not told",
			few(static))
	}
	if denies && len(open) > 0 {
		c.warnf("spec.deny", "does not hold for callers without an identity, whom %s takes until %s: nobody can tell which service they are",
			few(open), until.UTC().Format(time.RFC3339))
	}
}

// deniesByName reports whether a rule denies some callers and not others.
func deniesByName(rules []AccessRule) bool {
	for _, r := range rules {
		named := len(r.From) > 0
		for _, p := range r.From {
			named = named && p.Kind != Anyone
		}
		if named {
			return true
		}
	}
	return false
}

// protected are the known services that the policy protects, in order.
func (v *validation) protected(p *AccessPolicy) []ServiceName {
	var names []ServiceName
	if !p.AllServices && len(p.Namespaces) == 0 {
		for _, s := range p.Services {
			if v.set.Services[s] != nil {
				names = append(names, s)
			}
		}
		return names
	}
	for _, name := range v.names() {
		if p.Protects(name) {
			names = append(names, name)
		}
	}
	return names
}

// names are all services, in order.
func (v *validation) names() []ServiceName {
	if v.sorted == nil {
		v.sorted = sortedNames(v.set.Services)
	}
	return v.sorted
}

// protects is whom p protects, for people.
func (p *AccessPolicy) protects() string {
	if p.AllServices {
		return "every service"
	}
	names := make([]string, 0, len(p.Services)+len(p.Namespaces))
	for _, s := range p.Services {
		names = append(names, s.String())
	}
	for _, n := range p.Namespaces {
		names = append(names, "*."+n)
	}
	return shorten(names)
}

func few(services []ServiceName) string {
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = s.String()
	}
	return shorten(names)
}

// shorten names three and counts the others.
func shorten(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func comparePolicies(a, b *AccessPolicy) int {
	return ServiceName{a.Namespace, a.Name}.Compare(ServiceName{b.Namespace, b.Name})
}
