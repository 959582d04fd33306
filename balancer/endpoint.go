package balancer

import (
	"slices"
	"strings"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// An endpoint is one instance with one connection, however many clusters it is in.
type endpoint struct {
	// resolved is as the resolver gave it, with the attributes its handshake
	// needs, and with the endpoint itself among its own attributes: by them
	// endpointsharding's answers find their way back without a map.
	resolved resolver.Endpoint
	given    *attributes.Attributes // resolved's, without the endpoint

	// handed is whether endpointsharding has the endpoint, and so connects to it.
	handed bool
	// needed is scratch of endpoints.hand.
	needed bool
	// altered is whether resolved differs from what endpointsharding has.
	altered bool

	// state and picker are endpointsharding's last word. An endpoint that was
	// not handed over counts as connecting, the state pick_first starts in.
	state  connectivity.State
	picker balancer.Picker

	// users are the groups to look at anew when the state changes.
	users []*group
}

type endpointKey struct{}

func endpointOf(resolved resolver.Endpoint) *endpoint {
	e, _ := resolved.Attributes.Value(endpointKey{}).(*endpoint)
	return e
}

// resolve takes what the resolver says of the endpoint.
func (e *endpoint) resolve(given resolver.Endpoint) {
	// Only addresses and their attributes make a connection.
	if !slices.EqualFunc(e.resolved.Addresses, given.Addresses, resolver.Address.Equal) {
		e.altered = true
	} else if e.given == given.Attributes {
		return
	}
	e.resolved, e.given = given, given.Attributes
	e.resolved.Attributes = given.Attributes.WithValue(endpointKey{}, e)
}

// expects is whether the handshake lets exactly these identities stand at the
// endpoint's addresses. A cluster that has others has the endpoint in its list
// and not in use: the connection is made for one set of identities.
func (e *endpoint) expects(ids []string) bool {
	for i := range e.resolved.Addresses {
		if !slices.Equal(resource.PeerIDsFrom(e.resolved.Addresses[i].Attributes), ids) {
			return false
		}
	}
	return true
}

// observe takes a state and reports whether it differs from the last.
func (e *endpoint) observe(s balancer.State) bool {
	if !e.handed || e.state == s.ConnectivityState && e.picker == s.Picker {
		return false
	}
	e.state, e.picker = s.ConnectivityState, s.Picker
	return true
}

// endpoints are all endpoints of a connection, in the resolver's order.
type endpoints struct {
	byKey map[string]*endpoint
	list  []*endpoint
	// gone is whether endpointsharding still has one that the resolver dropped.
	gone bool
}

// update takes the endpoints the resolver gives now.
func (es *endpoints) update(given []resolver.Endpoint) {
	old := es.byKey
	es.byKey = make(map[string]*endpoint, len(given))
	es.list = make([]*endpoint, 0, len(given))
	for _, g := range given {
		key := resolvedKey(g)
		if len(g.Addresses) == 0 || es.byKey[key] != nil {
			continue // of two alike endpointsharding would keep the first, too
		}
		e := old[key]
		if e == nil {
			e = &endpoint{state: connectivity.Connecting}
		}
		e.resolve(g)
		e.users = e.users[:0]
		es.byKey[key] = e
		es.list = append(es.list, e)
	}
	for key, e := range old {
		if e.handed && es.byKey[key] == nil {
			es.gone = true
		}
	}
}

// hand decides anew which endpoints endpointsharding should have: those of
// priorities in use and, where it has them already, of priorities that are kept
// for a while. It returns them, and whether endpointsharding must be told.
func (es *endpoints) hand(groups map[string]*group) (list []resolver.Endpoint, differs bool) {
	for _, g := range groups {
		for _, p := range g.priorities {
			for e := range p.endpoints() {
				e.needed = e.needed || p.started || p.kept() && e.handed
			}
		}
	}
	list = make([]resolver.Endpoint, 0, len(es.list))
	differs = es.gone
	for _, e := range es.list {
		if e.needed {
			list = append(list, e.resolved)
			differs = differs || !e.handed || e.altered
			e.altered = false
		} else if e.handed {
			differs = true
			e.state, e.picker = connectivity.Connecting, nil
		}
		e.handed, e.needed = e.needed, false
	}
	es.gone = false
	return list, differs
}

func resolvedKey(e resolver.Endpoint) string {
	if len(e.Addresses) == 1 {
		return e.Addresses[0].Addr
	}
	addresses := make([]string, len(e.Addresses))
	for i := range e.Addresses {
		addresses[i] = e.Addresses[i].Addr
	}
	return addressKey(addresses)
}

// addressKey names an endpoint by its addresses, in any order: so
// endpointsharding tells endpoints apart.
func addressKey(addresses []string) string {
	if len(addresses) == 1 {
		return addresses[0]
	}
	addresses = slices.Clone(addresses)
	slices.Sort(addresses)
	return strings.Join(addresses, " ")
}
