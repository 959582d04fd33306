package consul

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// maxServices bounds what is watched: each service is a query that waits.
	maxServices = 10_000
	// maxAsking is how many ask the leader at one time.
	maxAsking = 8
	// joinGap is the least time between two parts: a change after a quiet time is told
	// at once, a storm of them together.
	joinGap = 10 * time.Millisecond
	// itself is the service that Consul's servers are. Nobody calls it through a mesh,
	// and who may see anything at all sees it, as a rule.
	itself = "consul"
)

// A catalog is the services that are watched. The list of services in Consul says which
// are; each tells its own state (service.go), and the parts of that state are joined.
type catalog struct {
	client    *consul.Client
	tag, self string
	// asking has room for who asks the leader.
	asking chan struct{}
	// wake has room for one: that a view changed.
	wake chan struct{}
	// watches waits for those who watch.
	watches sync.WaitGroup
	// blind says that the list has lost Consul itself: ACLs keep things back, and for
	// one without a token Consul does not say so.
	blind atomic.Bool

	mu       sync.Mutex // held for moments
	services []*watched // in order of name
	listed   bool       // the list was read
	err      error      // why it may be old
	beyond   int        // services over the most
	// complete says that every service was read once; joining waits for it.
	complete bool
	seen     bool // that the list had Consul itself in it
}

// watched is one service that is watched.
type watched struct {
	name string
	end  context.CancelFunc

	// Guarded by the catalog's mu.
	listed bool  // it is in Consul's list
	view   *view // nil until there is an answer
}

// followCatalog emits the part until ctx ends.
func (s *Source) followCatalog(ctx context.Context, emit func(catalogPart)) error {
	c := &catalog{
		client: s.config.Client, tag: s.config.Tag, self: s.config.Self,
		asking: make(chan struct{}, maxAsking), wake: make(chan struct{}, 1),
	}
	defer c.watches.Wait()
	c.watches.Go(func() { c.join(ctx, emit) })
	return consul.Follow(ctx, c.client, consul.Watch[map[string][]string]{
		What: "services",
		Fetch: func(q *api.QueryOptions) (map[string][]string, *api.QueryMeta, error) {
			q.Filter = "ServiceKind == ``" // a proxy beside each service would be a query more
			return c.client.API().Catalog().Services(first(q))
		},
		Emit: func(a consul.Answer[map[string][]string]) { c.take(ctx, a) },
	})
}

// take follows the list: who is new in it is watched. Who is no longer ends by itself,
// when it has no instances left: what holds them (hold.go) so holds its watch, too.
func (c *catalog) take(ctx context.Context, a consul.Answer[map[string][]string]) {
	defer c.wakeUp()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err = a.Err; a.Err != nil {
		return
	}
	_, sees := a.Value[itself]
	c.seen = c.seen || sees
	c.blind.Store(c.seen && !sees)
	names := c.choose(a.Value)
	switch {
	case c.blind.Load():
		c.err = fmt.Errorf("services: consul at %s shows not even its own service any more, so what is missing may be there: "+
			"give xdsserver's token service:read and node:read again", c.client.Address())
	case a.Filtered && len(a.Value) == 0 && !c.listed:
		c.err = fmt.Errorf("services: consul at %s shows no service to xdsserver's token: give it service:read and node:read", c.client.Address())
		return
	}
	c.listed = true
	before := make(map[string]*watched, len(c.services))
	for _, w := range c.services {
		before[w.name] = w
		w.listed = false
	}
	for _, name := range names {
		w := before[name]
		if w == nil {
			w = &watched{name: name}
			c.services = append(c.services, w)
			ctx, end := context.WithCancel(ctx)
			w.end = end
			c.watches.Go(func() { c.watch(ctx, w) })
		}
		w.listed = true
	}
	slices.SortFunc(c.services, func(a, b *watched) int { return strings.Compare(a.name, b.name) })
	c.services = slices.DeleteFunc(c.services, (*watched).over)
}

// choose returns which services are to be watched, in order.
func (c *catalog) choose(list map[string][]string) []string {
	names := slices.Sorted(maps.Keys(list))
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == itself || name == "" ||
			c.tag != "" && !slices.ContainsFunc(list[name], func(tag string) bool { return strings.EqualFold(tag, c.tag) })
	})
	c.beyond = max(0, len(names)-maxServices)
	return names[:len(names)-c.beyond]
}

// over reports whether the watch of a service has nothing more to see, and ends it.
func (w *watched) over() bool {
	over := !w.listed && w.view != nil && w.view.known && w.view.err == nil && w.view.empty
	if over {
		w.end()
	}
	return over
}

// publish takes the newest view of a service.
func (c *catalog) publish(w *watched, v *view) {
	c.mu.Lock()
	w.view = v
	if !w.listed && w.over() {
		c.services = slices.DeleteFunc(c.services, func(o *watched) bool { return o == w })
	}
	c.mu.Unlock()
	c.wakeUp()
}

func (c *catalog) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// join emits parts until ctx ends.
func (c *catalog) join(ctx context.Context, emit func(catalogPart)) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	var last *whole
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		began := time.Now()
		if w := c.whole(); w != nil && !w.same(last) {
			emit(w.part())
			last = w
		}
		// A catalog that keeps a core busy leaves half of it to others.
		pause.Reset(max(joinGap, time.Since(began)))
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// A whole is what a part is made of.
type whole struct {
	views  []*view // in order
	known  bool
	err    error
	beyond int
}

// whole returns nil while there is neither a whole nor an error.
func (c *catalog) whole() *whole {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &whole{views: make([]*view, 0, len(c.services)), err: c.err, beyond: c.beyond}
	unknown := 0
	for _, s := range c.services {
		if s.view == nil || !s.view.known {
			unknown++
		}
		if s.view == nil {
			continue
		}
		w.views = append(w.views, s.view)
		if w.err == nil {
			w.err = s.view.err // one stands for all: most fail together
		}
	}
	c.complete = c.complete || c.listed && unknown == 0
	w.known = c.complete
	if !w.known && c.err == nil && (w.err == nil || len(w.views) < len(c.services)) {
		return nil
	}
	return w
}

func (w *whole) same(o *whole) bool {
	return o != nil && w.known == o.known && w.beyond == o.beyond && fmt.Sprint(w.err) == fmt.Sprint(o.err) && slices.Equal(w.views, o.views)
}

func (w *whole) part() catalogPart {
	total := 0
	for _, v := range w.views {
		total += len(v.instances)
	}
	p := catalogPart{part: part{known: w.known, err: w.err}, instances: make([]instance, 0, total)}
	for _, v := range w.views {
		p.instances = append(p.instances, v.instances...)
		p.problems = append(p.problems, v.problems...)
	}
	if w.beyond > 0 {
		p.problems = append(p.problems, model.Problem{
			From: Name, Field: "services", Warning: true,
			Message: fmt.Sprintf("Consul has %d services beyond the %d that one xdsserver reads: choose by a tag", w.beyond, maxServices),
		})
	}
	return p
}
