package serve

import (
	"reflect"

	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// A change is what a snapshot says anew of a name: an entry, or nil when the
// name is gone.
type change struct {
	name  string
	entry *entry
}

// Publish makes a snapshot the one that is served and wakes the streams it
// matters to. It waits for no client: it takes time for what has changed and for
// the streams that subscribe to that. Snapshots and what they hold must not be
// changed afterwards.
func (s *Server) Publish(snap *snapshot.Snapshot) {
	s.publishing.Lock()
	defer s.publishing.Unlock()

	previous := s.current()
	var changes [kinds][]change
	for k := range kinds {
		var old map[string]*snapshot.Resource
		if previous != nil {
			old = previous.Types[k.url()]
		}
		changes[k] = diff(old, snap.Types[k.url()])
	}

	s.pokeAll(s.store(snap, &changes))
	s.waiters.wake()
}

// current returns the snapshot that is served, nil before the first.
func (s *Server) current() *snapshot.Snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.snapshot
}

// diff compares what two snapshots hold of one kind.
func diff(before, after map[string]*snapshot.Resource) []change {
	// A builder may hand on the maps of kinds that did not change.
	if reflect.ValueOf(before).UnsafePointer() == reflect.ValueOf(after).UnsafePointer() {
		return nil
	}
	var changes []change
	for name, r := range after {
		if old := before[name]; old == nil || old != r && old.Version != r.Version {
			changes = append(changes, change{name: name, entry: newEntry(name, r)})
		}
	}
	for name := range before {
		if after[name] == nil {
			changes = append(changes, change{name: name})
		}
	}
	return changes
}

// store puts changes into the tables and returns the streams to wake. Waking
// them is left for when the lock is free: the first thing they do is take it.
func (s *Server) store(snap *snapshot.Snapshot, changes *[kinds][]change) []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()

	first := s.snapshot == nil
	s.snapshot = snap
	s.revision++

	var wake []*stream
	for k := range kinds {
		t := &s.tables[k]
		for _, c := range changes[k] {
			for st := range t.set(c.name, c.entry).open {
				if st.mark(k, s.revision) {
					wake = append(wake, st)
				}
			}
		}
		t.sort()
		if len(changes[k]) == 0 {
			continue
		}
		for st := range t.wild {
			if st.mark(k, s.revision) {
				wake = append(wake, st)
			}
		}
	}
	if first {
		// Only now is it known which of the names they asked for are unknown.
		wake = append(wake, s.markAll()...)
	}
	return wake
}

// markAll makes every stream compare everything anew; mu must be held for
// writing. It returns the streams to wake.
func (s *Server) markAll() []*stream {
	wake := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		for k := range kinds {
			st.mark(k, s.revision)
		}
		wake = append(wake, st)
	}
	return wake
}

// endWarmUp lets streams say what they have held back.
func (s *Server) endWarmUp() {
	s.mu.Lock()
	s.warm = false
	wake := s.markAll()
	s.mu.Unlock()

	s.log.Info("warm-up ended", "streams", len(wake))
	s.pokeAll(wake)
}

// Warm reports whether the warm-up after a start without memory still lasts.
func (s *Server) Warm() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.warm
}
