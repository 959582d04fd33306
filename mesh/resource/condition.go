package resource

import (
	"cmp"
	"strings"
)

// condition is one more thing that must hold for a call, beside its method and its
// caller. Most are about the value of a header, and hold without a test.
type condition struct {
	name, value string
	present     bool // it is there, with any value but the empty one
	// test is what else a condition may ask; its text is value then. Nil compares the
	// header.
	test test
}

// A test is a condition that is more than a comparison.
type test interface {
	// holds takes the query itself: a pointer in a call through an interface is one to the heap.
	holds(q query) bool
	readsMetadata() bool
	// weight is how many methods and callers it holds on to.
	weight() int
}

func (c *condition) holds(q *query) bool {
	if c.test != nil {
		return c.test.holds(*q)
	}
	values, ok := q.md[c.name]
	return ok && c.equals(values)
}

func (c *condition) readsMetadata() bool { return c.test == nil || c.test.readsMetadata() }

func (c *condition) weight() int {
	if c.test == nil {
		return 0
	}
	return c.test.weight()
}

// equals compares with the values of a repeated header joined by commas, as grpc-go's
// RBAC does, without joining them.
func (c *condition) equals(values []string) bool {
	if c.present {
		return len(values) > 1 || len(values) == 1 && values[0] != ""
	}
	rest := c.value
	for i, value := range values {
		if i > 0 {
			if rest == "" || rest[0] != ',' {
				return false
			}
			rest = rest[1:]
		}
		var ok bool
		if rest, ok = strings.CutPrefix(rest, value); !ok {
			return false
		}
	}
	return rest == ""
}

func compareConditions(a, b condition) int {
	return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value), compareBools(a.present, b.present),
		compareBools(a.test != nil, b.test != nil))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// headerTest is about the values of a repeated header joined by commas.
type headerTest struct{ headerMatcher }

func (t *headerTest) holds(q query) bool {
	values, ok := q.md[t.name]
	if len(values) == 1 {
		return t.match(values[0], ok)
	}
	return t.match(strings.Join(values, ","), ok)
}

func (t *headerTest) readsMetadata() bool { return true }
func (t *headerTest) weight() int         { return 0 }

// pathTest is about the method, where it cannot be looked up.
type pathTest struct{ pathMatcher }

func (t *pathTest) holds(q query) bool  { return t.match(q.method) }
func (t *pathTest) readsMetadata() bool { return false }
func (t *pathTest) weight() int         { return 0 }

// notTest holds where none of its terms does.
type notTest struct{ terms []term }

func (t *notTest) holds(q query) bool {
	for i := range t.terms {
		if t.terms[i].holds(&q) {
			return false
		}
	}
	return true
}

func (t *notTest) readsMetadata() bool {
	for i := range t.terms {
		for j := range t.terms[i].conditions {
			if t.terms[i].conditions[j].readsMetadata() {
				return true
			}
		}
	}
	return false
}

func (t *notTest) weight() int {
	n := len(t.terms)
	for i := range t.terms {
		n += len(t.terms[i].methods)
		for j := range t.terms[i].conditions {
			n += t.terms[i].conditions[j].weight()
		}
	}
	return n
}

// exceptTest holds for callers that are not of a set.
type exceptTest struct{ callers *callerSet }

func (t exceptTest) holds(q query) bool  { return !t.callers.has(q.id) }
func (t exceptTest) readsMetadata() bool { return false }
func (t exceptTest) weight() int         { return len(t.callers.keys) }

// holds is what an index finds out of a term by looking it up.
func (t *term) holds(q *query) bool {
	if !t.any && !t.methods.has(q.method) && !t.methods.has(q.service) {
		return false
	}
	for i := range t.conditions {
		if !t.conditions[i].holds(q) {
			return false
		}
	}
	return true
}
