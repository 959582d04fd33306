package balancer

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sort"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A localityID names a locality within a cluster.
type localityID struct{ region, zone, subZone string }

// A locality is the endpoints of one priority in one place.
type locality struct {
	id      localityID
	weight  uint32
	local   bool // whether it is the client's own zone
	members []member
	// others are addresses where another cluster expects other identities.
	others []string

	state connectivity.State // the best of the members'
	// watch is of its own pool, where it has one.
	watch *watch
}

// A member is an endpoint as one cluster sees it.
type member struct {
	*endpoint

	resource *resource.Endpoint
	node     *Node // nil until the group knows which members it uses
}

func newLocality(given *resource.Locality, peerIDs []string, all *endpoints, own zone) *locality {
	l := &locality{
		id:      localityID{region: given.Region, zone: given.Zone, subZone: given.SubZone},
		weight:  given.Weight,
		local:   own.has(given),
		members: make([]member, 0, len(given.Endpoints)),
	}
	for i := range given.Endpoints {
		r := &given.Endpoints[i]
		// One that the resolver did not give has none of the attributes its
		// handshake checks: it is left out rather than trusted.
		switch e := all.byKey[addressKey(r.Addresses)]; {
		case e == nil:
		case !e.expects(peerIDs):
			l.others = append(l.others, r.Addresses[0])
		default:
			l.members = append(l.members, member{endpoint: e, resource: r})
		}
	}
	return l
}

// observe reads the state of the members.
func (l *locality) observe() {
	var all balancer.ConnectivityStateEvaluator
	for _, m := range l.members {
		all.RecordTransition(connectivity.Shutdown, m.state)
	}
	l.state = all.CurrentState()
}

// ready adds the members that take calls to ready.
func (l *locality) ready(ready []Member) []Member {
	ready = slices.Grow(ready, len(l.members))
	for _, m := range l.members {
		if m.state == connectivity.Ready {
			ready = append(ready, Member{Endpoint: m.resource, Picker: m.picker, Node: m.node, Local: l.local})
		}
	}
	return ready
}

// A localityPicker chooses among the pools of a priority: of each ready locality by
// weight, at random, as grpc-go's wrr_locality does, or the one pool of all. It is
// immutable.
type localityPicker struct {
	pools []*Pool
	// bounds are the running sums of the weights.
	bounds []uint64
}

func newLocalityPicker(g *group, current *priority) localityPicker {
	config := &g.config.Cluster.Balancing
	if !config.Standard {
		return localityPicker{pools: []*Pool{newPool(config, current.ready(config), poolOptions{
			watch:    g.watchOf(&current.watch),
			detector: g.detector,
			security: g.security,
			zoned:    slices.ContainsFunc(current.localities, func(l *locality) bool { return l.local }),
		})}}
	}
	var p localityPicker
	var sum uint64
	for _, l := range current.localities {
		if l.state != connectivity.Ready {
			continue
		}
		sum += uint64(l.weight)
		p.pools = append(p.pools, newPool(config, l.ready(nil), poolOptions{
			watch: g.watchOf(&l.watch), detector: g.detector, security: g.security,
		}))
		p.bounds = append(p.bounds, sum)
	}
	return p
}

func (p *localityPicker) pick() *Pool {
	if len(p.pools) == 1 {
		return p.pools[0]
	}
	r := rand.Uint64N(p.bounds[len(p.bounds)-1])
	return p.pools[sort.Search(len(p.bounds), func(i int) bool { return p.bounds[i] > r })]
}

// ready returns the members of all localities that take calls. Where zones are
// preferred the own comes first, and the others in an order that each process has for
// itself: those that need a few of them do not all take the same.
func (p *priority) ready(config *resource.Balancing) []Member {
	var ready []Member
	for _, l := range p.localities {
		ready = l.ready(ready)
	}
	if !config.Zone.Prefer {
		return ready
	}
	rank := func(m *Member) uint64 {
		if m.Local {
			return 0
		}
		return max(mix(resource.HashKey(m.Node.Address)^subsetSeed), 1)
	}
	slices.SortStableFunc(ready, func(a, b Member) int { return cmp.Compare(rank(&a), rank(&b)) })
	return ready
}
