package consul

import (
	"reflect"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// routed are the services whose calls may go elsewhere than to all their instances.
func (e routingEntries) routed() map[entryName]bool {
	all := make(map[entryName]bool)
	for _, kind := range []string{api.ServiceRouter, api.ServiceSplitter, api.ServiceResolver} {
		for name := range e[kind] {
			all[name] = true
		}
	}
	return all
}

// reach are the services whose entries the chain of one is made of.
func (e routingEntries) reach(from entryName) map[entryName]bool {
	seen := map[entryName]bool{from: true}
	todo := []entryName{from}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, next := range e.next(at, at == from) {
			if !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	return seen
}

// next are the services that the entries of one name; its router counts for the one that
// is called alone.
func (e routingEntries) next(at entryName, called bool) (all []entryName) {
	add := func(namespace, name string) {
		if name == "" {
			name = at.name
		}
		if namespace == "" {
			namespace = at.namespace
		}
		all = append(all, entryName{namespace, name})
	}
	if router, ok := e[api.ServiceRouter][at].(*api.ServiceRouterConfigEntry); ok && called {
		for _, r := range router.Routes {
			if d := r.Destination; d != nil {
				add(d.Namespace, d.Service)
			}
		}
	}
	if splitter, ok := e[api.ServiceSplitter][at].(*api.ServiceSplitterConfigEntry); ok {
		for _, s := range splitter.Splits {
			add(s.Namespace, s.Service)
		}
	}
	if resolver, ok := e[api.ServiceResolver][at].(*api.ServiceResolverConfigEntry); ok {
		if r := resolver.Redirect; r != nil {
			add(r.Namespace, r.Service)
		}
		for _, f := range resolver.Failover {
			add(f.Namespace, f.Service)
			for _, t := range f.Targets {
				add(t.Namespace, t.Service)
			}
		}
	}
	return all
}

// changedFrom returns what tells whether an entry of one of some services differs from
// those before.
func (e routingEntries) changedFrom(before routingEntries) func(map[entryName]bool) bool {
	changed := make(map[entryName]bool)
	all := false
	for _, kind := range routingKinds {
		compare := func(a, b map[entryName]api.ConfigEntry) {
			for name, entry := range a {
				if other := b[name]; other == nil || other != entry && !reflect.DeepEqual(other, entry) {
					changed[name] = true
					all = all || kind == api.ProxyDefaults
				}
			}
		}
		compare(e[kind], before[kind])
		compare(before[kind], e[kind])
	}
	return func(names map[entryName]bool) bool {
		for name := range names {
			if changed[name] {
				return true
			}
		}
		return all
	}
}

// reuseObjects puts objects of before in the place of equal ones: who compares them does
// so by identity. It returns the objects by name.
func reuseObjects(objects []model.Object, before map[model.Ref]model.Object) map[model.Ref]model.Object {
	now := make(map[model.Ref]model.Object, len(objects))
	for i, o := range objects {
		if old := before[o.Ref()]; old != nil && reflect.DeepEqual(old, o) {
			objects[i] = old
		}
		now[o.Ref()] = objects[i]
	}
	return now
}
