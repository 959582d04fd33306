package resource

import (
	"slices"
	"strconv"
	"strings"
)

// rules is what one RBAC filter has to say, as an index. Each policy is taken
// apart into clauses: a set of methods, a set of callers and conditions on
// headers, all of which must hold. Each method and each caller that clauses name
// has the list of those clauses. A call is matched by a clause that is in a list
// of its method and in a list of its caller, and whose conditions hold.
//
// A table of method and caller together would take one look-up less, and a
// hundred methods times a hundred callers of memory where a policy has as many.
type rules struct {
	// methods is by "/service/method", and by "/service/" for all of a service.
	methods map[string]span
	// callers is by SPIFFE id, and by prefix up to a '/'.
	callers map[string]span
	// anyMethod, anyone and authenticated are the clauses of all methods, of all
	// callers, and of those that have an identity.
	anyMethod, anyone, authenticated span
	// lengths has bit n%64 set for a prefix of length n in callers.
	lengths uint64

	postings   []uint32 // of all lists, in which clauses are sorted
	clauses    []clause
	conditions []condition
	policies   []string // names
	// readsMetadata says that some condition does.
	readsMetadata bool
	// objects is what [Decision.Policy] says where no clause matches.
	objects string
}

// span is a part of a slice.
type span struct{ start, end uint32 }

type clause struct {
	policy     uint32
	conditions span
}

// match returns the policy of a clause that matches; of several always the same.
func (r *rules) match(q *query) (policy string, ok bool) {
	if len(r.clauses) == 0 {
		return "", false
	}
	methods := [...]span{r.methods[q.method], r.methods[q.service], r.anyMethod}
	if q.id != "" {
		if policy, ok = r.common(q, &methods, r.callers[q.id]); ok {
			return policy, true
		}
		if policy, ok = r.below(q, &methods); ok {
			return policy, true
		}
		if policy, ok = r.common(q, &methods, r.authenticated); ok {
			return policy, true
		}
	}
	return r.common(q, &methods, r.anyone)
}

// below tries the prefixes of the caller's identity.
func (r *rules) below(q *query, methods *[3]span) (policy string, ok bool) {
	if r.lengths == 0 {
		return "", false
	}
	for i := len(q.id) - 1; i >= len(spiffeScheme); i-- {
		if q.id[i] != '/' || r.lengths>>((i+1)%64)&1 == 0 {
			continue
		}
		if policy, ok = r.common(q, methods, r.callers[q.id[:i+1]]); ok {
			return policy, true
		}
	}
	return "", false
}

// common looks for a clause that is in a list of methods and in that of callers.
func (r *rules) common(q *query, methods *[3]span, callers span) (policy string, ok bool) {
	if callers.start == callers.end {
		return "", false
	}
	few := r.postings[callers.start:callers.end]
	for _, m := range methods {
		if m.start == m.end {
			continue
		}
		short, long := few, r.postings[m.start:m.end]
		if len(short) > len(long) {
			short, long = long, short
		}
		for _, at := range short {
			i, found := slices.BinarySearch(long, at)
			if long = long[i:]; found {
				c := &r.clauses[at]
				if c.conditions.start == c.conditions.end || r.holds(c.conditions, q) {
					return r.policies[c.policy], true
				}
			}
			if len(long) == 0 {
				break
			}
		}
	}
	return "", false
}

func (r *rules) holds(s span, q *query) bool {
	for i := range r.conditions[s.start:s.end] {
		if !r.conditions[int(s.start)+i].holds(q) {
			return false
		}
	}
	return true
}

// rulesBuilder collects clauses.
type rulesBuilder struct {
	out                              rules
	methods, callers                 map[string][]uint32
	anyMethod, anyone, authenticated []uint32
	size                             int // of all lists together
}

func newRulesBuilder() *rulesBuilder {
	return &rulesBuilder{methods: map[string][]uint32{}, callers: map[string][]uint32{}}
}

// add adds a policy, whose name must follow those before it in their order.
func (b *rulesBuilder) add(name string, permissions []term, callers []callerSet) error {
	policy := uint32(len(b.out.policies)) // at most maxPolicies
	b.out.policies = append(b.out.policies, name)
	for _, who := range callers {
		if err := b.clauses(policy, permissions, who); err != nil {
			return err
		}
	}
	return nil
}

// clauses adds those of a policy for one set of callers.
func (b *rulesBuilder) clauses(policy uint32, permissions []term, who callerSet) error {
	for _, t := range permissions {
		b.size += max(1, len(t.methods)) + max(1, len(who.keys))
		at := uint32(len(b.out.clauses)) // at most maxPostings
		start := len(b.out.conditions)
		b.out.conditions = append(b.out.conditions, t.conditions...)
		if who.except != nil {
			b.out.conditions = append(b.out.conditions, condition{test: exceptTest{who.except}})
		}
		for i := start; i < len(b.out.conditions); i++ {
			c := &b.out.conditions[i]
			b.size += c.weight()
			b.out.readsMetadata = b.out.readsMetadata || c.readsMetadata()
			if c.test != nil {
				c.value = "" // it told tests apart
			}
		}
		if b.size > maxPostings {
			return bad("", "names more methods and callers than are accepted, with the policies before it more than %d", maxPostings)
		}
		b.out.clauses = append(b.out.clauses, clause{policy, newSpan(start, len(b.out.conditions))})
		if t.any {
			b.anyMethod = append(b.anyMethod, at)
		}
		for method := range t.methods {
			b.methods[method] = append(b.methods[method], at)
		}
		switch {
		case who.anyone:
			b.anyone = append(b.anyone, at)
		case who.authenticated:
			b.authenticated = append(b.authenticated, at)
		default:
			for caller := range who.keys {
				b.callers[caller] = append(b.callers[caller], at)
				if strings.HasSuffix(caller, "/") {
					b.out.lengths |= 1 << (len(caller) % 64)
				}
			}
		}
	}
	return nil
}

// newSpan is of fewer things than an encoded resource may have bytes.
func newSpan(start, end int) span { return span{uint32(start), uint32(end)} }

// build returns the rules, which hold on to nothing of the builder.
func (b *rulesBuilder) build() *rules {
	r := b.out
	r.postings = make([]uint32, 0, b.size)
	r.methods, r.callers = r.index(b.methods), r.index(b.callers)
	r.anyMethod, r.anyone, r.authenticated = r.list(b.anyMethod), r.list(b.anyone), r.list(b.authenticated)
	r.postings, r.clauses, r.conditions, r.policies = exact(r.postings), exact(r.clauses), exact(r.conditions), exact(r.policies)
	r.objects = objects(r.policies)
	return &r
}

// exact returns a copy without room to grow.
func exact[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

func (r *rules) list(at []uint32) span {
	start := len(r.postings)
	r.postings = append(r.postings, at...)
	return newSpan(start, len(r.postings))
}

// index lays the lists one after another.
func (r *rules) index(lists map[string][]uint32) map[string]span {
	if len(lists) == 0 {
		return nil
	}
	out := make(map[string]span, len(lists))
	for key, at := range lists {
		out[key] = r.list(at)
	}
	return out
}

// objects names those that policies are of: what stands before "/allow/".
func objects(policies []string) string {
	const few = 3
	var names []string
	for _, policy := range policies { // sorted
		object, _, _ := strings.Cut(policy, "/allow/")
		if len(names) == 0 || names[len(names)-1] != object {
			names = append(names, object)
		}
	}
	slices.Sort(names) // "a/x-1/allow/0" is before "a/x/allow/0"
	if names = slices.Compact(names); len(names) <= few {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:few], ", ") + " and " + strconv.Itoa(len(names)-few) + " more"
}
