package resolver

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A target is one service that the process calls, while a connection to it is
// not idle or a call waits for its configuration.
type target struct {
	// Immutable.
	service string
	since   time.Time

	// config is what interceptors see: nil before the first.
	config atomic.Pointer[resource.Config]

	// Owned by Run.
	assembly *assembly // nil before the first look
	logged   error     // the failure that was last logged

	// Guarded by Builder.mu.
	conns   map[*conn]struct{}
	waiters int           // calls that wait for config
	dials   []string      // its keys in Builder.byDial
	changed chan struct{} // closed when config, last or conns changed
	last    result        // of the last look
}

func newTarget(service string) *target {
	return &target{
		service: service,
		since:   time.Now(),
		conns:   make(map[*conn]struct{}),
		changed: make(chan struct{}),
	}
}

// broadcastLocked wakes all calls that wait.
func (t *target) broadcastLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// A conn is the resolver of one connection.
type conn struct {
	// Immutable.
	builder *Builder
	target  *target
	cc      resolver.ClientConn

	// Owned by Run: what the connection was last given. serviceConfig is that
	// for timeout.
	given         *resource.Config
	generation    uint64
	timeout       time.Duration
	serviceConfig *serviceconfig.ParseResult
	reported      error
}

var _ resolver.Resolver = (*conn)(nil)

// ResolveNow does nothing: the control plane says what changes, unasked.
func (*conn) ResolveNow(resolver.ResolveNowOptions) {}

// Close ends the connection's interest. It does not wait for Run, which may be
// giving the connection something: grpc ignores that.
func (c *conn) Close() {
	b, t := c.builder, c.target
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(t.conns, c)
	t.broadcastLocked()
	b.dirtyLocked(t)
}

// refresh brings a target's connections, and then what interceptors see, up to
// its resources. It is called by Run alone.
func (b *Builder) refresh(t *target) {
	conns, wanted := b.connsOf(t)
	if !wanted {
		if t.assembly != nil {
			t.assembly.close()
			t.assembly = nil
		}
		return
	}
	if t.assembly == nil {
		t.assembly = newAssembly(t.service, b.source, func() { b.markDirty(t) })
	}
	r := t.assembly.assemble(b.nextRevision)
	b.log(t, r)
	if r.config != nil {
		b.give(t, r.config, conns)
	} else if r.failure != nil {
		report(r.failure, conns)
	}
	// Only now: a call must not be routed by a Config its picker does not know.
	news := t.config.Swap(r.config) != r.config
	b.settle(t, conns)
	t.assembly.prune()
	b.mu.Lock()
	defer b.mu.Unlock()
	news = news || t.last.failure != r.failure
	t.last = r
	if news {
		t.broadcastLocked()
	}
}

// connsOf returns a target's connections, and whether it is wanted. One that is
// not is forgotten.
func (b *Builder) connsOf(t *target) ([]*conn, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(t.conns) > 0 || t.waiters > 0 {
		return slices.Collect(maps.Keys(t.conns)), true
	}
	if b.targets[t.service] == t {
		delete(b.targets, t.service)
		if len(t.dials) > 0 {
			known := maps.Clone(*b.byDial.Load())
			for _, dial := range t.dials {
				delete(known, dial)
			}
			t.dials = nil
			b.byDial.Store(&known)
		}
	}
	return nil, false
}

// report tells connections that have no Config why.
func report(failure *call.Error, conns []*conn) {
	for _, c := range conns {
		if !sameError(c.reported, failure) {
			c.reported = failure
			c.cc.ReportError(failure)
		}
	}
}

// log says once that a service's resources cannot be used, and that they can.
func (b *Builder) log(t *target, r result) {
	switch {
	case r.failure == nil && t.logged != nil && len(r.waiting) == 0:
		t.logged = nil
		b.logger.Info("service configured again", "service", t.service, "revision", r.config.Revision)
	case r.failure != nil && !sameError(t.logged, r.failure):
		t.logged = r.failure
		b.logger.Warn("service cannot be configured", "service", t.service, "keeps", r.config != nil, "error", r.failure)
	}
}

func (b *Builder) nextRevision() uint64 {
	b.revision++
	return b.revision
}
