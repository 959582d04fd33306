package resolver

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// stateOf is what a connection is given for a Config. The caller adds the
// connection's service config.
func stateOf(config *resource.Config, attrs *attributes.Attributes, generation uint64) resolver.State {
	return resolver.State{
		Endpoints:  endpointsOf(config, generation),
		Attributes: resource.WithConfig(attrs, config),
	}
}

// endpointsOf returns the endpoints of all clusters, each once: endpoints with
// the same addresses are the same, in whatever order and however many clusters
// list them (a service and each of its versions do). Which endpoint is in which
// cluster the balancer finds in the Config. The order is that of the clusters'
// names, and in each that of priority; it is never nil, which grpc would take
// for a resolver of the old kind.
//
// The handshake is told by an address's attributes whom the cluster expects
// there. Where two clusters expect different identities at one address the first
// has it: at most one of them can be right, and grpc tells endpoints apart by
// address alone. The balancer leaves the endpoint out of the other.
func endpointsOf(config *resource.Config, generation uint64) []resolver.Endpoint {
	n := 0
	for _, c := range config.Clusters {
		n += countOf(c)
	}
	list := make([]resolver.Endpoint, 0, n)
	seen := make(map[string]struct{}, n)
	for _, name := range slices.Sorted(maps.Keys(config.Clusters)) {
		c := config.Clusters[name]
		if c.Endpoints == nil || c.Cluster == nil {
			continue
		}
		attrs := addressAttributes(c.Cluster, generation)
		for i := range c.Endpoints.Localities {
			for j := range c.Endpoints.Localities[i].Endpoints {
				addresses := c.Endpoints.Localities[i].Endpoints[j].Addresses
				key := keyOf(addresses)
				if _, ok := seen[key]; ok {
					continue
				}
				seen[key] = struct{}{}
				list = append(list, endpointOf(addresses, attrs))
			}
		}
	}
	return list
}

func countOf(c *resource.ClusterConfig) int {
	n := 0
	if c.Endpoints != nil {
		for i := range c.Endpoints.Localities {
			n += len(c.Endpoints.Localities[i].Endpoints)
		}
	}
	return n
}

// keyOf is the same for the same set of addresses, as grpc's EndpointMap sees it.
func keyOf(addresses []string) string {
	if len(addresses) == 1 {
		return addresses[0]
	}
	return strings.Join(slices.Sorted(slices.Values(addresses)), " ")
}

func endpointOf(addresses []string, attrs *attributes.Attributes) resolver.Endpoint {
	e := resolver.Endpoint{Addresses: make([]resolver.Address, len(addresses))}
	for i, a := range addresses {
		e.Addresses[i].Addr = a
		e.Addresses[i].Attributes = attrs
	}
	return e
}

// generationKey is of an attribute that nobody reads: an address with another
// value is another address to grpc, which it connects to anew.
type generationKey struct{}

// addressAttributes are those of the addresses in a cluster; nil for none.
func addressAttributes(c *resource.Cluster, generation uint64) *attributes.Attributes {
	var attrs *attributes.Attributes
	if len(c.PeerIDs) > 0 {
		attrs = resource.WithPeerIDs(attrs, c.PeerIDs)
	}
	if generation > 0 {
		attrs = attrs.WithValue(generationKey{}, generation)
	}
	return attrs
}
