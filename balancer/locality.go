package balancer

import (
	"math/rand/v2"
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
	members []member
	// others are addresses where another cluster expects other identities.
	others []string

	state connectivity.State // the best of the members'
}

// A member is an endpoint as one cluster sees it.
type member struct {
	*endpoint

	resource *resource.Endpoint
}

func newLocality(given *resource.Locality, peerIDs []string, all *endpoints) *locality {
	l := &locality{
		id:      localityID{region: given.Region, zone: given.Zone, subZone: given.SubZone},
		weight:  given.Weight,
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

// ready returns the members that take calls.
func (l *locality) ready() []Ready {
	n := 0
	for _, m := range l.members {
		if m.state == connectivity.Ready {
			n++
		}
	}
	ready := make([]Ready, 0, n)
	for _, m := range l.members {
		if m.state == connectivity.Ready {
			ready = append(ready, Ready{Endpoint: m.resource, Picker: m.picker})
		}
	}
	return ready
}

// A localityPicker chooses among the ready localities of a priority by weight,
// at random, as grpc-go's wrr_locality does. It is immutable.
type localityPicker struct {
	leaves []balancer.Picker
	// bounds are the running sums of the weights.
	bounds []uint64
}

func newLocalityPicker(localities []*locality, leaf Leaf) localityPicker {
	var p localityPicker
	var sum uint64
	for _, l := range localities {
		if l.state != connectivity.Ready {
			continue
		}
		sum += uint64(l.weight)
		p.leaves = append(p.leaves, leaf(l.ready()))
		p.bounds = append(p.bounds, sum)
	}
	return p
}

func (p *localityPicker) pick() balancer.Picker {
	if len(p.leaves) == 1 {
		return p.leaves[0]
	}
	r := rand.Uint64N(p.bounds[len(p.bounds)-1])
	return p.leaves[sort.Search(len(p.bounds), func(i int) bool { return p.bounds[i] > r })]
}
