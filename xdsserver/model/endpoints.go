package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// endpoints folds static and registered endpoints into the Set, and makes known
// the services that only endpoints tell of.
func (v *validation) endpoints(registered []Endpoint) {
	count := make(map[ServiceName]int, len(v.set.Services))
	good := make([]bool, len(registered))
	var problems []Problem
	c := &checker{}
	registered = unmirror(registered)
	for i, e := range registered {
		c.ref, c.from, c.problems = Ref{KindService, e.Service.Namespace, e.Service.Name}, e.From, nil
		c.name(".service", e.Service)
		c.endpoint(e)
		if c.problems != nil {
			c.under(0, "endpoints["+e.Instance+"]")
			// Endpoints come in any order; what is told of them has one.
			problems = append(problems, c.problems...)
			continue
		}
		good[i] = true
		count[e.Service]++
	}
	slices.SortStableFunc(problems, compareProblems)
	v.accept(problems)
	for name := range count {
		v.unconfigured(name)
	}
	for name, s := range v.set.Services {
		if n := count[name] + len(s.Endpoints); n > 0 {
			v.set.Endpoints[name] = make([]Endpoint, 0, n)
		}
	}
	for i, e := range registered {
		if good[i] {
			v.set.Endpoints[e.Service] = append(v.set.Endpoints[e.Service], e)
		}
	}
	for _, name := range sortedNames(v.set.Endpoints) {
		endpoints := v.set.Endpoints[name]
		for _, e := range v.set.Services[name].Endpoints {
			e.Service = name
			e.Instance = instance(e)
			endpoints = append(endpoints, e)
		}
		v.set.Endpoints[name] = v.unique(name, endpoints)
	}
}

// unconfigured makes known a service that nothing is said of, unless it is.
func (v *validation) unconfigured(name ServiceName) {
	if v.set.Services[name] != nil {
		return
	}
	// What is set aside may have said that it is strict.
	_, aside := v.aside[name]
	s := v.previous.Services[name]
	if s == nil || s.From != Registered || s.Strict != aside {
		s = &Service{Name: name, From: Registered, Strict: aside}
	}
	v.set.Services[name] = s // the same while nothing is said of it, so that nobody compares
}

// vouched makes known the services that routes vouch for.
func (v *validation) vouched(routes []*Route) {
	for _, r := range routes {
		if !r.Vouches {
			continue
		}
		for _, name := range r.names() {
			if CheckLabel(name.Name) == nil && CheckLabel(name.Namespace) == nil {
				v.unconfigured(name)
			}
		}
	}
}

// names are the services that a route names.
func (r *Route) names() []ServiceName {
	names := slices.Clone(r.Parents)
	for _, rule := range r.Rules {
		for _, b := range rule.Backends {
			names = append(names, b.Service)
			for _, to := range b.Failover {
				names = append(names, to.Service)
			}
		}
	}
	return names
}

// A mirror names an endpoint.
type mirror struct {
	service  ServiceName
	instance string
}

// unmirror returns the endpoints with what those that are Mirrored say of them.
func unmirror(endpoints []Endpoint) []Endpoint {
	mirrored := make(map[mirror]Endpoint)
	for _, e := range endpoints {
		if e.From == Mirrored {
			mirrored[mirror{e.Service, e.Instance}] = e
		}
	}
	if len(mirrored) == 0 {
		return endpoints
	}
	out := make([]Endpoint, 0, len(endpoints))
	for _, e := range endpoints {
		switch e.From {
		case Mirrored:
			continue
		case Registered:
			name := mirror{e.Service, e.Instance}
			if m, ok := mirrored[name]; ok && len(m.Subsets) > 0 {
				e.Subsets = m.Subsets
			}
			delete(mirrored, name)
		}
		out = append(out, e)
	}
	for _, e := range endpoints {
		if _, forgotten := mirrored[mirror{e.Service, e.Instance}]; forgotten && e.From == Mirrored && e.Health == Lost {
			e.From = Elsewhere
			out = append(out, e)
		}
	}
	return out
}

func compareProblems(a, b Problem) int {
	return cmp.Or(
		strings.Compare(a.Object.Namespace, b.Object.Namespace),
		strings.Compare(a.Object.Name, b.Object.Name),
		strings.Compare(a.Field, b.Field),
		strings.Compare(a.Message, b.Message),
	)
}

// unique keeps one of the endpoints that share an instance or an address: a
// resource with an address twice is refused by clients as a whole.
//
// A service that comes back on its old port while its old lease still runs is
// everyday life, so the older of two registrations goes without a word when it
// is Lost or Leaving; otherwise somebody has made a mistake, which is a warning.
func (v *validation) unique(name ServiceName, endpoints []Endpoint) []Endpoint {
	slices.SortFunc(endpoints, prefer)
	kept := endpoints[:0] // what is kept is never ahead of what is read
	instances, addresses := v.instances, v.addresses
	clear(instances)
	clear(addresses)
	for _, e := range endpoints {
		if i, ok := instances[e.Instance]; ok {
			v.shadowed(name, e, kept[i], "instance "+e.Instance+" is there twice: the one at "+kept[i].Addresses[0])
			continue
		}
		if i := slices.IndexFunc(e.Addresses, func(a string) bool { _, ok := addresses[a]; return ok }); i >= 0 {
			other := kept[addresses[e.Addresses[i]]]
			v.shadowed(name, e, other, "address "+e.Addresses[i]+" is also that of instance "+other.Instance)
			continue
		}
		instances[e.Instance] = len(kept)
		for _, a := range e.Addresses {
			addresses[a] = len(kept)
		}
		kept = append(kept, e)
	}
	clear(endpoints[len(kept):])
	slices.SortFunc(kept, func(a, b Endpoint) int { return strings.Compare(a.Instance, b.Instance) })
	return kept
}

// prefer puts the endpoint to keep first: registered before static, present
// before lost, here before elsewhere, the latest before the earlier.
func prefer(a, b Endpoint) int {
	return cmp.Or(
		-compareBool(a.registered(), b.registered()),
		compareBool(gone(a), gone(b)),
		-compareBool(a.From == Registered, b.From == Registered),
		b.Since.Compare(a.Since),
		strings.Compare(a.Instance, b.Instance),
		slices.Compare(a.Addresses, b.Addresses),
		strings.Compare(a.From, b.From),
	)
}

// In reports whether the endpoint has the version, or is in the subset of that name;
// every endpoint is in the empty one.
func (e Endpoint) In(version string) bool {
	return version == "" || e.Version == version || slices.Contains(e.Subsets, version)
}

// registered reports whether the process registered itself, here or elsewhere.
func (e Endpoint) registered() bool { return e.From == Registered || e.From == Elsewhere }

func gone(e Endpoint) bool { return e.Health == Lost || e.Health == Leaving }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

func (v *validation) shadowed(name ServiceName, e, kept Endpoint, what string) {
	if gone(e) && kept.registered() {
		return
	}
	if e.registered() && kept.registered() && e.From != kept.From && e.Instance == kept.Instance {
		return // one process, told of twice: it moved from one xdsserver to another
	}
	c := &checker{ref: Ref{KindService, name.Namespace, name.Name}, from: e.From}
	c.warnf("endpoints["+e.Instance+"]", "%s (%s, version %s) stays: %s", what, kept.From, cmp.Or(kept.Version, "none"), remedy(e, kept))
	v.accept(c.problems)
}

func remedy(e, kept Endpoint) string {
	switch {
	case !e.registered():
		return fmt.Sprintf("remove it from %s, since it registers itself", e.From)
	case e.Instance == kept.Instance:
		return "start each instance with a name of its own"
	default:
		return "give each instance an address of its own (TULLE_ADVERTISE)"
	}
}
