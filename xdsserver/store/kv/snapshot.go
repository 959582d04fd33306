package kv

import (
	"errors"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

const (
	// maxSnapshotParts bounds a snapshot to 175 MiB, packed; maxSnapshot bounds what it
	// unpacks to.
	maxSnapshotParts = 512
	maxSnapshot      = 512 << 20
)

// A snapshot is all objects at a revision.
type snapshot struct {
	Format   int    `json:"format"`
	Revision uint64 `json:"revision"`
	// ID is that of the record of the revision, which the next one names.
	ID      string   `json:"id"`
	Objects []object `json:"objects"`
}

type object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	YAML      string `json:"yaml"`
	Revision  uint64 `json:"revision"`
	// Changed is in nanoseconds since 1970.
	Changed int64 `json:"changed"`
}

// latest is the value of latestKey: the snapshot that the log begins with. At revision
// zero it has no parts.
type latest struct {
	Format   int    `json:"format"`
	Revision uint64 `json:"revision"`
	ID       string `json:"id,omitempty"`
	Parts    *parts `json:"parts,omitempty"`
}

func (v *view) pack() ([]byte, error) {
	s := snapshot{Format: format, Revision: v.state.Revision(), ID: v.id, Objects: make([]object, 0, len(v.state.Objects()))}
	for _, o := range v.state.Objects() {
		s.Objects = append(s.Objects, object{
			Kind: string(o.Ref.Kind), Namespace: o.Ref.Namespace, Name: o.Ref.Name,
			YAML: string(o.YAML), Revision: o.Revision, Changed: o.Changed.UnixNano(),
		})
	}
	return pack(s, maxSnapshot)
}

// unpackView returns a view that is not known to be what Consul has.
func unpackView(packed []byte) (*view, error) {
	var s snapshot
	if err := unpack(packed, &s, maxSnapshot); err != nil {
		return nil, err
	}
	if s.Format != format {
		return nil, formatError(s.Format)
	}
	objects := make([]store.Object, len(s.Objects))
	for i, o := range s.Objects {
		objects[i] = store.Object{
			Ref:  model.Ref{Kind: model.Kind(o.Kind), Namespace: o.Namespace, Name: o.Name},
			YAML: []byte(o.YAML), Revision: o.Revision, Changed: time.Unix(0, o.Changed).UTC(),
		}
	}
	state, err := store.NewState(s.Revision, objects)
	if err != nil {
		return nil, err
	}
	return &view{state: state, id: s.ID, generation: s.Revision}, nil
}

func decodeLatest(value []byte) (latest, error) {
	var l latest
	if err := unpack(value, &l, maxUnpacked); err != nil {
		return latest{}, err
	}
	switch {
	case l.Format != format:
		return latest{}, formatError(l.Format)
	case (l.Revision == 0) != (l.Parts == nil), l.Parts != nil && !l.Parts.sound(maxSnapshotParts):
		return latest{}, errors.New("its parts cannot be")
	}
	return l, nil
}
