// Package snapshot turns a model.Set into what is served: encoded, versioned
// and judged xDS resources.
//
// Every resource gets a version from its content, is decoded by the decoder our
// own clients use and, when it is configuration, by a real grpc-go xDS client in
// process. What a client would NACK is never published: its previous good form
// stays, and the reason is kept as a problem.
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
}

// A Snapshot is everything that is served at one moment. It is immutable.
type Snapshot struct {
	// Revision grows by one with each Snapshot of this process.
	Revision uint64
	// Types holds resources by type URL and name.
	Types map[string]map[string]*Resource
	// Generations says which output of each source is in it, as in model.Set.
	Generations map[string]uint64
	Built       time.Time
}

// Resource returns a resource, or nil.
func (s *Snapshot) Resource(typeURL, name string) *Resource { return s.Types[typeURL][name] }
