package manifest

import (
	"strings"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func (r *reader) policy(v *value) *model.AccessPolicy {
	name, spec := r.name(v), v.get("spec")
	p := &model.AccessPolicy{Namespace: name.Namespace, Name: name.Name, From: r.from(v), Audit: spec.textOf("mode") == audit}
	r.protected(p, spec.get("services"), v.get("metadata").get("name"))
	p.Rules = r.accessRules(spec, p.Namespace)
	if shadow := spec.get("shadow"); shadow != nil {
		rules := r.accessRules(shadow, p.Namespace)
		p.Shadow = &rules
		if shadow.get("allow") == nil && shadow.get("deny") == nil {
			r.errorf(shadow.path, shadow.pos, "says neither allow nor deny: write one of them, or remove it")
		}
		if p.Audit {
			r.errorf(shadow.path, shadow.pos, "is on trial in place of allow and deny, which mode: audit has on trial already: remove one of "+
				"the two")
		}
	}
	if spec != nil && spec.get("allow") == nil && spec.get("deny") == nil && spec.get("shadow") == nil {
		r.errorf(spec.path, spec.pos, "says neither allow nor deny: write allow: [{from: [NAME]}], or allow: [] to let nobody call")
	}
	return p
}

// protected reads whom the policy protects.
func (r *reader) protected(p *model.AccessPolicy, services, name *value) {
	if services == nil {
		// Left out: the service that the policy is named after.
		own := model.ServiceName{Namespace: p.Namespace, Name: p.Name}
		if name != nil && model.CheckLabel(own.Name) != nil {
			r.errorf(name.path, name.pos, "%.80q can be no service's, and spec.services, which says what the policy protects, is left out: "+
				"write services: [NAME]", own.Name)
		}
		p.Services = []model.ServiceName{own}
		return
	}
	if len(services.list) == 0 {
		r.errorf(services.path, services.pos, "names no service: write one, or leave it out for the one that the policy is named after")
	}
	for _, s := range services.list {
		if err := protect(p, s.text); err != nil {
			r.errorf(s.path, s.pos, "%.80q is no service: %v; write voting, voting.shop, \"*.shop\" for a namespace or \"*\" for all", s.text, err)
		}
	}
}

// protect adds one entry of spec.services.
func protect(p *model.AccessPolicy, entry string) error {
	if entry == "*" {
		p.AllServices = true
		return nil
	}
	if namespace, ok := strings.CutPrefix(entry, "*."); ok {
		if err := model.CheckLabel(namespace); err != nil {
			return err
		}
		p.Namespaces = append(p.Namespaces, namespace)
		return nil
	}
	s, err := model.ParseServiceIn(entry, p.Namespace)
	if err != nil {
		return err
	}
	p.Services = append(p.Services, s)
	return nil
}

func (r *reader) accessRules(v *value, namespace string) model.AccessRules {
	rules := model.AccessRules{HasAllow: v.get("allow") != nil}
	for _, rule := range v.listOf("allow") {
		rules.Allow = append(rules.Allow, r.accessRule(rule, namespace))
	}
	for _, rule := range v.listOf("deny") {
		rules.Deny = append(rules.Deny, r.accessRule(rule, namespace))
	}
	if d := v.get("deny"); d != nil && len(d.list) == 0 {
		r.errorf(d.path, d.pos, "denies nothing: write a rule, or remove it (deny: [{}] denies every call)")
	}
	return rules
}

func (r *reader) accessRule(v *value, namespace string) model.AccessRule {
	var rule model.AccessRule
	// An empty list could be meant as nobody, and would match everybody.
	for _, name := range []string{"from", "methods", "metadata"} {
		if f := v.get(name); f != nil && len(f.list) == 0 {
			r.errorf(f.path, f.pos, "is empty: write an entry, or leave %s out, and the rule holds whatever it is", name)
		}
	}
	for _, f := range v.listOf("from") {
		p, err := model.ParsePrincipal(f.text, namespace)
		if err != nil {
			r.errorf(f.path, f.pos, "%v", err)
		}
		rule.From = append(rule.From, p)
	}
	for _, m := range v.listOf("methods") {
		if err := model.CheckMethod(m.text); err != nil {
			r.errorf(m.path, m.pos, "%v", err)
		}
		rule.Methods = append(rule.Methods, m.text)
	}
	for _, m := range v.listOf("metadata") {
		match := model.MetadataMatch{Name: m.textOf("name"), Value: m.textOf("value")}
		if err := model.CheckMetadata(match); err != nil && m.get("name") != nil {
			r.errorf(m.path, m.pos, "%v", err)
		}
		if value := m.get("value"); value != nil && value.text == "" {
			r.errorf(value.path, value.pos, "is empty: write the value, or leave it out to match any")
		}
		rule.Metadata = append(rule.Metadata, match)
	}
	return rule
}

func policyNode(p *model.AccessPolicy) node {
	var spec mapping
	if own := (model.ServiceName{Namespace: p.Namespace, Name: p.Name}); p.AllServices || len(p.Namespaces) > 0 ||
		len(p.Services) != 1 || p.Services[0] != own {
		var services sequence
		for _, s := range p.Services {
			services = append(services, quote(s.In(p.Namespace)))
		}
		for _, n := range p.Namespaces {
			services = append(services, quote("*."+n))
		}
		if p.AllServices {
			services = append(services, quote("*"))
		}
		spec.put("services", services)
	}
	except := make(sequence, 0, len(p.Except))
	for _, s := range p.Except {
		except = append(except, quote(s.In(p.Namespace)))
	}
	if len(except) > 0 {
		spec.beyond("except", except)
	}
	if p.Closed {
		spec.beyond("closed", scalarText("true"))
	}
	if p.Audit {
		spec.raw("mode", audit)
	}
	putRules(&spec, p.Rules, p.Namespace)
	if p.Shadow != nil {
		var shadow mapping
		putRules(&shadow, *p.Shadow, p.Namespace)
		spec.put("shadow", shadow)
	}
	return spec
}

func putRules(m *mapping, rules model.AccessRules, namespace string) {
	list := func(rules []model.AccessRule) sequence {
		s := make(sequence, 0, len(rules))
		for _, rule := range rules {
			s = append(s, accessRuleNode(rule, namespace))
		}
		return s
	}
	if rules.Lists() {
		m.put("allow", list(rules.Allow))
	}
	m.list("deny", list(rules.Deny))
}
