// Package consul is the source that takes services, routes and access from Consul.
//
//	s := consul.New(consul.Config{Client: client, Self: replica})
//	err := s.Run(ctx, func(out source.Output) { publish(out) })
//
// It reads three things, each a part of its own: the catalog with the health of every
// service (catalog.go), the config entries that route calls (routing.go), and the
// intentions (intentions.go). Each is followed by blocking queries and keeps its last
// good state; what Consul says and the mesh cannot do becomes a problem, which
// `xdsserver check` lists.
package consul

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

// emitGap is the least time between two outputs: what happens in between is in the
// next. Lower makes storms dearer, higher delays each change that follows another.
const emitGap = 50 * time.Millisecond

// Name is the source's name.
const Name = "consul"

// Config says what to read.
type Config struct {
	// Client is the connection to Consul. Required.
	Client *consul.Client
	// Self is this xdsserver among others: what it registered in Consul itself is known
	// without asking Consul.
	Self string
	// Tag keeps to instances that have it; empty takes all.
	Tag string
	// CacheFile keeps what Consul said last, for a start while it is away; empty is none.
	CacheFile string
	// Logger takes what an operator should know; nil means slog.Default().
	Logger *slog.Logger
}

// A Source reads Consul. Run may be called once at a time.
type Source struct {
	config Config
	logger *slog.Logger

	// wake has room for one: that a part changed.
	wake chan struct{}
	// newest is an output that is not on disk yet; nil when it is.
	newest atomic.Pointer[source.Output]

	mu         sync.Mutex // held for moments
	catalog    catalogPart
	routing    routingPart
	intentions intentionsPart
}

var _ source.Source = (*Source)(nil)

// A part is what all parts have.
type part struct {
	// known is true once the part was read.
	known    bool
	objects  []model.Object
	problems []model.Problem
	// err is why the part may be old; nil when it is not.
	err error
}

// catalogPart is the instances of all services.
type catalogPart struct {
	part

	instances []instance
	// own are those that this xdsserver registered.
	own []instance
}

// An instance is an endpoint, and what Consul says of it.
type instance struct {
	endpoint model.Endpoint // without Subsets
	entry    *api.ServiceEntry
}

// routingPart is what config entries make of services.
type routingPart struct {
	part

	// subsets returns the subsets of its service that an instance is in, in order; nil
	// where no service has any.
	subsets func(service model.ServiceName, entry *api.ServiceEntry) []string
}

// intentionsPart is who may call whom.
type intentionsPart struct{ part }

// New returns a Source; it asks nothing yet.
func New(c Config) *Source {
	return &Source{config: c, logger: cmp.Or(c.Logger, slog.Default()), wake: make(chan struct{}, 1)}
}

// Name returns [Name].
func (s *Source) Name() string { return Name }

// Run emits what Consul says, first when every part was read or could not be, and after
// each change, until ctx ends.
func (s *Source) Run(ctx context.Context, emit func(source.Output)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.followCatalog(ctx, func(p catalogPart) { s.take(func() { s.catalog = p }) }) })
	group.Go(func() error { return s.followRouting(ctx, func(p routingPart) { s.take(func() { s.routing = p }) }) })
	group.Go(func() error {
		return s.followIntentions(ctx, func(p intentionsPart) { s.take(func() { s.intentions = p }) })
	})
	group.Go(func() error { return s.fold(ctx, emit) })
	group.Go(func() error { return s.keep(ctx) })
	return group.Wait()
}

// take keeps a part's newest state.
func (s *Source) take(store func()) {
	s.mu.Lock()
	store()
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// fold emits until ctx ends.
func (s *Source) fold(ctx context.Context, emit func(source.Output)) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	late := time.NewTimer(silence)
	defer late.Stop()
	before := s.remember()
	generation := uint64(0)
	for {
		silent := false
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-late.C:
			silent = generation == 0
		}
		out, known, ok := s.output()
		switch {
		case known:
			before = nil
			s.newest.Store(&out)
		case before != nil && (ok || silent):
			out = before.output()
			out.Err = cmp.Or(s.failure(), errSilent)
		case silent:
			// Others would go on without this source: then at least nothing is open that
			// Consul may have closed.
			out = source.Output{Objects: []model.Object{unread()}, Err: errSilent}
		case !ok:
			continue
		}
		generation++
		out.Generation = generation
		emit(out)
		pause.Reset(emitGap)
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// silence is how long Consul may take to answer at first, before the source says what it
// can without it.
const silence = 3 * time.Second

var errSilent = errors.New("consul has not answered yet")

// failure is why parts may be old.
func (s *Source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.catalog.err, s.routing.err, s.intentions.err)
}

// output joins the parts; known is whether all were read, ok false while one was neither
// read nor failed.
func (s *Source) output() (out source.Output, known, ok bool) {
	s.mu.Lock()
	catalog, routing, intentions := s.catalog, s.routing, s.intentions
	s.mu.Unlock()
	known = true
	for _, p := range []part{catalog.part, routing.part, intentions.part} {
		if !p.known && p.err == nil {
			return out, false, false
		}
		known = known && p.known
		out.Objects = append(out.Objects, p.objects...)
		out.Problems = append(out.Problems, p.problems...)
		out.Err = errors.Join(out.Err, p.err)
	}
	out.Endpoints = make([]model.Endpoint, 0, len(catalog.instances)+len(catalog.own))
	for _, in := range slices.Concat(catalog.instances, catalog.own) {
		e := in.endpoint
		if routing.subsets != nil {
			e.Subsets = routing.subsets(e.Service, in.entry)
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	return out, known, true
}
