package consul

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// proxyDefaults may say that services speak gRPC by default; nothing else is read of it.
	proxyDefaults = api.ProxyDefaults
	// chainsAtOnce is how many chains Consul is asked for side by side.
	chainsAtOnce = 8
)

// routingKinds are the config entries that say where calls go.
var routingKinds = []string{api.ServiceRouter, api.ServiceSplitter, api.ServiceResolver, api.ServiceDefaults, proxyDefaults}

// followRouting emits the part until ctx ends: one query waits for each kind of entry, and
// when one changes, Consul is asked for the chains that it compiles of them.
func (s *Source) followRouting(ctx context.Context, emit func(routingPart)) error {
	group, ctx := errgroup.WithContext(ctx)
	r := &routingReader{client: s.config.Client, kinds: map[string]kindAnswer{}, wake: make(chan struct{}, 1)}
	for _, kind := range routingKinds {
		group.Go(func() error {
			return consul.Follow(ctx, s.config.Client, consul.Watch[[]api.ConfigEntry]{
				What: kind + " entries",
				Fetch: func(q *api.QueryOptions) ([]api.ConfigEntry, *api.QueryMeta, error) {
					return s.config.Client.API().ConfigEntries().List(kind, q)
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

// A kindAnswer is what Consul said last of one kind, and why that may be old.
type kindAnswer struct {
	entries []api.ConfigEntry
	known   bool
	err     error
}

// A routingReader makes parts of answers.
type routingReader struct {
	client *consul.Client
	wake   chan struct{} // cap 1: an answer is there

	mu    sync.Mutex // held for moments
	kinds map[string]kindAnswer
}

func (r *routingReader) take(kind string, a consul.Answer[[]api.ConfigEntry]) {
	r.mu.Lock()
	k := r.kinds[kind]
	switch {
	case a.Err != nil:
		k.err = a.Err
	case a.Filtered && len(a.Value) < len(k.entries):
		k.err = fmt.Errorf("%s entries: consul's ACLs hide some that xdsserver saw before: give its token service:read again", kind)
	default:
		k = kindAnswer{entries: a.Value, known: true}
	}
	r.kinds[kind] = k
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run emits a part after each answer until ctx ends. Chains that cannot be read are asked
// for again, and the last good part stays meanwhile.
func (r *routingReader) run(ctx context.Context, emit func(routingPart)) {
	var last routingPart
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		next, err := r.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			last.err = err
			emit(last)
			failures++
			if !askAgain(ctx, failures, r.wake) {
				return
			}
			continue
		}
		failures = 0
		if next.known || next.err == nil {
			last = next
		} else {
			last.err = next.err
		}
		emit(last)
	}
}

// read makes a part of what is known of all kinds.
func (r *routingReader) read(ctx context.Context) (routingPart, error) {
	r.mu.Lock()
	kinds := make(map[string]kindAnswer, len(r.kinds))
	maps.Copy(kinds, r.kinds)
	r.mu.Unlock()
	p := routingPart{part: part{known: true}}
	for _, kind := range routingKinds {
		p.known = p.known && kinds[kind].known
		if p.err == nil {
			p.err = kinds[kind].err
		}
	}
	if !p.known {
		return p, nil
	}
	names := map[string]bool{}
	for _, kind := range []string{api.ServiceRouter, api.ServiceSplitter, api.ServiceResolver} {
		for _, e := range kinds[kind].entries {
			names[e.GetName()] = true
		}
	}
	for _, kind := range routingKinds {
		for _, e := range kinds[kind].entries {
			p.problems = append(p.problems, unhonoured(e)...)
		}
	}
	subsets, problems := subsetsOf(kinds[api.ServiceResolver].entries)
	p.problems = append(p.problems, problems...)
	if len(subsets) > 0 {
		p.subsets = func(service model.ServiceName, entry *api.ServiceEntry) []string {
			var in []string
			for _, s := range subsets[service] {
				if s.has(entry) {
					in = append(in, s.version)
				}
			}
			return in
		}
	}
	chains, err := r.chains(ctx, names)
	if err != nil {
		return routingPart{}, err
	}
	timeouts := timeoutsOf(kinds[api.ServiceResolver].entries)
	for _, compiled := range chains {
		route, problems := compileChain(compiled, timeouts)
		p.problems = append(p.problems, problems...)
		if route != nil {
			p.objects = append(p.objects, route)
		}
	}
	return p, nil
}

// timeoutsOf are the RequestTimeouts of service-resolvers, which chains do not hold.
func timeoutsOf(entries []api.ConfigEntry) map[string]timeout {
	all := map[string]timeout{}
	for _, entry := range entries {
		if e, ok := entry.(*api.ServiceResolverConfigEntry); ok && e.RequestTimeout > 0 {
			all[e.Name] = e.RequestTimeout
		}
	}
	return all
}

// chains asks Consul for the chains of services, and returns them in order of name.
func (r *routingReader) chains(ctx context.Context, names map[string]bool) ([]*api.CompiledDiscoveryChain, error) {
	var (
		mu    sync.Mutex
		found []*api.CompiledDiscoveryChain
	)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(chainsAtOnce)
	for name := range names {
		group.Go(func() error {
			q, cancel := r.client.Query(ctx)
			defer cancel()
			answer, _, err := r.client.API().DiscoveryChain().Get(name, nil, q)
			if err != nil {
				return r.client.Explain("discovery chain of "+name, err)
			}
			if answer.Chain == nil {
				return fmt.Errorf("discovery chain of %s: consul at %s has none", name, r.client.Address())
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, answer.Chain)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *api.CompiledDiscoveryChain) int { return strings.Compare(a.ServiceName, b.ServiceName) })
	return found, nil
}
