package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// An Inbound follows what the servers of one service enforce: its server Listener
// and the RouteConfiguration that this leads to. As with a client's configuration
// a new one counts when all of it is there, and the last good one stays.
//
//	inbound := resolver.NewInbound(client, "voting", logger) // an *xdsclient.Client
//	group.Go(func() error { return inbound.Run(ctx) })
//	if err := inbound.Wait(ctx); err != nil {
//		return err
//	}
//	access := inbound.Current().Access("/voting.v1.Voting/Vote")
//
// It is safe for concurrent use.
type Inbound struct {
	// Immutable.
	service string
	source  source
	logger  *slog.Logger
	wake    chan struct{} // cap 1: some resource has changed
	started atomic.Bool

	current atomic.Pointer[resource.Inbound]

	// Owned by Run.
	listener *watch[resource.Listener]
	// routes go with current, or are those the first is waited for with; next are
	// those of a newer Listener which leads elsewhere.
	routes, next *watch[resource.RouteConfiguration]
	revision     uint64
	logged       error

	// Guarded by mu.
	mu      sync.Mutex
	changed chan struct{} // closed when current or why changes
	why     error         // why the newest resources are not current; nil when they are
	done    bool          // Run has returned
}

// NewInbound returns an Inbound of the service, in its canonical form. The
// client's Types must be [Types]. A nil logger means slog.Default(). The caller
// runs it; see [Inbound.Run].
func NewInbound(client *xdsclient.Client, service string, logger *slog.Logger) *Inbound {
	return newInbound(clientSource{client}, service, logger)
}

func newInbound(src source, service string, logger *slog.Logger) *Inbound {
	return &Inbound{
		service: service,
		source:  src,
		logger:  cmp.Or(logger, slog.Default()),
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}),
		why:     fmt.Errorf("it waits for Listener %q", resource.ServerListener(service)),
	}
}

// Current returns what is to be enforced now: nil before the first. It is one
// atomic load.
func (i *Inbound) Current() *resource.Inbound { return i.current.Load() }

// Changed returns a channel that is closed when Current may return another value
// than before the call. Ask for it before Current.
func (i *Inbound) Changed() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changed
}

// Wait returns nil once there is a Current. The error says what is waited for,
// when ctx ends first, or that nothing will come, when Run has returned.
func (i *Inbound) Wait(ctx context.Context) error {
	for {
		i.mu.Lock()
		changed, why, done := i.changed, i.why, i.done
		i.mu.Unlock()
		if i.Current() != nil {
			return nil
		}
		if done {
			return fmt.Errorf("no access policy for servers of %q: the mesh is closed", i.service)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("no access policy for servers of %q yet: %w (%w)", i.service, why, ctx.Err())
		}
	}
}

// Run follows the resources until ctx ends, and then returns nil. Current stays
// what it was. It is called once.
func (i *Inbound) Run(ctx context.Context) error {
	if i.started.Swap(true) {
		return errors.New("resolver: an inbound runs once")
	}
	i.listener = newWatch[resource.Listener](i.source, resource.ListenerType, resource.ServerListener(i.service), i.notify)
	defer i.stop()
	i.notify()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-i.wake:
			i.refresh()
		}
	}
}

func (i *Inbound) notify() {
	select {
	case i.wake <- struct{}{}:
	default: // it is awake
	}
}

func (i *Inbound) stop() {
	i.listener.sub.Close()
	for _, w := range []*watch[resource.RouteConfiguration]{i.routes, i.next} {
		if w != nil {
			w.sub.Close()
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.done = true
	i.broadcastLocked()
}

func (i *Inbound) broadcastLocked() {
	close(i.changed)
	i.changed = make(chan struct{})
}

// refresh brings current up to the resources.
func (i *Inbound) refresh() {
	next, why := i.assemble()
	old := i.current.Load()
	if next != nil && old != nil && next.Listener == old.Listener && next.VirtualHost == old.VirtualHost {
		next = old
	}
	if next != nil && next != old {
		i.revision++
		next.Revision = i.revision
		i.current.Store(next)
	}
	i.log(why, next)
	i.mu.Lock()
	defer i.mu.Unlock()
	if next != nil && next != old || !sameError(why, i.why) {
		i.why = why
		i.broadcastLocked()
	}
}

// assemble returns an Inbound of the newest resources where they are complete,
// and otherwise why they are not.
func (i *Inbound) assemble() (*resource.Inbound, error) {
	l := i.listener.look()
	if l.value == nil {
		return nil, cmp.Or(l.err, fmt.Errorf("it waits for Listener %q", i.listener.name))
	}
	if l.value.Server == nil {
		return nil, fmt.Errorf("its Listener %q is a client's", i.listener.name)
	}
	routes := l.value.Routes
	if routes == nil {
		w := i.watchOf(l.value.RouteName)
		v := w.look()
		if v.value == nil {
			return nil, cmp.Or(v.err, fmt.Errorf("it waits for RouteConfiguration %q", w.name))
		}
		routes = v.value
		if w == i.next {
			i.routes.sub.Close()
			i.routes, i.next = i.next, nil
		}
	}
	// Callers choose the authority, so that it must not choose the rules.
	host := routes.VirtualHost(i.service)
	if host == nil {
		return nil, fmt.Errorf("no virtual host of RouteConfiguration %q has the domain %q", routes.Name, i.service)
	}
	return &resource.Inbound{Listener: l.value, VirtualHost: host}, nil
}

// watchOf returns the watch of the routes that a Listener leads to.
func (i *Inbound) watchOf(name string) *watch[resource.RouteConfiguration] {
	if i.routes == nil {
		i.routes = newWatch[resource.RouteConfiguration](i.source, resource.RouteType, name, i.notify)
	}
	if i.next != nil && i.next.name != name {
		i.next.sub.Close()
		i.next = nil
	}
	switch {
	case i.routes.name == name:
		return i.routes
	case i.next == nil:
		i.next = newWatch[resource.RouteConfiguration](i.source, resource.RouteType, name, i.notify)
	}
	return i.next
}

// log says once that the newest policy cannot be used, and that it can. That one
// is not there yet is no news.
func (i *Inbound) log(why error, next *resource.Inbound) {
	switch {
	case why == nil && i.logged != nil:
		i.logged = nil
		i.logger.Info("access policy in use again", "service", i.service, "revision", next.Revision)
	case why != nil && i.current.Load() != nil && !sameError(i.logged, why):
		i.logged = why
		i.logger.Warn("newest access policy cannot be used, the one before stays", "service", i.service, "error", why)
	}
}
