// Package registry takes the endpoints of running services into the mesh: they
// register themselves, and are gone when they are.
//
// A registration is a stream (mesh/api/registry/v1). The endpoint lives while the
// stream does, and for a lease after it broke: a process that reconnects within
// the lease was never away, and one that died is gone when the lease ends. An
// endpoint whose lease runs still takes calls, since a lost registration is not a
// lost service.
//
//	r := registry.New(registry.Config{Store: store, Settled: settled})
//	registryv1.RegisterRegistryServiceServer(server, r)
//	err := r.Run(ctx, emit) // as a source.Source
//
// Endpoints are remembered in a store. After a restart they are Lost for the time
// of the warm-up, so that nobody is removed before they had time to come back.
//
// A process registers endpoints of its own service and of no other: which that is,
// Config.Identify says of its connection. Whether the address is its own it is not
// asked: clients call nobody there who cannot prove to be the service. It does not
// keep endpoints when many of them vanish at once, and has no opinion on whether
// an endpoint answers calls.
package registry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

// The defaults of a Config.
const (
	DefaultLease            = 5 * time.Second
	DefaultWarmUp           = 10 * time.Second
	DefaultMaxEndpoints     = 100_000
	DefaultMaxPerConnection = 1000
)

const (
	// emitGap is the least time between two outputs: what happens in between is
	// in the next. Lower makes flapping endpoints dearer, higher delays each change
	// that follows another.
	emitGap = 50 * time.Millisecond
	// saveGap is the least time between two writes to the store, each of which is
	// an fsync. A crash loses at most this much, and endpoints register again.
	saveGap = time.Second
	// settleWithin bounds how long a leaving endpoint waits for clients.
	settleWithin = 5 * time.Second
)

// clientService is the service that a process enrols as which has none: it calls
// others, and nobody calls it.
const clientService = "client"

// A Store remembers endpoints over a restart. Both methods may block on I/O.
type Store interface {
	LoadEndpoints() ([]model.Endpoint, error)
	// SaveEndpoints replaces what is remembered by the full set.
	SaveEndpoints([]model.Endpoint) error
}

// Config configures a Registry. Its zero value works, and remembers nothing.
type Config struct {
	// Lease is how long an endpoint stays after its stream broke; zero means
	// DefaultLease. Lower removes dead endpoints sooner; higher forgives longer
	// breaks. Clients come back within 3 s.
	Lease time.Duration
	// WarmUp is the lease of endpoints known from before a restart; zero means
	// DefaultWarmUp.
	WarmUp time.Duration
	// MaxEndpoints bounds all endpoints, MaxPerConnection those registered over one
	// connection; zero means the defaults. More is refused with RESOURCE_EXHAUSTED.
	MaxEndpoints, MaxPerConnection int
	// Store remembers endpoints; nil remembers none.
	Store Store
	// Identify returns the service, "name" or "name.namespace", that the connection
	// of ctx is of; its error ends the stream. Empty, or "client", has no endpoints.
	// Nil lets everybody register any service, which is for tests.
	Identify func(ctx context.Context) (service string, err error)
	// Settled returns when every connected client has acknowledged a configuration
	// that holds this generation of the registry's output, or with an error when
	// ctx ends; nil does not wait for clients.
	Settled func(ctx context.Context, generation uint64) error
	// Logger takes the registry's few messages; nil means slog.Default().
	Logger *slog.Logger
}

// A Registry is a source of endpoints, and the service they register with. It is
// safe for concurrent use; registrations may come before Run, and are refused
// with UNAVAILABLE after it.
type Registry struct {
	registryv1.UnimplementedRegistryServiceServer

	config Config

	// wake and saveWake (cap 1) say that the table changed.
	wake, saveWake chan struct{}
	// stopped is closed when Run has ended; streams counts the goroutines of
	// registrations, added to under mu while closed is false.
	stopped chan struct{}
	streams sync.WaitGroup

	mu     sync.Mutex // nothing blocks under it
	table  table
	closed bool
	// emitted is the newest output: the change of the table it holds, and its
	// generation. news is closed, and replaced, with each.
	emitted struct{ change, generation uint64 }
	news    chan struct{}
}

var (
	_ source.Source                    = (*Registry)(nil)
	_ registryv1.RegistryServiceServer = (*Registry)(nil)
)

// New makes a Registry. It does no I/O and starts nothing.
func New(c Config) *Registry {
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	if c.WarmUp == 0 {
		c.WarmUp = DefaultWarmUp
	}
	if c.MaxEndpoints == 0 {
		c.MaxEndpoints = DefaultMaxEndpoints
	}
	if c.MaxPerConnection == 0 {
		c.MaxPerConnection = DefaultMaxPerConnection
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Registry{
		config:   c,
		table:    newTable(c),
		wake:     make(chan struct{}, 1),
		saveWake: make(chan struct{}, 1),
		stopped:  make(chan struct{}),
		news:     make(chan struct{}),
	}
}

// Name is the source's name.
const Name = "registry"

// Name returns [Name].
func (r *Registry) Name() string { return Name }

// Endpoints returns the registered endpoints as they are now, in order of
// namespace, service and instance.
func (r *Registry) Endpoints() []model.Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.endpoints(time.Now())
}

// notify wakes who waits on ch, once for any number of changes.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
