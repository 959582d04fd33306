package admin

import (
	"context"

	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// A Store keeps the applied objects: *store.Store on this machine's disk, *kv.Store in
// Consul, for any number of xdsservers. It is safe for concurrent use, and what it
// returns is shared: it is not changed.
type Store interface {
	// Name is that of the store as a source.
	Name() string
	// Objects are in order of kind, namespace and name; with their revision.
	Objects() ([]store.Object, uint64)
	Revision() uint64
	// Apply makes all changes or none. The error is a *store.ConflictError where the
	// intent is for another revision.
	Apply(ctx context.Context, changes []store.Change, intent store.Intent) (revision uint64, err error)
	// Generation is that of the source's output which holds a revision that Apply
	// returned, and of those after it.
	Generation(revision uint64) uint64
	// History is of the last revisions, the newest first.
	History() []store.Revision
	// Back returns the changes that lead back to a revision, and the one they begin at.
	Back(revision uint64) (changes []store.Change, from uint64, ok bool)
	Status() store.Status
}

var _ Store = (*store.Store)(nil)
