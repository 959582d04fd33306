package admin

import (
	"bytes"
	"sync"

	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// readings are stored objects as they were parsed last: a change is held against all of
// them, and few are others than before. It is safe for concurrent use.
type readings struct {
	mu    sync.Mutex // held for moments
	known map[model.Ref]reading
}

type reading struct {
	yaml    []byte
	objects []model.Object
}

// all parses stored objects, in their order, and forgets every other.
func (r *readings) all(stored []store.Object) []model.Object {
	r.mu.Lock()
	known := r.known
	r.mu.Unlock()
	objects, next := make([]model.Object, 0, len(stored)), make(map[model.Ref]reading, len(stored))
	for _, o := range stored {
		was, ok := known[o.Ref]
		if !ok || !bytes.Equal(was.yaml, o.YAML) {
			was = reading{yaml: o.YAML}
			was.objects, _ = manifest.Parse(store.Origin, o.YAML)
		}
		next[o.Ref] = was
		objects = append(objects, was.objects...)
	}
	r.mu.Lock()
	r.known = next
	r.mu.Unlock()
	return objects
}
