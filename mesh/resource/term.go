package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// term is a set of methods and conditions on headers, all of which must hold: what
// the permissions of a policy come to, of which one must hold.
type term struct {
	any        bool
	methods    methodSet // unless any; it may be empty, and holds for no call then
	conditions []condition
}

// methodSet holds "/service/method", and "/service/" for all of a service.
type methodSet map[string]struct{}

func (s methodSet) has(method string) bool {
	_, ok := s[method]
	return ok
}

// both returns a term that holds where t and u do.
func both(t, u term) term {
	out := term{conditions: slices.Concat(t.conditions, u.conditions)}
	slices.SortFunc(out.conditions, compareConditions)
	out.conditions = slices.CompactFunc(out.conditions, func(a, b condition) bool { return compareConditions(a, b) == 0 })
	switch {
	case t.any:
		out.any, out.methods = u.any, u.methods
	case u.any:
		out.methods = t.methods
	default:
		out.methods = methodSet{}
		t.methods.within(u.methods, out.methods)
		u.methods.within(t.methods, out.methods)
	}
	return out
}

// within adds to out what is in s and wholly in o.
func (s methodSet) within(o, out methodSet) {
	for method := range s {
		service := method[:strings.LastIndexByte(method, '/')+1]
		if o.has(method) || o.has(service) {
			out[method] = struct{}{}
		}
	}
}

// either makes one term of those with the same conditions: an index lists the
// methods of one term side by side.
func either(terms []term) []term {
	out := terms[:0:0]
	at := make(map[string]int, len(terms))
	for _, t := range terms {
		key := t.key()
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, term{methods: methodSet{}, conditions: t.conditions})
		}
		out[i].any = out[i].any || t.any
		maps.Copy(out[i].methods, t.methods)
	}
	for i := range out {
		if out[i].any {
			out[i].methods = nil
		}
	}
	return out
}

// key is the conditions as text.
func (t *term) key() string {
	var b strings.Builder
	for _, c := range t.conditions {
		fmt.Fprintf(&b, "%q %t %q %t ", c.name, c.present, c.value, c.test != nil)
	}
	return b.String()
}
