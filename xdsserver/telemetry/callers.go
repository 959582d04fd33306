package telemetry

import (
	"cmp"
	"slices"
	"time"
)

// A Caller is what the instances of one service have seen of the calls of one
// method by one caller, summed up since it was first seen.
type Caller struct {
	// ID is the caller's SPIFFE id; empty for one without a certificate, which is
	// known by its Address.
	ID, Address string
	// Method is "/package.Service/Method", or Other.
	Method          string
	Allowed, Denied uint64
	// WouldDeny counts calls among Allowed that candidates of policies deny.
	WouldDeny uint64
	// Policy is the one that denied, or would have, last.
	Policy string
	// Seen is when it was last reported.
	Seen time.Time
}

// Callers returns the callers of a service within the last hour, in order of
// caller and method.
func (s *Server) Callers(service string) []Caller {
	callers := s.callers(service, time.Now())
	slices.SortFunc(callers, func(a, b Caller) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Method, b.Method))
	})
	return callers
}

// callers is Callers in no order: sorting is no work to hold up reports for.
func (s *Server) callers(service string, now time.Time) []Caller {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	t := s.services[service]
	if t == nil {
		return nil
	}
	callers := make([]Caller, 0, len(t.rows))
	for k, r := range t.rows {
		if !r.idle(now) {
			callers = append(callers, callerOf(k, r))
		}
	}
	return callers
}

func callerOf(k key, r *row) Caller {
	return Caller{
		ID: k.caller, Address: k.address, Method: k.method,
		Allowed: r.allowed, Denied: r.denied, WouldDeny: r.wouldDeny,
		Policy: r.policy, Seen: r.seen,
	}
}

// A Plain is a caller without a certificate.
type Plain struct {
	// Address is where it calls from, without its port.
	Address string
	Calls   uint64
	Seen    time.Time
}

// Plaintext returns the callers without a certificate of each service that has
// any, in order of address: whom the end of permissive mode would cut off.
func (s *Server) Plaintext() map[string][]Plain {
	plain := s.plain(time.Now())
	for _, list := range plain {
		slices.SortFunc(list, func(a, b Plain) int { return cmp.Compare(a.Address, b.Address) })
	}
	return plain
}

// plain is Plaintext in no order.
func (s *Server) plain(now time.Time) map[string][]Plain {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	plain := make(map[string][]Plain)
	for service, t := range s.services {
		by := make(map[string]Plain)
		for k, r := range t.rows {
			if k.caller != "" || r.idle(now) {
				continue
			}
			p := by[k.address]
			p.Address = k.address
			p.Calls = sum(p.Calls, sum(r.allowed, r.denied))
			if r.seen.After(p.Seen) {
				p.Seen = r.seen
			}
			by[k.address] = p
		}
		for _, p := range by {
			plain[service] = append(plain[service], p)
		}
	}
	return plain
}
