package snapshot

import (
	"strings"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A kind is one of the types of resource, as an index.
type kind uint8

const (
	listeners kind = iota
	routes
	clusters
	assignments
	bundles
	commands
	kinds
)

// typeURLs is in the order in which configuration is judged.
var typeURLs = [kinds]string{
	resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointsType, resource.TrustBundleType,
	resource.CommandsType,
}

func kindOf(typeURL string) kind {
	for k, t := range typeURLs {
		if t == typeURL {
			return kind(k)
		}
	}
	return kinds
}

// String is what people call the type: "Cluster".
func (k kind) String() string {
	return typeURLs[k][strings.LastIndexByte(typeURLs[k], '.')+1:]
}

// byKind holds resources by kind and name.
type byKind [kinds]map[string]*Resource

// types is what a Snapshot holds.
func (b *byKind) types() map[string]map[string]*Resource {
	types := make(map[string]map[string]*Resource, kinds)
	for k, resources := range b {
		types[typeURLs[k]] = resources
	}
	return types
}

// resourcesOf is the other way round.
func resourcesOf(s *Snapshot) *byKind {
	b := new(byKind)
	for k, typeURL := range typeURLs {
		b[k] = s.Types[typeURL]
	}
	return b
}
