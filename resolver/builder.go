package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// DefaultConfigTimeout is how long a service may be without its first
// configuration before calls to it fail.
const DefaultConfigTimeout = 5 * time.Second

// A Config is what a [Builder] is made of. Client is needed.
type Config struct {
	// Client is where resources come from. Its Types must be [Types].
	Client *xdsclient.Client
	// Attributes are put on every resolver.State, for the balancer. May be nil.
	Attributes *attributes.Attributes
	// ConfigTimeout is how long after the first call to a service its calls wait
	// for its first configuration; from then on they fail at once until there is
	// one. Calls that wait for ready are not bound by it. Zero means
	// [DefaultConfigTimeout]. Lower fails sooner while the control plane is away
	// and nothing is on disk; higher lets a process start before xdsserver does.
	ConfigTimeout time.Duration
	// Logger is told of services that cannot be configured. Nil means
	// slog.Default().
	Logger *slog.Logger
}

// A Builder makes the resolvers of one mesh, and knows the configuration of each
// service that the process calls. It is safe for concurrent use. Nothing moves
// before [Builder.Run] does.
type Builder struct {
	// Immutable.
	source  source
	attrs   *attributes.Attributes
	timeout time.Duration
	logger  *slog.Logger
	wake    chan struct{} // cap 1: some target is dirty

	// generation counts the calls of Reconnect.
	generation atomic.Uint64

	// byDial is a target per dial target ever asked for, as the application wrote
	// it. It is replaced, never changed, so that calls read it without a lock.
	byDial atomic.Pointer[map[string]*target]

	// Guarded by mu, which is not held while calling grpc or the source.
	mu      sync.Mutex
	targets map[string]*target   // by service
	dirty   map[*target]struct{} // to be looked at by Run
	running bool
	closed  bool // Run has returned

	revision uint64 // of the last Config; belongs to Run
}

var _ resolver.Builder = (*Builder)(nil)

// NewBuilder returns a Builder. The caller runs it; see [Builder.Run].
func NewBuilder(c Config) *Builder { return newBuilder(clientSource{c.Client}, c) }

func newBuilder(src source, c Config) *Builder {
	b := &Builder{
		source:  src,
		attrs:   c.Attributes,
		timeout: cmp.Or(c.ConfigTimeout, DefaultConfigTimeout),
		logger:  cmp.Or(c.Logger, slog.Default()),
		wake:    make(chan struct{}, 1),
		targets: make(map[string]*target),
		dirty:   make(map[*target]struct{}),
	}
	b.byDial.Store(&map[string]*target{})
	return b
}

// Scheme returns [Scheme]. It is part of grpc's resolver.Builder.
func (*Builder) Scheme() string { return Scheme }

// Build makes the resolver of one connection. It is called by grpc, whenever a
// connection leaves idleness, and fails for a target that names no service.
func (b *Builder) Build(dialled resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	service, failure := serviceOf(dialled)
	if failure != nil {
		return nil, failure
	}
	if opts.DisableServiceConfig {
		return nil, errors.New("resolver: grpc.WithDisableServiceConfig keeps the mesh's balancer out: remove it")
	}
	parsed := cc.ParseServiceConfig(serviceConfigOf(0))
	if parsed.Err != nil {
		return nil, fmt.Errorf("resolver: the mesh's balancer is not linked: import github.com/tulle-mesh/tulle/balancer: %w", parsed.Err)
	}
	c := &conn{builder: b, cc: cc, serviceConfig: parsed}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, stopped(service)
	}
	c.target = b.targetLocked(service)
	c.target.conns[c] = struct{}{}
	b.dirtyLocked(c.target)
	return c, nil
}

// Run keeps all connections and Configs up to date until ctx ends, and then
// returns nil. Connections keep what they were last given. It is called once.
func (b *Builder) Run(ctx context.Context) error {
	b.mu.Lock()
	again := b.running || b.closed
	b.running = true
	b.mu.Unlock()
	if again {
		return errors.New("resolver: Run is called once")
	}
	defer b.stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		}
		for ctx.Err() == nil {
			t := b.nextDirty()
			if t == nil {
				break
			}
			b.refresh(t)
		}
	}
}

// Reconnect replaces the connections to all endpoints, with a handshake each:
// what was shown and checked in the last one is out of date. Calls in progress
// end where they are; those that come while no endpoint is connected wait. It
// returns at once.
func (b *Builder) Reconnect() {
	b.generation.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.targets {
		b.dirtyLocked(t)
	}
}

// stop ends all interest and tells those that wait.
func (b *Builder) stop() {
	b.mu.Lock()
	b.closed = true
	var open []*assembly
	for _, t := range b.targets {
		if t.assembly != nil {
			open = append(open, t.assembly)
		}
		t.broadcastLocked()
	}
	b.mu.Unlock()
	for _, a := range open {
		a.close()
	}
}

// targetLocked returns the target of a service, made when there is none.
func (b *Builder) targetLocked(service string) *target {
	t := b.targets[service]
	if t == nil {
		t = newTarget(service)
		b.targets[service] = t
	}
	return t
}

// dirtyLocked asks Run to look at a target.
func (b *Builder) dirtyLocked(t *target) {
	b.dirty[t] = struct{}{}
	select {
	case b.wake <- struct{}{}:
	default: // it is awake
	}
}

// markDirty is what subscriptions call.
func (b *Builder) markDirty(t *target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dirtyLocked(t)
}

// nextDirty takes one target that is to be looked at, nil when there is none.
func (b *Builder) nextDirty() *target {
	b.mu.Lock()
	defer b.mu.Unlock()
	for t := range b.dirty {
		delete(b.dirty, t)
		return t
	}
	return nil
}
