package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// maxHistory bounds the revisions that are kept, maxHistorySize their records
	// together in bytes: the copy of the database is written anew with each change,
	// and a large history would make all of them slow. A single change that replaces
	// more than that leaves no history, its own neither.
	maxHistory     = 200
	maxHistorySize = 4 << 20
	// maxBy bounds who made a change, in bytes.
	maxBy = 200
)

var historyBucket = []byte("history")

// A Revision is what one Apply changed.
type Revision struct {
	Revision uint64
	At       time.Time
	// By is who, as the Intent of the Apply said.
	By string
	// Changes are in order of kind, namespace and name.
	Changes []Past
}

// A Past is one object before and after a Revision: YAML, nil where there is none. It
// is shared: do not change it.
type Past struct {
	Ref           model.Ref
	Before, After []byte
}

// A pastRecord is a Revision as it is stored. What objects were after it is not in it:
// that is what they were before the next, or are now.
type pastRecord struct {
	revision uint64
	payload  []byte // a pastPayload as JSON
}

// pastPayload is the JSON of a record. YAML is UTF-8, which JSON strings keep byte for
// byte.
type pastPayload struct {
	At      time.Time    `json:"at"`
	By      string       `json:"by,omitempty"`
	Changes []pastChange `json:"changes"`
}

type pastChange struct {
	// Key is "kind/namespace/name".
	Key string `json:"key"`
	// Before is missing where there was no object.
	Before *string `json:"before,omitempty"`
}

// History returns the last revisions, the newest first: 200 at most, and fewer where
// their objects are large.
func (s *State) History() []Revision {
	objects := s.yaml()
	out := make([]Revision, 0, len(s.history))
	for _, record := range slices.Backward(s.history) {
		payload, err := decodePast(record.payload)
		if err != nil {
			break // it was verified when it was read
		}
		r := Revision{Revision: record.revision, At: payload.At, By: payload.By}
		for _, c := range payload.Changes {
			ref, _ := parseKey(c.Key)
			r.Changes = append(r.Changes, Past{Ref: ref, Before: c.before(), After: objects[c.Key]})
		}
		payload.undo(objects)
		out = append(out, r)
	}
	return out
}

// Back returns the changes that make all objects what they were at a revision, in order
// of kind, namespace and name, and the revision of the State that they are for: hand it
// to Apply. ok is false where the history does not reach back that far, or the store
// was never at that revision.
func (s *State) Back(revision uint64) (changes []Change, from uint64, ok bool) {
	if revision > s.revision || revision+uint64(len(s.history)) < s.revision {
		return nil, s.revision, false
	}
	now, then := s.yaml(), s.yaml()
	for _, record := range slices.Backward(s.history) {
		if record.revision <= revision {
			break
		}
		payload, err := decodePast(record.payload)
		if err != nil {
			return nil, s.revision, false
		}
		payload.undo(then)
	}
	for key := range now {
		if _, kept := then[key]; !kept {
			then[key] = nil
		}
	}
	for _, key := range slices.Sorted(maps.Keys(then)) {
		if old, exists := now[key]; exists && then[key] != nil && slices.Equal(old, then[key]) {
			continue
		}
		ref, err := parseKey(key)
		if err != nil {
			return nil, s.revision, false
		}
		changes = append(changes, Change{Ref: ref, YAML: then[key]})
	}
	return changes, s.revision, true
}

// yaml is a new map of the objects by key.
func (s *State) yaml() map[string][]byte {
	out := make(map[string][]byte, len(s.keys))
	for i, key := range s.keys {
		out[key] = s.objects[i].YAML
	}
	return out
}

// undo makes objects what they were before the revision.
func (p *pastPayload) undo(objects map[string][]byte) {
	for _, c := range p.Changes {
		if before := c.before(); before != nil {
			objects[c.Key] = before
		} else {
			delete(objects, c.Key)
		}
	}
}

func (c pastChange) before() []byte {
	if c.Before == nil {
		return nil
	}
	return []byte(*c.Before)
}

// remember appends a revision to the history, and lets go of what is too old. The
// history that it is given stays as it is.
func remember(history []pastRecord, revision uint64, p pastPayload) ([]pastRecord, error) {
	payload, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return trim(append(slices.Clip(history), pastRecord{revision: revision, payload: payload})), nil
}

// trim keeps the newest that are within bounds.
func trim(history []pastRecord) []pastRecord {
	history = history[max(0, len(history)-maxHistory):]
	size := 0
	for i, r := range slices.Backward(history) {
		if size += len(r.payload); size > maxHistorySize {
			return history[i+1:]
		}
	}
	return history
}

func clip(by string) string {
	if len(by) > maxBy {
		by = by[:maxBy]
	}
	return strings.ToValidUTF8(by, "")
}

// putHistory writes what differs between the history on disk and next.
func putHistory(tx *bbolt.Tx, onDisk, next []pastRecord) error {
	bucket := tx.Bucket(historyBucket)
	known := make(map[uint64]bool, len(onDisk))
	for _, r := range onDisk {
		known[r.revision] = true
	}
	for _, r := range next {
		if known[r.revision] { // a revision never changes
			delete(known, r.revision)
			continue
		}
		key := historyKey(r.revision)
		if err := bucket.Put(key, seal(key, r.payload)); err != nil {
			return err
		}
	}
	for revision := range known {
		if err := bucket.Delete(historyKey(revision)); err != nil {
			return err
		}
	}
	return nil
}

// readHistory reads the revisions that lead to the database's own without a gap, and
// says whether others were there. A database of an older xdsserver has none; one that an
// older xdsserver has written to since has a gap. History is no reason to stop.
func readHistory(tx *bbolt.Tx, revision uint64) (history []pastRecord, whole bool) {
	whole = true
	err := guard(func() error {
		bucket := tx.Bucket(historyBucket)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(key, record []byte) error {
			r, err := openPast(key, record)
			switch {
			case err != nil:
				history, whole = nil, false
			case len(history) > 0 && r.revision != history[len(history)-1].revision+1:
				history, whole = append(history[:0], r), false
			default:
				history = append(history, r)
			}
			return nil
		})
	})
	if n := len(history); err != nil || n > 0 && history[n-1].revision != revision {
		return nil, false
	}
	return trim(history), whole
}

// openPast reads one record and all that it says.
func openPast(key, record []byte) (pastRecord, error) {
	payload, err := unseal(key, record)
	if err != nil {
		return pastRecord{}, err
	}
	if len(key) != 8 {
		return pastRecord{}, fmt.Errorf("key %.100q is no revision", key)
	}
	if _, err := decodePast(payload); err != nil {
		return pastRecord{}, err
	}
	return pastRecord{revision: binary.BigEndian.Uint64(key), payload: slices.Clone(payload)}, nil
}

func decodePast(payload []byte) (*pastPayload, error) {
	var p pastPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, err
	}
	if len(p.By) > maxBy || !utf8.ValidString(p.By) {
		return nil, errors.New("who made the change is no name")
	}
	for i, c := range p.Changes {
		if _, err := parseKey(c.Key); err != nil {
			return nil, err
		}
		if i > 0 && p.Changes[i-1].Key >= c.Key {
			return nil, errors.New("changes are not in order")
		}
	}
	return &p, nil
}

// historyKey sorts as revisions do.
func historyKey(revision uint64) []byte { return binary.BigEndian.AppendUint64(nil, revision) }
