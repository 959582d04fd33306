package interceptors

import (
	"context"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/access"
	"github.com/tulle-mesh/tulle/interceptors/limit"
	"github.com/tulle-mesh/tulle/interceptors/shed"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// healthService is asked whether the server is well by those who would otherwise take
// it for dead. It is decided on like all others, but never refused for load or on
// purpose.
const healthService = "/grpc.health.v1.Health/"

// An enforced is an Inbound, with what the limits in it have counted.
type enforced struct {
	in *resource.Inbound
	// admissions are those of the routes that have one.
	admissions []admission
}

// An admission is a route's, with its state.
type admission struct {
	route  string
	policy *resource.Admission
	limits *limit.Limits
	places *shed.Limiter // nil for no limit
}

// admission returns that of a method, nil where all calls are taken.
func (e *enforced) admission(method string) *admission {
	if len(e.admissions) == 0 || strings.HasPrefix(method, healthService) {
		return nil
	}
	policy := e.in.Admission(method)
	for i := range e.admissions {
		if e.admissions[i].policy == policy {
			return &e.admissions[i]
		}
	}
	return nil
}

// enforce returns what is enforced by in or, where the policies have moved on, by what
// they are now.
func (s *Server) enforce(in *resource.Inbound) *enforced {
	if e := s.enforced.Load(); e != nil && e.in == in {
		return e
	}
	return s.compile()
}

// compile makes s.enforced what the policies are now. What was counted goes over to
// the route of the same name.
func (s *Server) compile() *enforced {
	s.compiling.Lock()
	defer s.compiling.Unlock()
	in, previous := s.policies.Current(), s.enforced.Load()
	if previous == nil {
		previous = &enforced{}
	}
	if previous.in == in {
		return previous
	}
	e, now := &enforced{in: in}, time.Now()
	if in.VirtualHost != nil {
		seen := map[string]int{}
		for _, r := range in.VirtualHost.Routes {
			if r.Admission != nil {
				e.admissions = append(e.admissions, admissionOf(r, previous.take(r.Name, seen[r.Name]), now))
				seen[r.Name]++
			}
		}
	}
	s.enforced.Store(e)
	return e
}

// take returns the nth admission of routes of a name, the zero one where there is none.
func (e *enforced) take(route string, n int) admission {
	for _, a := range e.admissions {
		if a.route != route {
			continue
		}
		if n == 0 {
			return a
		}
		n--
	}
	return admission{}
}

// admissionOf goes on with what previous has counted.
func admissionOf(r *resource.Route, previous admission, now time.Time) admission {
	a := admission{route: r.Name, policy: r.Admission, limits: limit.Compile(r.Admission.RateLimits, previous.limits, now)}
	switch c := r.Admission.Concurrency; {
	case c == nil:
	case previous.places == nil:
		a.places = shed.New(*c, now)
	default:
		// The same places, for the calls that are in them.
		a.places = previous.places
		if *previous.policy.Concurrency != *c {
			a.places.Configure(*c, now)
		}
	}
	return a
}

// place takes one of the places for a call that runs. The ticket is released by the
// caller, also where there is none.
func (s *Server) place(ctx context.Context, a *admission, now time.Time) (shed.Ticket, *call.Error) {
	if a == nil || a.places == nil {
		return shed.Ticket{}, nil
	}
	ticket, ok := a.places.Acquire(shed.CriticalityOf(ctx), now)
	if !ok {
		s.counts.shed.Add(1)
		return ticket, a.places.Refused(s.service)
	}
	return ticket, nil
}

// let returns why a call that its caller may make is not taken, nil when it is. It
// waits out the delay of a fault.
func (s *Server) let(ctx context.Context, a *admission, c *access.Caller, method string, now time.Time) *call.Error {
	if a == nil {
		return nil
	}
	if a.limits != nil {
		what := limit.Call{Service: s.service, Method: method}
		if c.Peer != nil {
			what.Caller = c.Peer.URI
		}
		if refused := a.limits.Admit(ctx, &what, now); refused != nil {
			s.counts.limited.Add(1)
			return refused
		}
	}
	failure := s.faults.Inject(ctx, s.service, a.policy.Fault)
	if failure != nil {
		s.counts.injected.Add(1)
	}
	return failure
}
