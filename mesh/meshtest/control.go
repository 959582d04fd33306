package meshtest

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/source/merge"
	"github.com/tulle-mesh/tulle/xdsserver/source/registry"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

// warmUp is xdsserver's own: the kit's control plane always starts without
// memory of endpoints.
const warmUp = 8 * time.Second

// A control is the control plane while any server of it runs: what package daemon puts
// together, without its disk and its admin API. Its servers know the same, as those over
// one Consul do.
type control struct {
	authority *authority
	members   *registry.Registry
	taps      *tap.Hub
	cancel    context.CancelFunc
	group     *errgroup.Group
	warmUntil time.Time // whichever server starts

	published atomic.Pointer[model.Set]

	mu      sync.Mutex // not held while a server is sent something
	latest  *snapshot.Snapshot
	running map[string]*server // by address
}

// startControl starts what the servers share.
func startControl(applied *objects, a *authority) *control {
	logger := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	c := &control{authority: a, cancel: cancel, group: group, warmUntil: time.Now().Add(warmUp), running: map[string]*server{}}
	c.members = registry.New(registry.Config{Identify: registrant, Settled: c.settled, Logger: logger})
	trust := identity.NewSource(a.ca)
	c.taps = tap.New(tap.Config{Identify: reporter, Processes: c.obeying, Logger: logger})
	merger := merge.New([]source.Source{applied, c.members, trust, c.taps}, logger)
	builder := snapshot.NewBuilder(snapshot.Config{Logger: logger})
	a.trusted.Store(&settled{control: c, source: trust.Name()})
	group.Go(func() error { return a.ca.Run(ctx) })
	group.Go(func() error {
		defer builder.Close()
		return merger.Run(ctx, func(set *model.Set) {
			snap, _ := builder.Build(ctx, set)
			c.publish(snap)
			c.published.Store(set)
		})
	})
	return c
}

func (c *control) publish(snap *snapshot.Snapshot) {
	c.mu.Lock()
	c.latest = snap
	c.mu.Unlock()
	for _, s := range c.servers() {
		s.publish(snap)
	}
}

// servers are those that run.
func (c *control) servers() []*server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.running))
}

// await waits until all members that are connected have a generation of a source.
func (c *control) await(ctx context.Context, source string, generation uint64) error {
	for _, s := range c.servers() {
		if err := s.await(ctx, source, generation); err != nil {
			return err
		}
	}
	return nil
}

func (c *control) settled(ctx context.Context, generation uint64) error {
	return c.await(ctx, c.members.Name(), generation)
}

// serves reports whether clients are sent the endpoint at an address.
func (c *control) serves(address string) bool {
	set := c.published.Load()
	if set == nil {
		return false
	}
	for _, endpoints := range set.Endpoints {
		for _, e := range endpoints {
			if e.Health == model.Healthy && slices.Contains(e.Addresses, address) {
				return true
			}
		}
	}
	return false
}

func (c *control) stop() error {
	c.cancel()
	return c.group.Wait()
}

// Apply adds or replaces the objects of a YAML text, as `xdsserver apply` does,
// and waits until every member that is connected has them.
func (m *Mesh) Apply(yaml string) {
	m.tb.Helper()
	parsed, problems := manifest.Parse(m.tb.Name(), []byte(yaml))
	for _, p := range problems {
		m.tb.Fatalf("meshtest: %s: %s: %s", p.From, p.Field, p.Message)
	}
	m.settle(m.applied.change(func(all map[model.Ref]model.Object) {
		for _, o := range parsed {
			all[o.Ref()] = o
		}
	}))
}

// Delete removes an applied object and waits until every member that is
// connected has the change. kind is "Service" or "GRPCRoute".
func (m *Mesh) Delete(kind, name string) {
	m.tb.Helper()
	service, err := model.ParseServiceName(name)
	if err != nil {
		m.tb.Fatal(err)
	}
	m.settle(m.applied.change(func(all map[model.Ref]model.Object) {
		delete(all, model.Ref{Kind: model.Kind(kind), Namespace: service.Namespace, Name: service.Name})
	}))
}

func (m *Mesh) settle(generation uint64) {
	m.tb.Helper()
	if m.control == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := m.control.await(ctx, m.applied.Name(), generation); err != nil {
		m.tb.Fatalf("meshtest: members do not have the change: %v", err)
	}
}

// objects is the source of what the test applied.
type objects struct {
	mu         sync.Mutex
	generation uint64
	all        map[model.Ref]model.Object
	wake       chan struct{}
}

var _ source.Source = (*objects)(nil)

func newObjects() *objects {
	return &objects{generation: 1, all: map[model.Ref]model.Object{}, wake: make(chan struct{}, 1)}
}

func (o *objects) change(f func(map[model.Ref]model.Object)) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(o.all)
	o.generation++
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return o.generation
}

func (o *objects) output() source.Output {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := source.Output{Generation: o.generation}
	for _, object := range o.all {
		out.Objects = append(out.Objects, object)
	}
	return out
}

func (o *objects) Name() string { return "applied" }

func (o *objects) Run(ctx context.Context, emit func(source.Output)) error {
	for {
		emit(o.output())
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
		}
	}
}
