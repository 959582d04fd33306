package balancer

import (
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/attributes"
)

// Shared is what the connections of one mesh in one process hold in common: how
// many calls are open to each cluster and, where that is bounded, to each endpoint.
// gRFC A32 bounds them per process, however many connections reach the cluster.
// It knows the connections, too, for who wants to see them: [Shared.Status].
//
// A Shared is safe for concurrent use; make one per mesh with [NewShared]. It
// holds no resource to close.
type Shared struct {
	mu     sync.Mutex
	open   map[clusterKey]*openCalls
	roots  map[*root]struct{} // the connections that are open
	counts map[countKey]*counts
}

// A clusterKey is what calls are counted by. Two clusters of one name with other
// endpoints are two clusters, as they are to grpc-go. An endpoint has its address
// alone: it is one, whichever clusters it is in.
type clusterKey struct{ cluster, endpoints, address string }

// NewShared returns a Shared that counts no call yet.
func NewShared() *Shared {
	return &Shared{
		open:   make(map[clusterKey]*openCalls),
		roots:  make(map[*root]struct{}),
		counts: make(map[countKey]*counts),
	}
}

type sharedKey struct{}

// WithShared returns attributes, which may be nil, for a resolver.State whose
// connection counts its calls in shared. A connection without it counts alone.
func WithShared(attrs *attributes.Attributes, shared *Shared) *attributes.Attributes {
	return attrs.WithValue(sharedKey{}, shared)
}

func sharedFrom(attrs *attributes.Attributes) *Shared {
	s, _ := attrs.Value(sharedKey{}).(*Shared)
	return s
}

// use returns the count of a cluster and keeps it until leave.
func (s *Shared) use(key clusterKey) *openCalls {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.open[key]
	if calls == nil {
		calls = newOpenCalls()
		s.open[key] = calls
	}
	calls.users++
	return calls
}

// leave ends uses. A count without a user stays while calls are open, so that a
// cluster that comes back goes on counting them; it goes with a later leave.
func (s *Shared) leave(calls ...*openCalls) {
	if len(calls) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range calls {
		c.users--
	}
	for key, c := range s.open {
		if c.users == 0 && c.count.Load() == 0 {
			delete(s.open, key)
		}
	}
}

// openCalls counts the open calls of one cluster, or to one address.
type openCalls struct {
	count atomic.Int64
	users int // guarded by Shared.mu
}

func newOpenCalls() *openCalls { return &openCalls{} }

// acquire counts one call and reports whether it was within the limit. It counts
// first and gives back on refusal, so that concurrent calls never pass the limit
// together; grpc-go looks first, and they can.
func (c *openCalls) acquire(limit uint32) bool {
	if c.count.Add(1) <= int64(limit) {
		return true
	}
	c.count.Add(-1)
	return false
}

func (c *openCalls) release() { c.count.Add(-1) }
