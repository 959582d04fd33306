package resolver

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// An assembly makes the Configs of one service. All of it belongs to the
// goroutine of Builder.Run.
type assembly struct {
	// Immutable.
	service string
	source  source
	notify  func() // asks for another look

	listener *watch[resource.Listener]
	routes   map[string]*watch[resource.RouteConfiguration]
	clusters map[string]*cluster

	// plan is the last one whose clusters were all there, nil before the first;
	// next is the latest, and the same as plan while nothing is waited for.
	plan, next *plan
	// config is what was last made of plan.
	config *resource.Config
	// retired are watches to close once the Config that no longer needs them is
	// published.
	retired []subscription
}

// A plan is a Listener with the routes it leads to. It is immutable.
type plan struct {
	listener    *resource.Listener
	routeName   string // empty when the routes came with the Listener
	virtualHost *resource.VirtualHost
	clusters    []string // sorted
}

// A result is what one look at the resources came to.
type result struct {
	// config is nil before the first, and the same value as before when nothing
	// changed that calls depend on.
	config *resource.Config
	// failure is why the latest resources cannot be used; config is then older.
	failure *call.Error
	// waiting is what the latest resources wait for; config is then older.
	waiting []string
	// cause is why it is waited for, where that is known.
	cause error
	// stale is whether some of config is not confirmed by the control plane.
	stale bool
}

func newAssembly(service string, src source, notify func()) *assembly {
	return &assembly{
		service:  service,
		source:   src,
		notify:   notify,
		listener: newWatch[resource.Listener](src, resource.ListenerType, service, notify),
		routes:   make(map[string]*watch[resource.RouteConfiguration]),
		clusters: make(map[string]*cluster),
	}
}

// assemble looks at all resources, subscribes to those that are new, and returns
// the newest Config that is complete, which revision numbers if it is a new one.
// What is no longer needed stays open until prune.
func (a *assembly) assemble(revision func() uint64) result {
	var r result
	a.follow(&r)
	a.update()
	if a.next != nil {
		missing := len(r.waiting)
		for _, name := range a.next.clusters {
			if c := a.clusters[name]; c.current == nil {
				r.waiting = append(r.waiting, c.missing)
				r.cause = cmp.Or(r.cause, c.cause)
			}
		}
		if len(r.waiting) == missing {
			a.plan = a.next
		}
	}
	if a.plan == nil {
		return r
	}
	if config, differs := a.build(&r); differs {
		config.Revision = revision()
		a.config = config
	}
	r.config = a.config
	return r
}

// follow makes next of the Listener and its routes, or says in r why not.
func (a *assembly) follow(r *result) {
	l := a.listener.look()
	r.stale = l.stale
	switch {
	case l.unusable:
		r.failure = unusable(a.service, l.err)
		return
	case l.value == nil:
		r.waiting, r.cause = append(r.waiting, fmt.Sprintf("Listener %q", a.service)), l.err
		return
	}
	routes := l.value.Routes
	if routes == nil {
		w := a.routes[l.value.RouteName]
		if w == nil {
			w = newWatch[resource.RouteConfiguration](a.source, resource.RouteType, l.value.RouteName, a.notify)
			a.routes[w.name] = w
		}
		v := w.look()
		r.stale = r.stale || v.stale
		switch {
		case v.unusable:
			r.failure = badConfig(a.service, v.err)
			return
		case v.value == nil:
			r.waiting, r.cause = append(r.waiting, fmt.Sprintf("RouteConfiguration %q", w.name)), v.err
			return
		}
		routes = v.value
	}
	// The authority is the service's name: that of a connection is not known to
	// interceptors, and connections to one service share one Config.
	host := routes.VirtualHost(a.service)
	if host == nil {
		r.failure = badConfig(a.service, fmt.Errorf("no virtual host of RouteConfiguration %q has the domain %q", routes.Name, a.service))
		return
	}
	if a.next != nil && a.next.listener == l.value && a.next.virtualHost == host {
		return
	}
	a.next = &plan{
		listener:    l.value,
		routeName:   l.value.RouteName,
		virtualHost: host,
		clusters:    clustersOf(host),
	}
}

// clustersOf returns the names of all clusters that routes lead to, with those that
// they mirror calls to.
func clustersOf(host *resource.VirtualHost) []string {
	names := make(map[string]struct{})
	for _, route := range host.Routes {
		for i := range route.Clusters {
			names[route.Clusters[i].Name] = struct{}{}
		}
		if route.Traffic == nil {
			continue
		}
		for i := range route.Traffic.Mirrors {
			names[route.Traffic.Mirrors[i].Cluster] = struct{}{}
		}
		if route.Traffic != nil {
			for i := range route.Traffic.Mirrors {
				names[route.Traffic.Mirrors[i].Cluster] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// update looks at the clusters of both plans, and opens those that are new.
func (a *assembly) update() {
	for name := range a.needed() {
		if a.clusters[name] == nil {
			a.clusters[name] = &cluster{
				name:  name,
				watch: newWatch[resource.Cluster](a.source, resource.ClusterType, name, a.notify),
			}
		}
		a.clusters[name].update(a)
	}
}

// needed is the set of clusters that either plan names.
func (a *assembly) needed() map[string]struct{} {
	names := make(map[string]struct{})
	for _, p := range []*plan{a.plan, a.next} {
		if p == nil {
			continue
		}
		for _, name := range p.clusters {
			names[name] = struct{}{}
		}
	}
	return names
}

// build makes a Config of plan, and says whether it differs from the last.
func (a *assembly) build(r *result) (*resource.Config, bool) {
	config := &resource.Config{
		Service:     a.service,
		Listener:    a.plan.listener,
		VirtualHost: a.plan.virtualHost,
		Clusters:    make(map[string]*resource.ClusterConfig, len(a.plan.clusters)),
	}
	for _, name := range a.plan.clusters {
		c := a.clusters[name]
		config.Clusters[name] = c.current
		r.stale = r.stale || c.stale
	}
	config.CommonTimeout = commonTimeout(config)
	if old := a.config; old != nil && old.Listener == config.Listener && old.VirtualHost == config.VirtualHost &&
		maps.Equal(old.Clusters, config.Clusters) {
		return old, false
	}
	return config, true
}

// retire marks a watch, which may be nil, to be closed by prune.
func (a *assembly) retire(w *watch[resource.Endpoints]) {
	if w != nil {
		a.retired = append(a.retired, w.sub)
	}
}

// prune ends interest in what neither plan needs. It is called once the Config
// that assemble returned is published (gRFC A74).
func (a *assembly) prune() {
	for _, sub := range a.retired {
		sub.Close()
	}
	a.retired = nil
	needed := a.needed()
	for name, c := range a.clusters {
		if _, ok := needed[name]; !ok {
			c.close()
			delete(a.clusters, name)
		}
	}
	latest := ""
	if l := a.listener.look(); l.value != nil {
		latest = l.value.RouteName
	}
	for name, w := range a.routes {
		if name != latest && (a.plan == nil || name != a.plan.routeName) && (a.next == nil || name != a.next.routeName) {
			w.sub.Close()
			delete(a.routes, name)
		}
	}
}

// close ends all interest.
func (a *assembly) close() {
	a.listener.sub.Close()
	for _, w := range a.routes {
		w.sub.Close()
	}
	for _, c := range a.clusters {
		c.close()
	}
	for _, sub := range a.retired {
		sub.Close()
	}
}

// unusable is why a service without a usable Listener cannot be called.
func unusable(service string, err error) *call.Error {
	if _, ok := errors.AsType[*xdsclient.NotFoundError](err); ok {
		return unknownService(service, err)
	}
	return badConfig(service, err)
}
