package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// hidden warns of matches that never get a call because the same match stands
// before them, and of parents whose routes leave calls over.
func (v *validation) hidden() {
	type place struct {
		route *Route
		rule  int
	}
	type match struct {
		parent ServiceName
		key    string
	}
	first := make(map[match]place)
	for _, r := range inForce(v.set.Routes) {
		warned := make(map[int]bool)
		for _, parent := range r.Parents {
			for i, rule := range r.Rules {
				for _, key := range matchKeys(rule) {
					m := match{parent, key}
					before, ok := first[m]
					if !ok {
						first[m] = place{r, i}
						continue
					}
					if warned[i] {
						continue
					}
					warned[i] = true
					c := &checker{ref: r.Ref(), from: r.From}
					c.warnf(fmt.Sprintf("spec.rules[%d].matches", i),
						"holds for the same calls to %s as rules[%d] of %s at %s, which comes first and takes them: remove one, or make "+
							"it match less",
						parent, before.rule, before.route.Ref(), before.route.From)
					v.accept(c.problems)
				}
			}
		}
	}
	left := make(map[ServiceName]bool)
	for _, r := range v.set.Routes {
		for _, parent := range r.Parents {
			if _, ok := first[match{parent, everyCall}]; ok || left[parent] {
				continue
			}
			left[parent] = true
			c := &checker{ref: r.Ref(), from: r.From}
			c.warnf("spec.rules", "no rule of the routes of %s holds for every call, and calls that none holds for fail, as the Gateway "+
				"API has it: "+
				"add a rule without matches to send them somewhere", parent)
			v.accept(c.problems)
		}
	}
}

// inForce are routes in the order in which their matches are tried: those that keep their
// own come behind all others.
func inForce(routes []*Route) []*Route {
	if !slices.ContainsFunc(routes, func(r *Route) bool { return r.Ordered }) {
		return routes
	}
	routes = slices.Clone(routes)
	slices.SortStableFunc(routes, func(a, b *Route) int { return compareBool(a.Ordered, b.Ordered) })
	return routes
}

// everyCall is the key of a match without parts.
const everyCall = ""

// matchKeys returns for each match of the rule a text that equal matches share.
func matchKeys(r Rule) []string {
	if len(r.Matches) == 0 {
		return []string{everyCall}
	}
	keys := make([]string, 0, len(r.Matches))
	for _, m := range r.Matches {
		keys = append(keys, m.key())
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (m Match) key() string {
	if m.Catchall() {
		return everyCall
	}
	headers := make([]string, 0, len(m.Headers))
	for _, h := range m.Headers {
		headers = append(headers, strings.ToLower(h.Name)+fmt.Sprint(h.Regex, h.Invert, h.Absent)+strconv.Quote(h.Value))
	}
	slices.Sort(headers)
	if m.Path != nil {
		return strconv.Itoa(int(m.Path.Kind)) + strconv.Quote(m.Path.Value) + strings.Join(headers, "")
	}
	return strconv.FormatBool(m.Regex) + strconv.Quote(m.Service) + strconv.Quote(m.Method) + strings.Join(headers, "")
}

// Catchall says whether m holds for every call.
func (m Match) Catchall() bool { return m.anyMethod() && len(m.Headers) == 0 }

// anyMethod says whether m holds for a method whatever its name.
func (m Match) anyMethod() bool { return m.Service == "" && m.Method == "" && m.Path == nil }

// versions warns of shares that go to versions nobody runs.
func (v *validation) versions() {
	running := make(map[ServiceName][]string)
	versionsOf := func(n ServiceName) []string {
		if known, ok := running[n]; ok {
			return known
		}
		known := []string{}
		for _, e := range v.set.Endpoints[n] {
			if e.Version != "" {
				known = append(known, e.Version)
			}
			known = append(known, e.Subsets...)
		}
		slices.Sort(known)
		running[n] = slices.Compact(known)
		return running[n]
	}
	for _, r := range v.set.Routes {
		c := &checker{ref: r.Ref(), from: r.From}
		missing := func(service ServiceName, version string) (known []string, missing bool) {
			if version == "" {
				return nil, false
			}
			known = versionsOf(service)
			_, ok := slices.BinarySearch(known, version)
			return known, !ok
		}
		for i, rule := range r.Rules {
			for j, b := range rule.Backends {
				known, missing := missing(b.Service, b.Version)
				switch field := fmt.Sprintf("spec.rules[%d].backendRefs[%d].version", i, j); {
				case !missing || b.Weight == 0 || len(b.Failover) > 0:
				case r.Vouches:
					c.warnf(field, "no endpoint of %s is in %s, so calls sent there fail until one is: look at what it holds for, where the route comes from",
						b.Service, b.Version)
				default:
					c.warnf(field, "no endpoint of %s has version %s, so calls sent there fail until one starts: "+
						"%s", b.Service, b.Version, hint(b.Version, known))
				}
			}
			for j, m := range rule.Mirrors {
				if known, missing := missing(m.Service, m.Version); missing && m.PerMillion > 0 {
					c.warnf(fmt.Sprintf("spec.rules[%d].filters.requestMirror[%d].backendRef.version", i, j),
						"no endpoint of %s has version %s, so copies sent there are lost until one starts: "+
							"%s", m.Service, m.Version, hint(m.Version, known))
				}
			}
		}
		v.accept(c.problems)
	}
}

func hint(version string, known []string) string {
	const most = 10
	if len(known) == 0 {
		return "start one with TULLE_VERSION=" + version
	}
	if near := Nearest(version, known); near != "" {
		return "did you mean " + near + "?"
	}
	if len(known) > most {
		return fmt.Sprintf("there are %s and %d more", strings.Join(known[:most], ", "), len(known)-most)
	}
	return "there are " + strings.Join(known, ", ")
}
