package model

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func (c *checker) mesh(m *Mesh) {
	if m.Name != DefaultMesh {
		c.errorf("metadata.name", "%q is not %s: there is one Mesh, and that is its name", m.Name, DefaultMesh)
	}
	if m.AccessDefault > AccessDeny {
		c.errorf("spec.access.default", "is neither authenticated nor deny")
	}
	c.until(m.PermissiveUntil)
	if n := len(m.TapRedact); n > maxRedacted {
		c.errorf("spec.tap.redact", "has %d entries, %d are the most", n, maxRedacted)
	}
	for i, name := range m.TapRedact {
		if name == "" || len(name) > maxRedactedName || !isRedacted(name) {
			c.errorf(fmt.Sprintf("spec.tap.redact[%d]", i), "%.80q is no name of a field or of metadata: write shop.v1.Card.number, number or x-iban", name)
		}
	}
}

// CheckPolicy returns what is wrong with a policy by itself.
func CheckPolicy(p *AccessPolicy) []Problem {
	c := &checker{ref: p.Ref(), from: p.From}
	c.policy(p)
	return c.problems
}

// CheckCalls returns what is wrong with a match by itself.
func CheckCalls(m CallMatch) []Problem {
	c := &checker{}
	c.calls("", m)
	return c.problems
}

// maxExcept is of services of one policy: one that is for all may have many of its own.
const maxExcept = 10_000

const (
	maxRedacted     = 256
	maxRedactedName = 256
)

// isRedacted reports whether a name may be one of a field or of metadata.
func isRedacted(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
	})
}

// until checks when permissive connections end; zero is never.
func (c *checker) until(t time.Time) {
	if t.IsZero() {
		return
	}
	if year := t.UTC().Year(); year < 2000 || year > 9999 {
		c.errorf("spec.mtls.until", "%v is out of range: write a day that comes", t)
	}
}

func (c *checker) policy(p *AccessPolicy) {
	c.label("metadata.namespace", p.Namespace)
	if err := checkSubdomain(p.Name); err != nil {
		c.errorf("metadata.name", "is no DNS name: %v", err)
	}
	if p.Namespace == "mesh" && p.Name == DefaultMesh {
		// Decisions name what made them, and this is what the Mesh is called there.
		c.errorf("metadata.name", "mesh/default is what the default of the Mesh is called: give the policy another name")
	}
	c.protected(p)
	if !p.Rules.Lists() && len(p.Rules.Deny) == 0 && p.Shadow == nil {
		c.errorf("spec", "says neither allow nor deny: write allow: [] to let nobody call, or remove the policy")
	}
	c.rules("spec", p.Rules)
	if p.Shadow == nil {
		return
	}
	if p.Audit {
		c.errorf("spec.shadow", "is on trial in place of allow and deny, which mode: audit has on trial already: remove one of the two")
	}
	if !p.Shadow.Lists() && len(p.Shadow.Deny) == 0 {
		c.errorf("spec.shadow", "says neither allow nor deny: write one of them, or remove it")
	}
	c.rules("spec.shadow", *p.Shadow)
}

// protected checks whom the policy protects.
func (c *checker) protected(p *AccessPolicy) {
	const field = "spec.services"
	n := len(p.Services) + len(p.Namespaces)
	if n == 0 && !p.AllServices {
		c.errorf(field, "names no service: write the services that the policy protects, or \"*\" for all")
	}
	if n > 0 && p.AllServices {
		c.warnf(field, "holds \"*\", which is every service: the others say nothing more")
	}
	c.count(field, n, maxProtected)
	c.count("spec.except", len(p.Except), maxExcept)
	for _, s := range p.Except {
		c.name("spec.except", s)
	}
	for i, s := range p.Services {
		if !c.name(field, s) {
			continue
		}
		if slices.Contains(p.Services[:i], s) {
			c.errorf(field, "names %s twice: remove one of them", s)
		}
	}
	for i, namespace := range p.Namespaces {
		c.label(field, namespace)
		if slices.Contains(p.Namespaces[:i], namespace) {
			c.errorf(field, "names *.%s twice: remove one of them", namespace)
		}
	}
}

func (c *checker) rules(field string, r AccessRules) {
	for _, list := range []struct {
		field string
		rules []AccessRule
	}{{field + ".allow", r.Allow}, {field + ".deny", r.Deny}} {
		c.count(list.field, len(list.rules), maxAccessRules)
		for i, rule := range list.rules {
			n := len(c.problems)
			c.accessRule(rule)
			if len(c.problems) > n {
				c.under(n, fmt.Sprintf("%s[%d]", list.field, i))
			}
		}
	}
}

// accessRule checks one rule; fields begin with a dot.
func (c *checker) accessRule(r AccessRule) {
	c.callers(".from", r.From)
	c.callers(".notFrom", r.NotFrom)
	c.calls("", r.Calls())
	c.count(".unless", len(r.Unless), maxAccessRules)
	for i, m := range r.Unless {
		n := len(c.problems)
		c.calls("", m)
		if m.Any() {
			c.errorf("", "is every call, so that the rule would match none: remove the rule")
		}
		if len(c.problems) > n {
			c.under(n, fmt.Sprintf(".unless[%d]", i))
		}
	}
}

func (c *checker) callers(field string, list []Principal) {
	c.count(field, len(list), maxPrincipals)
	seen := make(map[Principal]int, len(list))
	for i, p := range list {
		if err := CheckPrincipal(p); err != nil {
			c.errorf(fmt.Sprintf("%s[%d]", field, i), "%v", err)
		}
		if j, ok := seen[p]; ok {
			c.errorf(fmt.Sprintf("%s[%d]", field, i), "is the same as %s[%d]: remove one of them", field[1:], j)
		}
		seen[p] = i
	}
}

func (c *checker) calls(field string, m CallMatch) {
	c.count(field+".methods", len(m.Methods), maxMethods)
	methods := make(map[string]int, len(m.Methods))
	for i, method := range m.Methods {
		if err := CheckMethod(method); err != nil {
			c.errorf(fmt.Sprintf("%s.methods[%d]", field, i), "%v", err)
		}
		if j, ok := methods[method]; ok {
			c.errorf(fmt.Sprintf("%s.methods[%d]", field, i), "is the same as methods[%d]: remove one of them", j)
		}
		methods[method] = i
	}
	if m.Path != nil {
		c.path(field+".path", *m.Path)
	}
	c.count(field+".metadata", len(m.Metadata), maxHeaders)
	// Two matches of one kind about one header are one that is meant, or none that holds.
	type one struct {
		name string
		kind MetadataKind
	}
	seen := make(map[one]int, len(m.Metadata))
	for i, match := range m.Metadata {
		at := fmt.Sprintf("%s.metadata[%d]", field, i)
		if err := CheckMetadata(match); err != nil {
			c.errorf(at, "%v", err)
		}
		if match.Kind == ValueExpression && match.Value != "" {
			c.regex(at+".value", match.Value, maxMethod)
		}
		key := one{match.Name, match.Kind}
		if j, ok := seen[key]; ok && !match.Invert && match.Kind == ValueIs {
			c.errorf(at+".name", "%s is matched by metadata[%d] too: all would have to hold, write one of them", match.Name, j)
		}
		seen[key] = i
	}
}

func (c *checker) path(field string, p PathMatch) {
	switch {
	case p.Value == "":
		c.errorf(field, "is empty: leave it out, and the rule holds for every method")
	case p.Kind == PathExpression:
		c.regex(field, p.Value, maxMethod)
	case p.Kind > PathExpression:
		c.errorf(field, "is of unknown kind %d", p.Kind)
	case p.Value[0] != '/':
		c.errorf(field, "%.80q does not begin with a slash, as all methods do", p.Value)
	case len(p.Value) > maxMethod:
		c.errorf(field, "is %d characters long, %d is the most", len(p.Value), maxMethod)
	}
}

// CheckMethod reports why s is no method of a rule: "/package.Service/Method", or
// "/package.Service/*" for all of a service.
func CheckMethod(s string) error {
	switch {
	case len(s) > maxMethod:
		return fmt.Errorf("method %.80q... is longer than %d characters", s, maxMethod)
	case s == "*" || s == "/*" || s == "/*/*" || s == "/":
		return fmt.Errorf("method %q is any: leave methods out, and the rule holds for every method", s)
	}
	rest, slash := strings.CutPrefix(s, "/")
	service, method, both := strings.Cut(rest, "/")
	if !slash || !both || !serviceForm.MatchString(service) || method != "*" && !methodForm.MatchString(method) {
		return fmt.Errorf("method %.80q is none that a server can decide by: write /package.Service/Method, or /package.Service/* "+
			"for every method of the service; other wildcards and expressions are not matched", s)
	}
	return nil
}

// decidedElsewhere are headers that servers do not see as they were sent, or that
// every call has.
var decidedElsewhere = []string{
	"host", "connection", "content-type", "keep-alive", "proxy-authenticate", "proxy-authorization", "trailer",
	"transfer-encoding", "upgrade",
}

// CheckMetadata reports why no server can decide by m.
func CheckMetadata(m MetadataMatch) error {
	if lower := strings.ToLower(m.Name); lower != m.Name {
		return fmt.Errorf("name %.80q is not in lower case, as all metadata is: write %.80q", m.Name, lower)
	}
	if why := badHeader(m.Name); why != "" {
		return fmt.Errorf("name %s", why)
	}
	if slices.Contains(decidedElsewhere, m.Name) {
		return fmt.Errorf("name %s is the protocol's own: match metadata of the application", m.Name)
	}
	switch {
	case m.Kind > ValueAny:
		return fmt.Errorf("is of unknown kind %d", m.Kind)
	case m.Value == "" && m.Kind != ValueIs && m.Kind != ValueAny, m.Value != "" && m.Kind == ValueAny:
		return fmt.Errorf("value %.80q is none for its kind", m.Value)
	case len(m.Value) > maxHeaderValue:
		return fmt.Errorf("value is %d bytes long, %d is the most", len(m.Value), maxHeaderValue)
	case strings.ContainsFunc(m.Value, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("value %.80q can never be sent: metadata is printable ASCII", m.Value)
	}
	return nil
}
