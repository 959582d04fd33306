package resource

import (
	"context"
	"maps"
	"math/rand/v2"
	"strings"

	"google.golang.org/grpc/metadata"
)

// VirtualHost returns the virtual host whose domains match authority best, nil
// if none does. An exact domain is better than a suffix ("*.shop"), that than a
// prefix ("voting.*"), that than "*"; of two of a kind the longer is better, of
// two of a length the first (gRFC A27). Case matters.
func (r *RouteConfiguration) VirtualHost(authority string) *VirtualHost {
	var best *VirtualHost
	bestKind, bestLength := domainInvalid, 0
	for _, vh := range r.VirtualHosts {
		for _, domain := range vh.Domains {
			kind, text := splitDomain(domain)
			if kind < bestKind || kind == bestKind && len(domain) <= bestLength || !matchDomain(kind, text, authority) {
				continue
			}
			best, bestKind, bestLength = vh, kind, len(domain)
		}
	}
	return best
}

func matchDomain(kind domainKind, text, authority string) bool {
	switch kind {
	case domainExact:
		return authority == text
	case domainSuffix:
		return strings.HasSuffix(authority, text)
	case domainPrefix:
		return strings.HasPrefix(authority, text)
	case domainUniversal:
		return true
	default:
		return false
	}
}

// Match returns the first route that matches a call of method, as in
// "/package.Service/Method", with the outgoing metadata of ctx; nil if none
// does.
//
// A header with several values is matched as one, joined by commas. A header
// whose name ends in -bin counts as absent, and content-type is always
// "application/grpc", what a call sends whatever its metadata says (gRFC A28).
//
// Match is safe for concurrent use. It compares paths once per method and
// remembers which routes are left; from then on it takes one map lookup, and
// does not allocate unless a route that is left looks at headers.
func (vh *VirtualHost) Match(ctx context.Context, method string) *Route {
	p := vh.plan(method)
	if len(p.headers) > 0 {
		return p.matchHeaders(ctx)
	}
	for i := range p.steps {
		if p.steps[i].route.match.drawn() {
			return p.steps[i].route
		}
	}
	return nil
}

// drawn throws the dice for a route that takes a share of the calls.
//
// grpc-go draws with <=, so that it matches one call in a million more than
// asked for.
func (m *matcher) drawn() bool { return !m.sampled || rand.Uint32N(million) < m.share }

// plan is what is left to decide about the calls of one method once its path has
// been compared with the routes'. It is immutable.
type plan struct {
	steps []step
	// headers are the names the steps look at, each once.
	headers []string
}

// step is one route of a plan.
type step struct {
	route *Route
	// slots are the places in plan.headers of the route's header matchers.
	slots []int
}

// plan returns the plan of method, making it where there is none yet.
//
// Plans are kept in a map that is replaced, not changed: after the first calls
// there are only readers. A sync.Map would allocate for its key on every call.
func (vh *VirtualHost) plan(method string) *plan {
	known := vh.plans.Load()
	if known != nil {
		if p, ok := (*known)[method]; ok {
			return p
		}
	}
	p := newPlan(vh.Routes, method)
	if len(method) > maxMethodLength {
		return p
	}
	for {
		next := map[string]*plan{}
		if known != nil {
			if len(*known) >= maxMethods {
				return p
			}
			next = maps.Clone(*known)
		}
		next[strings.Clone(method)] = p // the application's string may be part of a large one
		if vh.plans.CompareAndSwap(known, &next) {
			return p
		}
		known = vh.plans.Load()
	}
}

func newPlan(routes []*Route, method string) *plan {
	p := &plan{}
	slots := map[string]int{}
	for _, r := range routes {
		m := &r.match
		if !m.path.match(method) || m.sampled && m.share == 0 {
			continue
		}
		s := step{route: r}
		for i := range m.headers {
			name := m.headers[i].name
			slot, ok := slots[name]
			if !ok {
				slot = len(p.headers)
				slots[name] = slot
				p.headers = append(p.headers, name)
			}
			s.slots = append(s.slots, slot)
		}
		p.steps = append(p.steps, s)
		if !m.sampled && len(m.headers) == 0 {
			break // it matches always; no later route has a chance
		}
	}
	return p
}

// header is what a call has under one of a plan's names.
type header struct {
	value    string
	ok, read bool
}

// matchHeaders is apart from Match for its array, which costs time to clear.
func (p *plan) matchHeaders(ctx context.Context) *Route {
	var few [8]header
	headers := few[:]
	if len(p.headers) > len(few) {
		headers = make([]header, len(p.headers))
	}
	for i := range p.steps {
		s := &p.steps[i]
		if p.holds(ctx, s, headers) && s.route.match.drawn() {
			return s.route
		}
	}
	return nil
}

func (p *plan) holds(ctx context.Context, s *step, headers []header) bool {
	for i, slot := range s.slots {
		h := &headers[slot]
		if !h.read {
			h.value, h.ok = readHeader(ctx, p.headers[slot])
			h.read = true
		}
		if !s.route.match.headers[i].match(h.value, h.ok) {
			return false
		}
	}
	return true
}

// readHeader returns the value of an outgoing header.
//
// grpc-go means to treat content-type and -bin as gRFC A28 says, and as the other
// languages do. In v1.85.0 it does not: it looks for them in a context that holds
// them only later. A test keeps watch.
func readHeader(ctx context.Context, name string) (string, bool) {
	if name == "content-type" {
		return "application/grpc", true
	}
	if strings.HasSuffix(name, "-bin") {
		return "", false
	}
	values := metadata.ValueFromOutgoingContext(ctx, name)
	return strings.Join(values, ","), values != nil
}
