package serve

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Await returns nil when every stream that was open has acknowledged all configuration
// of a snapshot that holds the given output of a source, or a later one: what a
// client refused counts as answered, and a stream that ends is no longer waited
// for. It waits for such a snapshot to be published first. A client that does
// not read, or is spared during the warm-up, is waited for until ctx ends.
func (s *Server) Await(ctx context.Context, source string, generation uint64) error {
	wake := s.waiters.join()
	defer s.waiters.leave(wake)

	revision, streams := s.holds(source, generation)
	for streams == nil {
		select {
		case <-wake:
			revision, streams = s.holds(source, generation)
		case <-ctx.Done():
			return fmt.Errorf("ads: generation %d of %s is not published: %w", generation, source, context.Cause(ctx))
		}
	}
	for {
		for len(streams) > 0 && !streams[0].lacks(revision) {
			streams = streams[1:]
		}
		if len(streams) == 0 {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			missing := 0
			for _, st := range streams {
				if st.lacks(revision) {
					missing++
				}
			}
			return fmt.Errorf("ads: %d clients have not acknowledged generation %d of %s: %w",
				missing, generation, source, context.Cause(ctx))
		}
	}
}

// holds returns the revision of the published snapshot and the streams that are
// open, never nil, if it holds an output of a source.
func (s *Server) holds(source string, generation uint64) (uint64, []*stream) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.snapshot == nil {
		return 0, nil
	}
	if has, ok := s.snapshot.Generations[source]; !ok || has < generation {
		return 0, nil
	}
	return s.revision, s.list()
}

// lacks reports whether the client has not answered for everything up to a
// revision.
func (st *stream) lacks(revision uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended {
		return false
	}
	if since := st.since.Load(); since != 0 && since <= revision {
		return true
	}
	for k := range st.subs {
		if kind(k).bit()&configuration != 0 && st.subs[k].inflight && st.subs[k].from <= revision {
			return true
		}
	}
	return false
}

// waiters are those who wait for streams to get on. Each has a channel with one
// slot, and looks for itself.
type waiters struct {
	// count lets wake cost nothing when nobody waits, which is nearly always.
	count atomic.Int32

	mu    sync.Mutex
	wakes map[chan struct{}]struct{}
}

func (w *waiters) join() chan struct{} {
	wake := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wakes == nil {
		w.wakes = make(map[chan struct{}]struct{})
	}
	w.wakes[wake] = struct{}{}
	w.count.Add(1)
	return wake
}

func (w *waiters) leave(wake chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.wakes, wake)
	w.count.Add(-1)
}

// wake makes every waiter look. It never blocks, and takes no other lock.
func (w *waiters) wake() {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for wake := range w.wakes {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
