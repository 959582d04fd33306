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
)

const (
	// maxServices bounds what is watched: each service is a query that waits.
	maxServices = 10_000
	// maxAsking is how many ask the leader at one time.
	maxAsking = 8
	// blindWait is how long a query for the list waits while ACLs hide it.
	blindWait = 2 * time.Second
	// itself is the service that Consul's servers are. Nobody calls it through a mesh,
	// and who may see anything at all sees it, as a rule.
	itself = "consul"
)

// A catalog is the services that are watched. The list of services in Consul says which
// are; each tells its own state (service.go), and those are joined (catalog_join.go).
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

	// What belongs to list: that not everything was in it, and when a snapshot was restored.
	partial  bool
	restored time.Time

	mu       sync.Mutex // held for moments
	services []*watched // in order of name
	listed   bool       // the list was read
	err      error      // why it may be old
	beyond   int        // services over the most
	// complete says that every service was read once; joining waits for it.
	complete bool
	index    uint64 // of the list
	seen     bool   // that the list had Consul itself in it
}

// watched is one service that is watched.
type watched struct {
	name string
	end  context.CancelFunc

	// Guarded by the catalog's mu.
	listed bool  // it is in Consul's list
	view   *view // nil until there is an answer
	// renew has the query that waits begin anew.
	renew context.CancelFunc
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
		What:  "services",
		Fetch: c.list,
		Emit:  func(a consul.Answer[map[string][]string]) { c.take(ctx, a) },
	})
}

// list asks for the list, and has what follows it begin anew where the index does not say
// that it should.
func (c *catalog) list(q *api.QueryOptions) (map[string][]string, *api.QueryMeta, error) {
	q.Filter = "ServiceKind == ``" // a proxy beside each service would be a query more
	if c.blind.Load() {
		q.WaitTime = blindWait // rights that are given back are no change, and wake nobody
	}
	began, since := time.Now(), q.WaitIndex
	list, meta, err := c.client.API().Catalog().Services(first(q))
	early := err == nil && since > 0 && meta.LastIndex <= since && time.Since(began) < q.WaitTime/2
	if early && time.Since(c.restored) > again {
		// A query that ends before its time, though nothing changed, ends because a snapshot
		// was restored. Asked for what is newer than a lower index, Consul would wait.
		c.restored = time.Now()
		c.renewAll()
		q.WaitIndex = 0
		list, meta, err = c.client.API().Catalog().Services(first(q))
	}
	if err != nil {
		return nil, nil, err
	}
	_, sees := list[itself]
	if partial := !sees || meta.ResultsFilteredByACLs; partial != c.partial {
		c.partial = partial
		c.renewAll()
		meta.LastIndex = 0 // the rights changed, and the index did not: that begins from nothing
	}
	return list, meta, nil
}

// renewAll has all services begin anew.
func (c *catalog) renewAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index = 0
	for _, w := range c.services {
		w.renew()
	}
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
	c.renew(names, a.Index)
	before := make(map[string]*watched, len(c.services))
	for _, w := range c.services {
		before[w.name] = w
		w.listed = false
	}
	for _, name := range names {
		w := before[name]
		if w == nil {
			w = &watched{name: name, renew: func() {}}
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

// renew has the leader say how services are of which the list proves that the query that
// waits may know nothing new: by default an agent answers those from a stream of events,
// which tells neither that ACLs now hide a service nor, before its time to wait is over,
// that the index went back.
func (c *catalog) renew(names []string, index uint64) {
	back := index < c.index
	c.index = index
	for _, w := range c.services {
		_, still := slices.BinarySearch(names, w.name)
		if back || w.listed && !still {
			w.renew()
		}
	}
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
