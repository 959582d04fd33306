package consul

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// chainsAtOnce is how many chains Consul is asked for side by side.
	chainsAtOnce = 8
	// chainsLeast and chainsMost bound the wait before chains that could not be read are
	// asked for again; it doubles.
	chainsLeast, chainsMost = 250 * time.Millisecond, 5 * time.Second
)

// routingKinds are the config entries that say where calls go. Of proxy-defaults only the
// protocol counts.
var routingKinds = []string{api.ServiceRouter, api.ServiceSplitter, api.ServiceResolver, api.ServiceDefaults, api.ProxyDefaults}

// followRouting emits the part until ctx ends: one query waits for each kind of entry, and
// when one changes, Consul is asked for the chains that it compiles of what changed.
func (s *Source) followRouting(ctx context.Context, emit func(routingPart)) error {
	group, ctx := errgroup.WithContext(ctx)
	r := &routingReader{
		client: s.config.Client, kinds: make(map[string]kindAnswer), wake: make(chan struct{}, 1), filters: make(filters),
	}
	for _, kind := range routingKinds {
		group.Go(func() error {
			return consul.Follow(ctx, s.config.Client, consul.Watch[[]api.ConfigEntry]{
				What: kind + " entries",
				Fetch: func(q *api.QueryOptions) (found []api.ConfigEntry, meta *api.QueryMeta, err error) {
					if r.hides(kind) {
						q.WaitTime = blindWait // rights that are given back are no change, and wake nobody
					}
					err = safely(func() error {
						found, meta, err = s.config.Client.API().ConfigEntries().List(kind, first(q))
						return err
					})
					return found, meta, err
				},
				Emit: func(a consul.Answer[[]api.ConfigEntry]) { r.take(kind, a) },
			})
		})
	}
	group.Go(func() error {
		r.run(ctx, emit)
		return nil
	})
	return group.Wait()
}

// An entryName names an entry among those of its kind.
type entryName struct{ namespace, name string }

func nameOf(e api.ConfigEntry) entryName { return entryNamed(e.GetNamespace(), e.GetName()) }

// entryNamed is how Consul knows a service; the namespace may be left out.
func entryNamed(namespace, name string) entryName {
	if namespace == "" {
		namespace = model.DefaultNamespace
	}
	return entryName{namespace, name}
}

func (n entryName) compare(o entryName) int {
	return model.ServiceName{Namespace: n.namespace, Name: n.name}.Compare(model.ServiceName{Namespace: o.namespace, Name: o.name})
}

// routingEntries are config entries by kind and name. They are immutable.
type routingEntries map[string]map[entryName]api.ConfigEntry

// A kindAnswer is what Consul said last of one kind, and why that may be old.
type kindAnswer struct {
	entries map[entryName]api.ConfigEntry
	known   bool
	// hidden is whether ACLs keep some back.
	hidden bool
	err    error
}

// A routingReader makes parts of answers.
type routingReader struct {
	client *consul.Client
	wake   chan struct{} // cap 1: there is an answer

	mu    sync.Mutex // held for moments
	kinds map[string]kindAnswer

	// What belongs to run.

	before routingEntries // what chains were asked for by
	chains map[entryName]*api.CompiledDiscoveryChain
	last   routingPart
	known  map[model.Ref]model.Object // the objects of last
	// filters are those of subsets, which take longer to read than all else.
	filters filters
}

// hides reports whether ACLs keep entries of a kind back.
func (r *routingReader) hides(kind string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kinds[kind].hidden
}

// take keeps what Consul says of one kind. What ACLs hide after they showed it stays.
func (r *routingReader) take(kind string, a consul.Answer[[]api.ConfigEntry]) {
	r.mu.Lock()
	before := r.kinds[kind]
	k := before
	if k.err = a.Err; a.Err == nil {
		k = kindAnswer{known: true, hidden: a.Filtered, entries: make(map[entryName]api.ConfigEntry, len(a.Value))}
		for _, e := range a.Value {
			k.entries[nameOf(e)] = e
		}
	}
	if a.Filtered {
		k.err = fmt.Errorf("%s entries: consul at %s does not show all of them to xdsserver's token: give it service:read for every service "+
			"(service_prefix \"\")", kind, r.client.Address())
		for name, e := range before.entries {
			if k.entries[name] == nil {
				k.entries[name] = e
			}
		}
	}
	r.kinds[kind] = k
	r.mu.Unlock()
	if k.known == before.known && fmt.Sprint(k.err) == fmt.Sprint(before.err) && reflect.DeepEqual(k.entries, before.entries) {
		return // an answer is no proof of a change
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run emits a part after each answer until ctx ends. Chains that cannot be read are asked
// for again, and what they were last stays meanwhile.
func (r *routingReader) run(ctx context.Context, emit func(routingPart)) {
	again := time.NewTimer(0)
	defer again.Stop()
	<-again.C
	wait := chainsLeast
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-again.C:
		}
		next, failed := r.read(ctx)
		if ctx.Err() != nil {
			return
		}
		again.Stop()
		if wait = min(2*wait, chainsMost); !failed {
			wait = chainsLeast
		} else {
			again.Reset(wait)
		}
		if next.known || next.err != nil {
			emit(next)
		}
	}
}

// read makes a part of the newest answers; failed is whether a chain could not be read.
func (r *routingReader) read(ctx context.Context) (p routingPart, failed bool) {
	entries, err := r.entries()
	if entries == nil {
		r.last.err = err
		return r.last, false
	}
	if failure := r.ask(ctx, entries); failure != nil {
		// What was asked for is not all there, and what changed is not known any more.
		r.last.err = failure
		return r.last, true
	}
	r.last = compileRouting(entries, r.chains, r.filters)
	r.last.err = err
	r.known = reuseObjects(r.last.objects, r.known)
	return r.last, false
}

// entries are the newest of all kinds; nil until each was read once.
func (r *routingReader) entries() (entries routingEntries, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entries = make(routingEntries, len(routingKinds))
	for _, kind := range routingKinds {
		k := r.kinds[kind]
		if err == nil {
			err = k.err
		}
		if entries != nil && k.known {
			entries[kind] = k.entries
		} else {
			entries = nil
		}
	}
	return entries, err
}

// ask reads the chains that the change from the entries before makes others.
func (r *routingReader) ask(ctx context.Context, entries routingEntries) error {
	chains := make(map[entryName]*api.CompiledDiscoveryChain)
	var (
		mu    sync.Mutex
		stale []entryName
	)
	changed := entries.changedFrom(r.before)
	for name := range entries.routed() {
		if chain := r.chains[name]; chain != nil && !changed(entries.reach(name)) {
			chains[name] = chain
		} else {
			stale = append(stale, name)
		}
	}
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(chainsAtOnce)
	for _, name := range stale {
		group.Go(func() error {
			chain, err := r.chain(asking, name)
			if err != nil {
				return r.client.Explain("discovery chain of "+name.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			chains[name] = chain
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r.before, r.chains = entries, chains
	return nil
}

// chain asks Consul for one.
func (r *routingReader) chain(ctx context.Context, name entryName) (*api.CompiledDiscoveryChain, error) {
	q, done := r.client.Query(ctx)
	defer done()
	if name.namespace != model.DefaultNamespace {
		q.Namespace = name.namespace
	}
	var answer *api.DiscoveryChainResponse
	err := safely(func() (err error) {
		answer, _, err = r.client.API().DiscoveryChain().Get(name.name, nil, q)
		return err
	})
	if err == nil && answer.Chain == nil {
		err = fmt.Errorf("the answer holds none")
	}
	if err != nil {
		return nil, err
	}
	return answer.Chain, nil
}

// compileRouting makes the part of entries and the chains of those that are routed.
func compileRouting(entries routingEntries, chains map[entryName]*api.CompiledDiscoveryChain, known filters) routingPart {
	p := routingPart{part: part{known: true}}
	for _, kind := range routingKinds {
		for _, name := range slices.SortedFunc(maps.Keys(entries[kind]), entryName.compare) {
			p.problems = append(p.problems, refusals(entries[kind][name])...)
		}
	}
	services, problems := configuredServices(entries)
	p.problems = append(p.problems, problems...)
	for _, name := range slices.SortedFunc(maps.Keys(chains), entryName.compare) {
		c := compileChain(name, chains[name], entries)
		p.problems = append(p.problems, c.problems...)
		if c.route != nil {
			p.objects = append(p.objects, c.route)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(services), model.ServiceName.Compare) {
		p.objects = append(p.objects, services[name])
	}
	subsets, problems := compileSubsets(entries[api.ServiceResolver], known)
	p.problems = append(p.problems, problems...)
	if len(subsets) > 0 {
		p.subsets = subsets.of
	}
	slices.SortStableFunc(p.problems, func(a, b model.Problem) int { return strings.Compare(a.From, b.From) })
	return p
}
