// Package snapshot turns a model.Set into what is served: encoded, versioned
// and judged xDS resources.
//
// Every resource gets a version from its content, is decoded by the decoder our
// own clients use and, when it is configuration, by a real grpc-go xDS client in
// process. What a client would NACK is never published: its previous good form
// stays, and the reason is kept as a problem.
//
//	b := snapshot.NewBuilder(snapshot.Config{Judge: true})
//	defer b.Close()
//	snap, problems := b.Build(ctx, set)
//	server.Publish(snap)
//
// A service is published whole: when one of its resources is refused, its
// Listener, RouteConfiguration and Clusters stay as they were, and only its
// endpoints go on changing. A route never leads to a cluster that is not there.
// What its servers have, and the roots that peers are verified against, are apart
// from that: a rule that is refused keeps its previous form, and what has none is
// not published, so that servers take no call.
//
// Endpoints are not judged by the second client: they change without end, and
// configuration is what can be wrong in ways our own decoder does not know.
//
// Only what changed is translated, encoded and judged. The package neither serves
// nor keeps anything on disk.
package snapshot

import "time"

// A Resource is one xDS resource, encoded once and shared by all streams.
type Resource struct {
	Name string
	// Version is a hash of the content: equal bytes have equal versions, in
	// every process and after every restart.
	Version string
	// Any is the encoded google.protobuf.Any of the resource.
	Any []byte

	size     int      // of the message at the end of Any
	routesTo []string // of a RouteConfiguration: the clusters it leads to, sorted
}

// A Snapshot is everything that is served at one moment. It is immutable.
type Snapshot struct {
	// Revision grows by one with each Snapshot of this process.
	Revision uint64
	// Types holds resources by type URL and name. What did not change is the same
	// *Resource in the next Snapshot, and a type in which nothing changed the same map.
	Types map[string]map[string]*Resource
	// Generations says which output of each source is in it, as in model.Set.
	Generations map[string]uint64
	Built       time.Time
}

// Resource returns a resource, or nil.
func (s *Snapshot) Resource(typeURL, name string) *Resource { return s.Types[typeURL][name] }
