package model

import (
	"fmt"
	"slices"
	"strings"
)

// Registered is the From of endpoints that registered themselves, and of
// services that are known from such endpoints alone.
const Registered = "registered"

// Mirrored is the From of endpoints that registered themselves here, as a registry that
// was told of them has them: they say which subsets the endpoints are in. Those that are
// [Lost] were there before this program started: they are served as being [Elsewhere]
// where nobody remembers that they registered here.
const Mirrored = "registered here, as mirrored"

// Elsewhere is the From of endpoints that registered themselves with another xdsserver,
// or with this one before it was started again.
const Elsewhere = "registered elsewhere"

// Validate checks what single documents cannot: names that are written twice,
// references to services nobody knows, routes that hide one another, and every
// value that a client would refuse. It returns the objects that passed as one
// Set, with a Problem for each thing that is wrong.
//
// An object with a problem that is no warning is set aside. When previous (which
// may be nil) holds an object of the same Ref, that form goes on being served in
// its place: a bad object never replaces a good one. Of objects with the same Ref
// the first stays, so objects come in order of precedence.
//
// An AccessPolicy that is bad, would be enforced and has no such form is not left
// out: it is served as one that denies every call to what it names, since it was
// written to close something. A bad Mesh is served without what is permissive in it.
//
// Static endpoints of services are folded into Set.Endpoints beside the given
// ones. Of endpoints that share an address one is kept, since clients refuse
// both: the one that registered last, and a registered one before a static one.
//
// The result depends on the arguments alone, and so does its order. The caller
// sets Generations. Arguments are not changed, but the Set holds on to the objects.
func Validate(objects []Object, endpoints []Endpoint, previous *Set) *Set {
	if previous == nil {
		previous = &Set{}
	}
	v := &validation{
		set: &Set{
			Services:  make(map[ServiceName]*Service),
			Endpoints: make(map[ServiceName][]Endpoint),
		},
		previous: previous,
		before:   make(map[Ref]*Route, len(previous.Routes)),

		aside:     make(map[ServiceName]string),
		instances: make(map[string]int),
		addresses: make(map[string]int),
	}
	for _, r := range previous.Routes {
		v.before[r.Ref()] = r
	}
	sorted := v.sort(objects)
	for _, s := range sorted.services {
		v.service(s)
	}
	v.endpoints(endpoints)
	v.vouched(sorted.routes)
	for _, n := range sortedNames(v.set.Services) {
		v.known = append(v.known, n.String())
	}
	for _, r := range sorted.routes {
		v.route(r)
	}
	slices.SortFunc(v.set.Routes, compareRoutes)
	v.hidden()
	v.versions()
	for _, m := range sorted.meshes {
		v.mesh(m)
	}
	v.permissive()
	for _, p := range sorted.policies {
		v.policy(p)
	}
	slices.SortFunc(v.set.Policies, comparePolicies)
	return v.set
}

// validation is one run of Validate.
type validation struct {
	set      *Set
	previous *Set
	// before are the routes of previous.
	before map[Ref]*Route
	// policiesBefore are the policies of previous, once one of them is asked for.
	policiesBefore map[Ref]*AccessPolicy
	// sorted are all services, once a policy asks for them.
	sorted []ServiceName
	// known are the names of all services as people write them, sorted, once
	// endpoints are folded in.
	known []string
	// aside are the services that no form of is good, and where they are written.
	aside map[ServiceName]string
	// guesses counts the did-you-mean searches made: each compares with every
	// known name, so a file full of unknown names gets a bounded number.
	guesses int
	// instances and addresses are unique's, cleared for each service.
	instances, addresses map[string]int
}

// maxGuesses bounds the searches for a similar name in one Validate.
const maxGuesses = 50

// byKind are objects by kind.
type byKind struct {
	services []*Service
	routes   []*Route
	meshes   []*Mesh
	policies []*AccessPolicy
}

// sort splits objects by kind and drops those whose Ref is taken already.
func (v *validation) sort(objects []Object) (sorted byKind) {
	first := make(map[Ref]Object, len(objects))
	for _, o := range objects {
		ref := o.Ref()
		if taken, ok := first[ref]; ok {
			v.report(Problem{
				Object: ref, From: o.Origin(), Field: "metadata.name",
				Message: fmt.Sprintf("%s is written twice, at %s and at %s: the first stays; remove one of them, or give it another name",
					ref, taken.Origin(), o.Origin()),
			})
			continue
		}
		first[ref] = o
		switch o := o.(type) {
		case *Service:
			sorted.services = append(sorted.services, o)
		case *Route:
			sorted.routes = append(sorted.routes, o)
		case *Mesh:
			sorted.meshes = append(sorted.meshes, o)
		case *AccessPolicy:
			sorted.policies = append(sorted.policies, o)
		default:
			v.report(Problem{
				Object: ref, From: o.Origin(), Field: "kind",
				Message: fmt.Sprintf("kind %s is not served by this version; remove the object", ref.Kind),
			})
		}
	}
	return sorted
}

func (v *validation) report(p Problem) { v.set.Problems = append(v.set.Problems, p) }

// accept reports problems and says whether none of them sets the object aside.
func (v *validation) accept(problems []Problem) bool {
	v.set.Problems = append(v.set.Problems, problems...)
	return !slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}

func (v *validation) service(s *Service) {
	c := &checker{ref: s.Ref(), from: s.From}
	c.service(s)
	if !v.accept(c.problems) {
		before := v.previous.Services[s.Name]
		if before == nil || before.From == Registered {
			v.aside[s.Name] = s.From
			return
		}
		s = before
	}
	v.set.Services[s.Name] = s
}

func (v *validation) route(r *Route) {
	c := &checker{ref: r.Ref(), from: r.From}
	c.route(r)
	v.references(c, r)
	v.knownMethods(c, r)
	if !v.accept(c.problems) {
		if r = v.before[r.Ref()]; r == nil {
			return
		}
	}
	v.set.Routes = append(v.set.Routes, r)
}

// references checks that every service the route names is known.
func (v *validation) references(c *checker, r *Route) {
	for i, p := range r.Parents {
		if c.name(fmt.Sprintf("spec.parentRefs[%d]", i), p) {
			v.reference(c, fmt.Sprintf("spec.parentRefs[%d].name", i), p)
		}
	}
	for i, rule := range r.Rules {
		for j, b := range rule.Backends {
			field := fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j)
			if c.name(field, b.Service) {
				v.reference(c, field+".name", b.Service)
			}
		}
		for j, m := range rule.Mirrors {
			field := fmt.Sprintf("spec.rules[%d].filters.requestMirror[%d].backendRef", i, j)
			if c.name(field, m.Service) {
				v.reference(c, field+".name", m.Service)
			}
		}
	}
}

func (v *validation) reference(c *checker, field string, name ServiceName) {
	if v.set.Services[name] != nil {
		return
	}
	if from, ok := v.aside[name]; ok {
		c.errorf(field, "service %s is set aside for what is wrong with it at %s: correct that first", name, from)
		return
	}
	c.errorf(field, "no service %s is known: %sstart an instance of it, or write a document of kind Service for it (namespace %s) first",
		name, v.guess(name), name.Namespace)
}

// guess asks whether a known name was meant by one that is not.
func (v *validation) guess(name ServiceName) string {
	if v.guesses >= maxGuesses {
		return ""
	}
	v.guesses++
	if near := Nearest(name.String(), v.known); near != "" {
		return fmt.Sprintf("did you mean %s? If not, ", near)
	}
	return ""
}

func compareRoutes(a, b *Route) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func sortedNames[T any](m map[ServiceName]T) []ServiceName {
	names := make([]ServiceName, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, ServiceName.Compare)
	return names
}

// String returns "Service voting", or "Service voting.shop" outside the default namespace.
func (r Ref) String() string {
	return string(r.Kind) + " " + ServiceName{Namespace: r.Namespace, Name: r.Name}.String()
}
