package balancer

import (
	"log/slog"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A group is one cluster of the configuration. The root guards it.
type group struct {
	service, name string
	config        *resource.ClusterConfig

	shared   *Shared
	security call.Security // of the connections
	key      clusterKey
	open     *openCalls // nil while the cluster cannot be used

	logger   *slog.Logger
	nodes    map[*endpoint]*Node
	detector *detector // nil detects nothing

	priorities []*priority
	current    *priority // nil without priorities

	// state is the group's part in the channel's. Once it fails, only success
	// ends that: attempts to connect do not (grpc-go: cluster_manager).
	state  connectivity.State
	picker *groupPicker
	// dirty is whether the picker is older than what it was made from.
	dirty bool
}

func newGroup(service, name string) *group {
	return &group{service: service, name: name, state: connectivity.Connecting}
}

// configure takes the cluster's configuration and puts the priorities that can
// be used by what is known into use.
func (g *group) configure(config *resource.ClusterConfig, all *endpoints, of origin, now time.Time) {
	g.config, g.logger, g.security, g.dirty = config, of.logger, of.security, true
	if config.Err != nil || config.Cluster == nil || config.Endpoints == nil {
		g.close()
		return
	}
	g.count(of.shared, clusterKey{cluster: g.name, endpoints: config.Endpoints.Name})

	var next []*priority
	for i := range config.Endpoints.Localities {
		given := &config.Endpoints.Localities[i]
		for int(given.Priority) >= len(next) {
			next = append(next, &priority{})
		}
		l := newLocality(given, config.Cluster.PeerIDs, all, of.zone)
		next[given.Priority].localities = append(next[given.Priority].localities, l)
	}
	for _, p := range next {
		subset(p.localities, config.Cluster.Balancing.Subset, subsetSeed)
		for e := range p.endpoints() {
			e.users = append(e.users, g)
		}
	}
	g.know(next)
	carryOver(g.priorities, next)
	g.priorities = next
	g.choose(now)
}

// count makes the group count its calls under key.
func (g *group) count(shared *Shared, key clusterKey) {
	if g.open != nil && g.shared == shared && g.key == key {
		return
	}
	open := shared.use(key)
	if g.shared != shared {
		g.forget() // its nodes are counted elsewhere
	}
	g.uncount()
	g.shared, g.key, g.open = shared, key, open
}

// know gives each member its node, configured: the one it had, or a new one.
func (g *group) know(priorities []*priority) {
	config := &g.config.Cluster.Balancing
	old := g.nodes
	g.nodes = make(map[*endpoint]*Node, len(old))
	var all []*Node
	for _, p := range priorities {
		for _, l := range p.localities {
			for i := range l.members {
				m := &l.members[i]
				n := g.nodes[m.endpoint]
				if n == nil {
					if n = old[m.endpoint]; n == nil {
						n = NewNode(m.resource.Addresses[0])
					}
					n.configure(config)
					if config.MaxRequestsPerEndpoint > 0 && n.total.Load() == nil {
						n.total.Store(g.shared.use(clusterKey{address: n.Address}))
					}
					g.nodes[m.endpoint] = n
					all = append(all, n)
				}
				m.node = n
			}
		}
	}
	var gone []*openCalls
	for e, n := range old {
		if total := n.total.Load(); g.nodes[e] == nil && total != nil {
			gone = append(gone, total)
		}
	}
	g.shared.leave(gone...)
	g.detector = newDetector(g.detector, config, all, breaker.Now())
}

// forget drops all that calls have taught.
func (g *group) forget() {
	var gone []*openCalls
	for _, n := range g.nodes {
		if total := n.total.Load(); total != nil {
			gone = append(gone, total)
		}
	}
	if len(gone) > 0 {
		g.shared.leave(gone...)
	}
	g.nodes, g.detector = nil, nil
}

// watchOf returns the watch at its place, which it fills where there is none.
func (g *group) watchOf(at **watch) *watch {
	if *at == nil {
		*at = newWatch(g.logger, g.name)
		(*at).counts = g.shared.counted(g.service, g.name)
	}
	return *at
}

func (g *group) uncount() {
	if g.open != nil {
		g.shared.leave(g.open)
		g.open = nil
	}
}

// close ends the group's use of all it shares.
func (g *group) close() {
	g.forget()
	g.uncount()
	g.priorities, g.current = nil, nil
}

// choose puts into use the best priority that calls can go to or wait for, the
// last one if there is none (gRFC A56). It reports whether other endpoints may
// be needed than before.
func (g *group) choose(now time.Time) (moved bool) {
	g.current = nil
	for _, p := range g.priorities {
		moved = p.expire(now) || moved
		if g.current != nil && g.current.usable(now) {
			if p.started {
				p.stop(now) // its endpoints stay for a while
			}
			continue
		}
		if !p.started {
			p.start(now)
			moved = true
		}
		p.observe(now)
		g.current = p
	}
	return moved
}

// sync makes the group's picker and state follow its endpoints, and reports
// whether other endpoints may be needed than before.
func (g *group) sync(now time.Time) (moved bool) {
	moved = g.choose(now)
	state := connectivity.TransientFailure
	if g.current != nil {
		state = g.current.state
	}
	if g.state != connectivity.TransientFailure || state != connectivity.Connecting {
		g.state = state
	}
	g.picker = newGroupPicker(g)
	g.dirty = false
	return moved
}

// wake returns the earliest time at which the group must be looked at again
// even if nothing happens; zero is never.
func (g *group) wake() time.Time {
	var first time.Time
	for _, p := range g.priorities {
		for _, t := range []time.Time{p.patience, p.keep} {
			if !t.IsZero() && (first.IsZero() || t.Before(first)) {
				first = t
			}
		}
	}
	return first
}
