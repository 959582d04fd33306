package model

import (
	"fmt"
	"strings"
)

const (
	spiffeScheme = "spiffe://"
	// maxSPIFFE is in bytes (SPIFFE-ID standard, section 2.3).
	maxSPIFFE      = 2048
	maxTrustDomain = 255
)

// ParsePrincipal reads what stands in a rule's from: "web" of the given namespace,
// "web.shop", "*.shop", "*", "spiffe://example.org/path", or
// "spiffe://example.org/*" with any path before the star.
func ParsePrincipal(s, namespace string) (Principal, error) {
	p := Principal{}
	switch {
	case s == "*":
		return p, nil
	case strings.HasPrefix(s, spiffeScheme):
		p = Principal{OfID, s}
		if below, ok := strings.CutSuffix(s, "*"); ok {
			p = Principal{Below, below}
		}
	case strings.HasPrefix(s, "*."):
		p = Principal{OfNamespace, s[2:]}
	default:
		n, err := ParseServiceIn(s, namespace)
		if err != nil {
			return p, fmt.Errorf("caller %.80q is no service: %w; write web, web.shop, \"*.shop\" for a namespace, \"*\" for every "+
				"identity, or a SPIFFE id", s, err)
		}
		return Principal{OfService, n.String()}, nil
	}
	return p, CheckPrincipal(p)
}

// ParseServiceIn reads "name" of the given namespace, or "name.namespace".
func ParseServiceIn(s, namespace string) (ServiceName, error) {
	name, other, found := strings.Cut(s, ".")
	if found {
		namespace = other
	}
	n := ServiceName{Namespace: namespace, Name: name}
	for _, label := range []string{name, namespace} {
		if err := CheckLabel(label); err != nil {
			return ServiceName{}, err
		}
	}
	return n, nil
}

// Text writes the principal as [ParsePrincipal] reads it for that namespace.
func (p Principal) Text(namespace string) string {
	switch p.Kind {
	case OfService:
		if n, err := ParseServiceName(p.Value); err == nil {
			return n.In(namespace)
		}
	case OfNamespace:
		return "*." + p.Value
	case Below:
		return p.Value + "*"
	case Anyone:
		return "*"
	case OfID:
	}
	return p.Value
}

// In writes the name as [ParseServiceIn] reads it for that namespace.
func (n ServiceName) In(namespace string) string {
	if n.Namespace == namespace {
		return n.Name
	}
	return n.Name + "." + n.Namespace
}

// CheckPrincipal reports why p names no callers that a server can tell.
func CheckPrincipal(p Principal) error {
	switch p.Kind {
	case Anyone:
		if p.Value != "" {
			return fmt.Errorf("caller %.80q is said to be anyone", p.Value)
		}
	case OfService:
		n, err := ParseServiceName(p.Value)
		if err != nil {
			return err
		}
		if n.String() != p.Value {
			return fmt.Errorf("service %q is written %s", p.Value, n)
		}
	case OfNamespace:
		if err := CheckLabel(p.Value); err != nil {
			return fmt.Errorf("namespace %.80q is no DNS label: %w", p.Value, err)
		}
	case OfID:
		if strings.HasSuffix(p.Value, "/") {
			return fmt.Errorf("spiffe id %.200q ends in a slash: write what follows, or * for everything below", p.Value)
		}
		return checkSPIFFE(p.Value, true)
	case Below:
		id, ok := strings.CutSuffix(p.Value, "/")
		if !ok {
			return fmt.Errorf("spiffe id %.200q*: a star stands behind a slash, as in spiffe://example.org/ns/shop/*, since it would hold "+
				"for other names that begin alike", p.Value)
		}
		return checkSPIFFE(id, false)
	default:
		return fmt.Errorf("caller is of unknown kind %d", p.Kind)
	}
	return nil
}

// checkSPIFFE is the SPIFFE-ID standard: no escapes, no upper-case trust domain, no
// empty segment. With path set it must have one: a trust domain is no caller.
func checkSPIFFE(id string, path bool) error {
	authority, scheme := strings.CutPrefix(id, spiffeScheme)
	domain, rest, found := strings.Cut(authority, "/")
	switch {
	case !scheme:
		return fmt.Errorf("spiffe id %.80q does not begin with spiffe:// and a trust domain", id)
	case len(id) > maxSPIFFE:
		return fmt.Errorf("spiffe id %.80q... is longer than %d bytes", id, maxSPIFFE)
	case domain == "" || len(domain) > maxTrustDomain || strings.ContainsFunc(domain, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
	}):
		return fmt.Errorf("spiffe id %.200q: %.80q is no trust domain: write lower-case letters, digits, '.', '-' and '_'", id, domain)
	case !found && path:
		return fmt.Errorf("spiffe id %.200q has no path: write spiffe://%.80s/* for every identity of the trust domain", id, domain)
	case !found:
		return nil
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
		}) {
			return fmt.Errorf("spiffe id %.200q: segment %.80q may hold only letters, digits, '.', '-' and '_'; a star stands at the end only",
				id, segment)
		}
	}
	return nil
}
