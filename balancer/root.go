package balancer

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

var errForeignResolver = errors.New("the policy tulle was given no mesh configuration: use it with the resolver of mesh:///")

// A root is the policy of one connection.
//
// The state of the channel is the best of its clusters': ready if one is ready,
// else connecting if one is, else idle if one is, else transient failure; a
// cluster that fails counts as failing until it is ready again (grpc-go's
// cluster_manager). A cluster that no route leads to any more is not counted.
//
// Calls come from three sides: from grpc-go, which serializes its own; from
// endpointsharding, in whatever goroutine a connection changes; and from the
// timer. The last two may find that other endpoints are needed than those
// endpointsharding has, but it holds its lock while it calls, so another
// goroutine tells it. That one lives as long as the call, and Close waits for it.
type root struct {
	balancer.ClientConn

	service  string
	security call.Security     // of all its connections
	child    balancer.Balancer // endpointsharding

	// down serializes calls to child. It is taken before child's locks, they
	// before mu, and mu before grpc-go's.
	down sync.Mutex

	// mu guards what follows. grpc-go's UpdateState is called under it, so that
	// pickers arrive in the order in which they were made; it never calls back.
	mu         sync.Mutex
	closed     bool
	config     *resource.Config // nil before the first
	own        *Shared          // nil unless the connection counts alone
	seen       *Shared          // where it is among those that are looked at, nil for nowhere
	origin     origin
	groups     map[string]*group
	endpoints  endpoints
	stale      bool // the published picker is of another configuration
	timer      *time.Timer
	wake       time.Time // what timer is set to; zero is not set
	rehanding  bool
	background sync.WaitGroup
}

var _ balancer.Balancer = (*root)(nil)

func newRoot(cc balancer.ClientConn, service string) *root {
	return &root{ClientConn: cc, service: service, groups: make(map[string]*group)}
}

// UpdateClientConnState takes a configuration with its endpoints.
func (r *root) UpdateClientConnState(s balancer.ClientConnState) error {
	config := resource.ConfigFrom(s.ResolverState.Attributes)
	if config == nil {
		r.ResolverError(errForeignResolver)
		return balancer.ErrBadResolverState
	}
	r.down.Lock()
	defer r.down.Unlock()

	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.origin = origin{
		shared:   r.sharedOf(s.ResolverState),
		zone:     zoneFrom(s.ResolverState.Attributes),
		logger:   loggerFrom(s.ResolverState.Attributes),
		security: r.security,
	}
	if r.seen != r.origin.shared {
		r.seen.forget(r)
		r.origin.shared.know(r)
		r.seen = r.origin.shared
	}
	r.configure(config, s.ResolverState.Endpoints)
	list, differs := r.endpoints.hand(r.groups)
	r.mu.Unlock()

	r.tell(list, differs)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh(time.Now())
	return nil
}

// An origin is whose connection it is.
type origin struct {
	shared   *Shared
	zone     zone
	logger   *slog.Logger
	security call.Security
}

type loggerKey struct{}

// WithLogger returns attributes, which may be nil, for a resolver.State whose
// connection logs to logger: that an endpoint fails or is well again, at Info, and at
// Warn that too many fail. A connection without it logs to slog.Default.
func WithLogger(attrs *attributes.Attributes, logger *slog.Logger) *attributes.Attributes {
	return attrs.WithValue(loggerKey{}, logger)
}

func loggerFrom(attrs *attributes.Attributes) *slog.Logger {
	logger, _ := attrs.Value(loggerKey{}).(*slog.Logger)
	return logger
}

func (r *root) sharedOf(s resolver.State) *Shared {
	if shared := sharedFrom(s.Attributes); shared != nil {
		return shared
	}
	if r.own == nil {
		r.own = NewShared()
	}
	return r.own
}

// configure makes groups and endpoints those of config.
func (r *root) configure(config *resource.Config, given []resolver.Endpoint) {
	now := time.Now()
	r.config, r.service, r.stale = config, config.Service, true
	r.endpoints.update(given)
	for name, g := range r.groups {
		if config.Clusters[name] == nil {
			g.close()
			delete(r.groups, name)
		}
	}
	for name, cluster := range config.Clusters {
		g := r.groups[name]
		if g == nil {
			g = newGroup(config.Service, name)
			r.groups[name] = g
		}
		g.configure(cluster, &r.endpoints, r.origin, now)
	}
}

// tell hands endpoints to endpointsharding, which answers by UpdateState before
// it returns. Its error says that there are no endpoints, which is no error of
// the resolver's: the picker says it to those who call. Caller holds down.
func (r *root) tell(list []resolver.Endpoint, differs bool) {
	if differs {
		_ = r.child.UpdateClientConnState(balancer.ClientConnState{ResolverState: resolver.State{Endpoints: list}})
	}
}

// UpdateState takes the states of all connections from endpointsharding.
func (r *root) UpdateState(s balancer.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, child := range endpointsharding.ChildStatesFromPicker(s.Picker) {
		e := endpointOf(child.Endpoint)
		if e == nil {
			continue
		}
		before := e.state
		if !e.observe(child.State) {
			continue
		}
		for _, g := range e.users {
			g.dirty = true
			if n := g.nodes[e]; n != nil && before != connectivity.Ready && e.state == connectivity.Ready {
				n.ready(breaker.Now())
			}
		}
	}
	r.refresh(time.Now())
}

// refresh brings groups, timer, connections and the published picker up to what
// is known. Caller holds mu.
func (r *root) refresh(now time.Time) {
	if r.closed || r.config == nil {
		return
	}
	publish, moved := r.stale, false
	for _, g := range r.groups {
		if g.dirty {
			moved = g.sync(now) || moved
			publish = true
		}
	}
	if moved {
		r.rehand()
	}
	if publish {
		r.arm(now)
		r.publish()
		r.stale = false
	}
}

// publish gives grpc-go a picker of the groups as they are. Caller holds mu.
func (r *root) publish() {
	p := &picker{
		service:     r.config.Service,
		virtualHost: r.config.VirtualHost,
		groups:      make(map[string]*groupPicker, len(r.groups)),
	}
	var all balancer.ConnectivityStateEvaluator
	for name, g := range r.groups {
		p.groups[name] = g.picker
		all.RecordTransition(connectivity.Shutdown, g.state)
	}
	p.home = p.groups[p.service]
	r.ClientConn.UpdateState(balancer.State{ConnectivityState: all.CurrentState(), Picker: p})
}

// arm sets the timer to the next deadline of any group. Caller holds mu.
func (r *root) arm(now time.Time) {
	var first time.Time
	for _, g := range r.groups {
		if t := g.wake(); !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.Equal(r.wake) {
		return
	}
	r.wake = first
	switch {
	case first.IsZero():
		r.timer.Stop()
	case r.timer == nil:
		r.timer = time.AfterFunc(first.Sub(now), r.tick)
	default:
		r.timer.Reset(first.Sub(now))
	}
}

// tick looks at the groups whose deadline is over.
func (r *root) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.wake = time.Time{}
	for _, g := range r.groups {
		if t := g.wake(); !t.IsZero() && !now.Before(t) {
			g.dirty = true
		}
	}
	r.refresh(now)
	if !r.closed {
		r.arm(now)
	}
}

// rehand has another goroutine hand over the endpoints needed now. Caller holds mu.
func (r *root) rehand() {
	if r.rehanding {
		return // it has not looked yet
	}
	r.rehanding = true
	r.background.Go(func() {
		r.down.Lock()
		defer r.down.Unlock()
		r.mu.Lock()
		r.rehanding = false
		if r.closed {
			r.mu.Unlock()
			return
		}
		list, differs := r.endpoints.hand(r.groups)
		r.mu.Unlock()
		r.tell(list, differs)
	})
}

// ResolverError takes the resolver's reason for having no configuration. Once
// there is one, it stays in use whatever the resolver says.
func (r *root) ResolverError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.config != nil {
		return
	}
	r.ClientConn.UpdateState(balancer.State{
		ConnectivityState: connectivity.TransientFailure,
		Picker:            errPicker{outage: noConfig(r.service, err)},
	})
}

// UpdateSubConnState is never called: pick_first listens to its connections itself.
func (r *root) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle makes idle connections connect.
func (r *root) ExitIdle() {
	r.down.Lock()
	defer r.down.Unlock()
	r.child.ExitIdle()
}

// Close closes all connections and waits for what the policy started.
func (r *root) Close() {
	r.down.Lock()
	r.mu.Lock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	for _, g := range r.groups {
		g.close()
	}
	r.seen.forget(r)
	r.mu.Unlock()
	r.child.Close()
	r.down.Unlock()
	r.background.Wait()
}
