package balancer

import (
	"cmp"
	"slices"

	"google.golang.org/grpc/connectivity"
)

// An UpstreamStatus is how one cluster of a service stands that the process calls, over
// all connections that it has to the service.
type UpstreamStatus struct {
	// Service is the dialled one, Cluster the one that routes lead to.
	Service, Cluster string
	// State is the best of the connections': calls go out while it is Ready.
	State connectivity.State
	// Endpoints are those that take calls now, sorted by address.
	Endpoints []Status
}

// Status returns how all clusters stand, in the order of service and cluster. It may be
// called at any time, and holds no call up.
func (s *Shared) Status() []UpstreamStatus {
	s.mu.Lock()
	roots := make([]*root, 0, len(s.roots))
	for r := range s.roots {
		roots = append(roots, r)
	}
	s.mu.Unlock()
	// A root's lock is taken before that of its Shared, never after.
	var all []UpstreamStatus
	for _, r := range roots {
		all = r.status(all)
	}
	order := func(a, b UpstreamStatus) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Cluster, b.Cluster))
	}
	slices.SortFunc(all, order)
	merged := all[:0]
	for _, u := range all {
		if n := len(merged); n > 0 && order(merged[n-1], u) == 0 {
			merged[n-1].join(u)
			continue
		}
		merged = append(merged, u)
	}
	for i := range merged {
		slices.SortFunc(merged[i].Endpoints, func(a, b Status) int { return cmp.Compare(a.Address, b.Address) })
	}
	return merged
}

// status adds how the clusters of one connection stand.
func (r *root) status(all []UpstreamStatus) []UpstreamStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return all
	}
	for _, g := range r.groups {
		u := UpstreamStatus{Service: g.service, Cluster: g.name, State: g.state}
		if g.picker != nil {
			for _, p := range g.picker.localities.pools {
				u.Endpoints = append(u.Endpoints, p.Status()...)
			}
		}
		all = append(all, u)
	}
	return all
}

// join takes in what another connection says of the same cluster.
func (u *UpstreamStatus) join(other UpstreamStatus) {
	if rank(other.State) < rank(u.State) {
		u.State = other.State
	}
	for _, s := range other.Endpoints {
		i := slices.IndexFunc(u.Endpoints, func(own Status) bool { return own.Address == s.Address })
		if i < 0 {
			u.Endpoints = append(u.Endpoints, s)
			continue
		}
		u.Endpoints[i].join(s)
	}
}

// join takes in what another connection knows of the same endpoint. Calls add up; of
// the rest counts what keeps calls away, and of two costs the one that more calls told.
func (s *Status) join(other Status) {
	if s.Guess && !other.Guess || s.Guess == other.Guess && other.Calls > s.Calls {
		s.Cost, s.Guess = other.Cost, other.Guess
	}
	s.Open += other.Open
	s.Streams += other.Streams
	s.Calls += other.Calls
	if other.Breaker > s.Breaker { // closed, half-open, open
		s.Breaker, s.RetryIn = other.Breaker, other.RetryIn
	}
	s.Ejected = s.Ejected || other.Ejected
	s.Out = s.Out || other.Out
	s.InUse = s.InUse || other.InUse
}

// rank orders states by how much they are worth to a caller.
func rank(s connectivity.State) int {
	return slices.Index([]connectivity.State{
		connectivity.Ready, connectivity.Connecting, connectivity.Idle, connectivity.TransientFailure, connectivity.Shutdown,
	}, s)
}

// know puts a connection among those that are looked at.
func (s *Shared) know(r *root) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roots[r] = struct{}{}
}

// forget takes it away again; s may be nil.
func (s *Shared) forget(r *root) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.roots, r)
}
