package snapshot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// An assembly is a Snapshot in the making.
type assembly struct {
	translate translator
	units     []*unit
	last      *byKind
	now       byKind
	problems  []model.Problem
	// refused are clusters that no form is published of.
	refused map[string]bool
}

// assemble chooses what is published of the units: all of a service, or the
// configuration it had before.
func assemble(units []*unit, last *byKind, t translator) *assembly {
	a := &assembly{translate: t, units: units, last: last, refused: make(map[string]bool)}
	for k := range a.now {
		a.now[k] = make(map[string]*Resource, max(len(units), len(last[k])))
	}
	for _, u := range units {
		a.addConfiguration(u)
		a.addInbound(u)
		a.addAssignments(u)
	}
	for _, u := range units {
		a.closeRoutes(u)
	}
	return a
}

// put publishes m, as the previous Snapshot's own value when its bytes are the same.
func (a *assembly) put(m *made) {
	if !m.placed {
		m.placed = true
		if before := a.last[m.kind][m.resource.Name]; before != nil && before.Version == m.resource.Version {
			m.resource = before
		}
	}
	a.now[m.kind][m.resource.Name] = m.resource
}

func (a *assembly) addConfiguration(u *unit) {
	if !slices.ContainsFunc(u.configuration, func(m *made) bool { return m.refusal != "" }) {
		for _, m := range u.configuration {
			a.put(m)
		}
		return
	}
	front := true // the Listener and the RouteConfiguration are good
	for _, m := range u.configuration {
		if m.refusal != "" {
			front = front && m.kind == clusters
			a.blame(u, fault{routes: m.kind == routes, what: "a client would refuse it: " + m.refusal})
		}
	}
	for _, m := range u.configuration {
		name := m.resource.Name
		before := a.last[m.kind][name]
		switch {
		case before != nil:
			a.now[m.kind][name] = before
		case m.kind == clusters && m.refusal == "":
			// New, and nobody's change: routes of other services may lead to it.
			a.put(m)
		case m.kind == clusters:
			a.refused[name] = true
		case front:
			// A Listener without its RouteConfiguration would leave clients waiting.
			a.put(m)
		}
	}
}

func (a *assembly) addAssignments(u *unit) {
	for _, m := range u.assignments {
		if m.refusal == "" {
			a.put(m)
			continue
		}
		if before := a.last[m.kind][m.resource.Name]; before != nil {
			a.now[m.kind][m.resource.Name] = before
		}
		a.blame(u, fault{what: "a client would refuse its endpoints: " + m.refusal})
	}
}

// closeRoutes sees to it that the clusters a service's routes lead to are
// published. They are missing where the routes are of an earlier form, or where
// the cluster is refused.
func (a *assembly) closeRoutes(u *unit) {
	name := u.input.Service.Name.String()
	r := a.now[routes][name]
	if r == nil {
		return
	}
	for _, cluster := range r.routesTo {
		if a.keepCluster(cluster) || !a.refused[cluster] {
			continue
		}
		a.blame(u, fault{routes: true, what: fmt.Sprintf("its calls are sent to Cluster %q, which a client would refuse", cluster)})
		a.holdFront(name)
		return
	}
}

// holdFront takes a service's Listener and RouteConfiguration back to their
// previous form, whose clusters were all published.
func (a *assembly) holdFront(name string) {
	delete(a.now[listeners], name)
	delete(a.now[routes], name)
	listener, r := a.last[listeners][name], a.last[routes][name]
	if listener == nil || r == nil {
		return
	}
	a.now[listeners][name] = listener
	a.now[routes][name] = r
	for _, cluster := range r.routesTo {
		a.keepCluster(cluster)
	}
}

// keepCluster reports whether the cluster is published, if need be in its previous
// form. Its endpoints are those of now, not of then.
func (a *assembly) keepCluster(name string) bool {
	if a.now[clusters][name] != nil {
		return true
	}
	before := a.last[clusters][name]
	if before == nil {
		return false
	}
	a.now[clusters][name] = before
	service, version, _ := strings.Cut(name, "/")
	at := slices.IndexFunc(a.units, func(u *unit) bool { return u.input.Service.Name.String() == service })
	if at < 0 || a.now[assignments][name] != nil {
		return true // a service that is gone has no endpoints
	}
	in := a.units[at].input
	in.Versions = []string{version}
	for _, m := range a.translate.encodeAll(a.translate.assignments(in), nil) {
		if m.resource.Name == name && m.refusal == "" {
			a.put(m)
		}
	}
	return true
}

// A fault is what is wrong with what was made of a service.
type fault struct {
	what string
	// routes and policies say whether those of the operator's may be to blame.
	routes, policies bool
}

// blame tells of the service, and of the other objects that may be to blame.
func (a *assembly) blame(u *unit, f fault) {
	name, without := u.input.Service.Name.String(), "; it is not published"
	if f.policies {
		name, without = resource.ServerListener(name), "; it is not published, and its servers take no calls"
	}
	then := "; what was published before stays in use"
	if a.last[listeners][name] == nil {
		then = without
	}
	problem := model.Problem{
		Message: f.what + then + ": change it, and report this, since validation should have refused it",
	}
	tell := func(o model.Object) {
		problem.Object, problem.From = o.Ref(), o.Origin()
		a.problems = append(a.problems, problem)
	}
	tell(u.input.Service)
	if f.routes {
		for _, r := range u.input.Routes {
			tell(r)
		}
	}
	if f.policies {
		for _, p := range u.input.Policies {
			tell(p)
		}
	}
}
