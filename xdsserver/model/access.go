package model

import (
	"slices"
	"time"
)

// A Mesh is what holds for all services.
type Mesh struct {
	// Name is "default": there is one.
	Name, From string
	// AccessDefault decides calls to services that no policy allows calls to.
	AccessDefault AccessDefault
	// PermissiveUntil holds for services that say nothing of their own; zero means
	// that every connection is mutual TLS.
	PermissiveUntil time.Time
	// TapRedact are what taps leave out beside what they always do: fields by their full
	// names or by bare ones, and metadata keys.
	TapRedact []string
	// Closed is true of a form that stands for one that could not be read.
	Closed bool
}

// DefaultMesh is the name of the one Mesh.
const DefaultMesh = "default"

// AccessDefault is who may call a service that no policy has an allow list for.
type AccessDefault uint8

// The defaults.
const (
	// AccessAuthenticated allows every caller with an identity of the trust domain.
	AccessAuthenticated AccessDefault = iota
	// AccessDeny allows nobody.
	AccessDeny
)

// An AccessPolicy says who may call the services that it protects.
//
// A call is denied when a deny rule of a policy matches it. Otherwise, when any
// policy of the service has an allow list, one of their allow rules must match it.
// When none has, the Mesh's AccessDefault decides.
type AccessPolicy struct {
	Namespace, Name string
	From            string
	// Services, Namespaces and AllServices together are whom it protects.
	Services    []ServiceName
	Namespaces  []string
	AllServices bool
	// Except are services that it does not protect, though AllServices or Namespaces
	// would have it so.
	Except []ServiceName
	// Audit puts Rules on trial: they are evaluated and told of, never enforced.
	Audit bool
	Rules AccessRules
	// Shadow is on trial in the place of Rules, which are enforced meanwhile; nil
	// for nothing on trial. It is nil when Audit is true.
	Shadow *AccessRules
	// Closed is true of a form that stands for one that is bad or could not be
	// read, and of which no good form is known: its Rules deny everybody.
	Closed bool
}

// AccessRules are what one policy allows and denies.
type AccessRules struct {
	Allow, Deny []AccessRule
	// HasAllow says that there is an allow list. With no rule in it nobody may call.
	HasAllow bool
}

// An AccessRule matches a call when all its parts do.
type AccessRule struct {
	// From are callers, of which one must call. None matches every caller, also one
	// without an identity, whom only a permissive service lets in.
	From []Principal
	// NotFrom are callers that the rule does not match, though From does.
	NotFrom []Principal
	// Methods are "/package.Service/Method" or "/package.Service/*", of which one
	// must be called. None matches every method.
	Methods []string
	// Path must hold for the method, too; nil holds for every one.
	Path *PathMatch
	// Metadata must all hold.
	Metadata []MetadataMatch
	// Unless are calls that the rule does not match, though the others of its parts do.
	Unless []CallMatch
}

// A CallMatch holds for a call when all its parts do, whoever calls: those of an
// [AccessRule] of the same names.
type CallMatch struct {
	Methods  []string
	Path     *PathMatch
	Metadata []MetadataMatch
}

// Calls are the calls that the rule matches, whoever calls, but for those of Unless.
func (r AccessRule) Calls() CallMatch { return CallMatch{r.Methods, r.Path, r.Metadata} }

// Any reports whether it holds for every call.
func (m CallMatch) Any() bool { return len(m.Methods) == 0 && m.Path == nil && len(m.Metadata) == 0 }

// PathKind is a way to name methods beside that of [AccessRule.Methods].
type PathKind uint8

// The kinds of paths.
const (
	// PathPrefix is every method whose path, "/package.Service/Method", begins so.
	PathPrefix PathKind = iota
	// PathExpression is every method whose whole path an RE2 expression matches.
	PathExpression
)

// A PathMatch holds for some methods.
type PathMatch struct {
	Kind  PathKind
	Value string
}

// PrincipalKind is a way to name callers.
type PrincipalKind uint8

// The kinds of principals.
const (
	// Anyone is every caller with an identity of the trust domain; in a deny rule
	// every caller, since who denies all does not mean to leave strangers in.
	Anyone PrincipalKind = iota
	// OfService is the service Value, "name" or "name.namespace" outside default.
	OfService
	// OfNamespace is every service of the namespace Value.
	OfNamespace
	// OfID is the SPIFFE id Value.
	OfID
	// Below is every SPIFFE id below Value, which ends in '/'.
	Below
)

// A Principal is one or many callers.
type Principal struct {
	Kind  PrincipalKind
	Value string
}

// MetadataKind is a way to match a header.
type MetadataKind uint8

// The kinds of matches. A header that is there more than once has its values joined by
// commas.
const (
	// ValueIs compares the whole value; an empty Value matches any that is not empty.
	ValueIs MetadataKind = iota
	ValuePrefix
	ValueSuffix
	ValueContains
	// ValueExpression is an RE2 expression for the whole value.
	ValueExpression
	// ValueAny matches any, also an empty one.
	ValueAny
)

// A MetadataMatch holds for a call with such a header.
type MetadataMatch struct {
	// Name is in lower case.
	Name  string
	Value string
	Kind  MetadataKind
	// Invert has it hold for any other value. A header that is not there has none, so
	// that no match holds but an inverted ValueAny, or ValueIs with an empty Value.
	Invert bool
	// IgnoreCase takes upper and lower case of a value for the same, but not in an
	// expression, which says (?i).
	IgnoreCase bool
}

// Trust is whom certificates of the mesh are verified against. It is immutable.
type Trust struct {
	// Domain is the trust domain, as in "example.org".
	Domain string
	// Datacenter is that of Consul where its authority signs; empty elsewhere. It is part
	// of identities then.
	Datacenter string
	// Authorities are the roots, DER.
	Authorities [][]byte
	// RenewBefore asks holders of certificates issued before it to renew them
	// soon; zero asks nobody.
	RenewBefore time.Time
}

// Ref implements [Object].
func (m *Mesh) Ref() Ref { return Ref{KindMesh, DefaultNamespace, m.Name} }

// Origin implements [Object].
func (m *Mesh) Origin() string { return m.From }

// Ref implements [Object].
func (p *AccessPolicy) Ref() Ref { return Ref{KindAccessPolicy, p.Namespace, p.Name} }

// Origin implements [Object].
func (p *AccessPolicy) Origin() string { return p.From }

// Protects reports whether the policy is about calls to the service.
func (p *AccessPolicy) Protects(service ServiceName) bool {
	if slices.Contains(p.Services, service) {
		return true
	}
	return (p.AllServices || slices.Contains(p.Namespaces, service.Namespace)) && !slices.Contains(p.Except, service)
}

// Permissive returns until when servers of the service take connections without
// TLS; zero means that they take none.
func (s *Set) Permissive(service *Service) time.Time {
	switch {
	case service.Strict:
		return time.Time{}
	case !service.PermissiveUntil.IsZero() || s.Mesh == nil:
		return service.PermissiveUntil
	}
	return s.Mesh.PermissiveUntil
}

// Close returns the form that stands for a policy of which no good form is known,
// as for one that could not be read: it denies every call to what p protects. To
// go without it would leave open what somebody tried to close.
func (p *AccessPolicy) Close() *AccessPolicy {
	return &AccessPolicy{
		Namespace: p.Namespace, Name: p.Name, From: p.From,
		Services: p.Services, Namespaces: p.Namespaces, AllServices: p.AllServices, Except: p.Except,
		Rules: AccessRules{Deny: []AccessRule{{}}}, Closed: true,
	}
}

// Close returns the form that stands for a Mesh of which no good form is known:
// its AccessDefault without anything permissive. What taps leave out is not known, so
// that they show no messages.
func (m *Mesh) Close() *Mesh {
	return &Mesh{Name: DefaultMesh, From: m.From, AccessDefault: m.AccessDefault, Closed: true}
}

// enforces reports whether the policy may change what is decided.
func (p *AccessPolicy) enforces() bool {
	return !p.Audit && (p.Rules.Lists() || len(p.Rules.Deny) > 0)
}

// Lists reports whether there is an allow list, if an empty one.
func (r AccessRules) Lists() bool { return r.HasAllow || len(r.Allow) > 0 }
