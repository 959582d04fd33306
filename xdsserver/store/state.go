package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A State is the objects at one revision, with the changes that led there: the value
// that a store holds, wherever it keeps it. It is immutable. The zero State is that of a
// store to which nothing was applied.
type State struct {
	revision uint64
	keys     []string     // sorted
	objects  []Object     // of keys
	history  []pastRecord // the newest last, each one after the one before
}

// NewState returns a State without history. It holds on to the objects, which may come
// in any order; the error is about one that cannot be in it.
func NewState(revision uint64, objects []Object) (*State, error) {
	slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(objectKey(a.Ref), objectKey(b.Ref)) })
	s := &State{revision: revision, objects: objects, keys: make([]string, len(objects))}
	for i, o := range objects {
		key := objectKey(o.Ref)
		switch _, err := parseKey(key); {
		case err != nil:
			return nil, err
		case i > 0 && s.keys[i-1] == key:
			return nil, fmt.Errorf("%s is there twice", key)
		case o.Revision > revision:
			return nil, fmt.Errorf("%s is of revision %d, which is yet to come at %d", key, o.Revision, revision)
		}
		s.keys[i] = key
	}
	return s, nil
}

// Revision is how many changes were made.
func (s *State) Revision() uint64 { return s.revision }

// Objects are in order of kind, namespace and name. The slice is shared: do not change
// it.
func (s *State) Objects() []Object { return s.objects }

// Diff returns those of the changes that would change something, in order of kind,
// namespace and name. Of two for one object the last counts. The error is about one that
// cannot be made.
func (s *State) Diff(changes []Change) ([]Change, error) {
	last := make(map[string]Change, len(changes))
	for _, c := range changes {
		key := objectKey(c.Ref)
		if _, err := parseKey(key); err != nil {
			return nil, err
		}
		if !utf8.Valid(c.YAML) {
			return nil, fmt.Errorf("%s is not UTF-8", key)
		}
		last[key] = c
	}
	var diff []Change
	for _, key := range slices.Sorted(maps.Keys(last)) {
		c := last[key]
		old, exists := s.object(key)
		if c.YAML == nil && !exists || c.YAML != nil && exists && bytes.Equal(old.YAML, c.YAML) {
			continue
		}
		diff = append(diff, c)
	}
	return diff, nil
}

// Apply returns the State after the changes, one revision on, or s itself where they
// change nothing. What is made of the same State by the same arguments is the same.
func (s *State) Apply(changes []Change, by string, at time.Time) (*State, error) {
	diff, err := s.Diff(changes)
	if err != nil || len(diff) == 0 {
		return s, err
	}
	size := len(s.keys) + len(diff)
	next := &State{revision: s.revision + 1, keys: make([]string, 0, size), objects: make([]Object, 0, size)}
	past := pastPayload{At: at.UTC(), By: clip(by), Changes: make([]pastChange, 0, len(diff))}
	from := 0 // what is before is in next
	for _, c := range diff {
		key := objectKey(c.Ref)
		n, exists := slices.BinarySearch(s.keys[from:], key)
		next.append(s, from, from+n)
		from += n
		before := pastChange{Key: key}
		if exists {
			before.Before = new(string(s.objects[from].YAML))
			from++
		}
		past.Changes = append(past.Changes, before)
		if c.YAML != nil {
			next.keys = append(next.keys, key)
			next.objects = append(next.objects, Object{Ref: c.Ref, YAML: slices.Clone(c.YAML), Revision: next.revision, Changed: at})
		}
	}
	next.append(s, from, len(s.keys))
	if next.history, err = remember(s.history, next.revision, past); err != nil {
		return s, fmt.Errorf("history: %w", err)
	}
	return next, nil
}

// append takes over a part of another's objects.
func (s *State) append(from *State, begin, end int) {
	s.keys = append(s.keys, from.keys[begin:end]...)
	s.objects = append(s.objects, from.objects[begin:end]...)
}

// object finds one by its key.
func (s *State) object(key string) (Object, bool) {
	i, ok := slices.BinarySearch(s.keys, key)
	if !ok {
		return Object{}, false
	}
	return s.objects[i], true
}
