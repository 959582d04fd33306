package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// openWithin bounds the wait of Open for Consul, where nothing else is known, and
// openCached where there is a cache.
const openWithin, openCached = 20 * time.Second, 5 * time.Second

// Config configures a Store.
type Config struct {
	// Client is the connection to Consul. Required.
	Client *consul.Client
	// CacheFile keeps the last good state for a start without Consul; empty is none. It
	// is of mode 0600, and written at most once a second.
	CacheFile string
	// Logger takes what an operator should know; nil means slog.Default().
	Logger *slog.Logger
}

// A Store is safe for concurrent use. Reads are of what this xdsserver knows: its own
// changes at once, those of others as soon as Run has heard of them.
type Store struct {
	// Immutable after Open.
	client *consul.Client
	cache  string
	logger *slog.Logger

	// wake and keep have room for one: the view changed, for Run and for the cache.
	wake, keep chan struct{}
	// problem is why the last write failed; nil when it did not.
	problem atomic.Pointer[string]
	cached  atomic.Bool // the cache could be written last time

	view atomic.Pointer[view]
	mu   sync.Mutex // held while view is replaced

	// turn has room for one, who reads or writes the log: local changes queue here, so
	// that they conflict with those of other xdsservers only. It is held through I/O.
	turn  chan struct{}
	trail trail // of whoever has the turn
}

var _ source.Source = (*Store)(nil)

// Open reads everything there is from Consul, or, while that is away, what CacheFile
// has. It waits up to 5 seconds for Consul, or 20 where there is no file, and returns an
// error when it knows nothing then.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Client == nil {
		return nil, errors.New("store: no connection to consul: set Config.Client")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Store{
		client: c.Client, cache: c.CacheFile, logger: c.Logger,
		wake: make(chan struct{}, 1), keep: make(chan struct{}, 1), turn: make(chan struct{}, 1),
	}
	s.cached.Store(true)
	within, known := openWithin, s.readCache()
	if known != nil {
		within = openCached
		s.view.Store(known)
		s.trail = trail{known.state.Revision(): {id: known.id}}
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := s.reload(ctx)
		switch {
		case err == nil:
			return s, nil
		case known != nil:
			s.set(func(v *view) { v.err = fmt.Errorf("store: %w", err) })
			s.logger.Warn("consul cannot be read, the configuration last known is served", "file", s.cache,
				"revision", known.state.Revision(), "objects", len(known.state.Objects()), "error", err)
			return s, nil
		case damaged(err) || consul.Denied(err) || !sleep(ctx, backoff(attempt+4)): // waiting does not help
			return nil, fmt.Errorf("store: %w; no configuration is known without it: start again when consul can be read", err)
		}
	}
}

// Name returns [store.Name].
func (s *Store) Name() string { return store.Name }

// Objects returns the applied objects in order of kind, namespace and name, and the
// revision they are at. The slice is shared: do not change it.
func (s *Store) Objects() ([]store.Object, uint64) {
	st := s.view.Load().state
	return st.Objects(), st.Revision()
}

// Revision grows by one with each Apply that changes something, anywhere. It goes back
// where Consul was put back to an older snapshot.
func (s *Store) Revision() uint64 { return s.view.Load().state.Revision() }

// Generation is that of the output in which Run emits a revision that Apply returned. It
// is the revision, and more after Consul went back: generations only grow.
func (s *Store) Generation(revision uint64) uint64 {
	v := s.view.Load()
	return revision + v.generation - v.state.Revision()
}

// History returns the last revisions, as [store.State.History]. There is none from a
// cache.
func (s *Store) History() []store.Revision { return s.view.Load().state.History() }

// Back returns what leads back to a revision, as [store.State.Back]: hand it to Apply.
func (s *Store) Back(revision uint64) (changes []store.Change, from uint64, ok bool) {
	return s.view.Load().state.Back(revision)
}

// Status tells why the configuration may be old, or why the last write failed.
func (s *Store) Status() store.Status {
	var status store.Status
	if p := s.problem.Load(); p != nil {
		status.Problem = *p
	}
	if err := s.view.Load().err; err != nil {
		status.Problem = err.Error()
	}
	return status
}

// wrote remembers what became of a write.
func (s *Store) wrote(err error) {
	if err == nil {
		s.problem.Store(nil)
		return
	}
	s.problem.Store(new(err.Error()))
}

// take waits for the turn, and reports whether it came before ctx ended.
func (s *Store) take(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case s.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Store) give() { <-s.turn }

// set replaces the view by one that differs from it, and wakes Run.
func (s *Store) set(change func(*view)) {
	s.mu.Lock()
	next := *s.view.Load()
	change(&next)
	s.view.Store(&next)
	s.mu.Unlock()
	for _, c := range []chan struct{}{s.wake, s.keep} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// advance replaces what is known of the log, and leaves what is known of Consul.
func (s *Store) advance(next *view) {
	s.set(func(v *view) {
		err, went := v.err, v.went
		*v = *next
		v.err, v.went = err, went
	})
}

// catchUp reads what is new. When it returns nil, the view was the newest at a moment
// since it was called. Who calls it has the turn.
func (s *Store) catchUp(ctx context.Context) error {
	v := s.view.Load()
	if !v.live {
		return s.reload(ctx)
	}
	next, err := s.read(ctx, v, s.trail, toTheEnd)
	if next != v {
		s.advance(next)
	}
	if err == nil && next == v {
		// Nothing new, or nothing left: the log may have been shortened, or put back.
		var same bool
		if same, err = s.same(ctx, v.at); err == nil && !same {
			return s.reload(ctx)
		}
	}
	if moved(err) {
		return s.reload(ctx)
	}
	return err
}

// reload reads the whole log, and finds out whether it is the one that was known. Who
// calls it has the turn, or is alone.
func (s *Store) reload(ctx context.Context) error {
	next, t, err := s.load(ctx, toTheEnd)
	if err != nil {
		return err
	}
	next.generation = next.state.Revision()
	old := s.view.Load()
	if old == nil {
		s.trail = t
		s.view.Store(next)
		return nil
	}
	last, was := next.state.Revision(), old.state.Revision()
	next.generation = last + old.generation - was
	gone := t.gone(s.trail, last)
	if s.trail = t; gone > 0 {
		next.generation = max(next.generation, old.generation+1)
	}
	s.advance(next)
	if gone == 0 {
		return nil
	}
	revisions := fmt.Sprintf("revision %d is", was)
	if gone < was {
		revisions = fmt.Sprintf("revisions %d to %d are", gone, was)
	}
	s.logger.Warn("consul went back to older configuration, which is served now", "gone", revisions, "revision", last)
	s.set(func(v *view) {
		v.went = fmt.Sprintf("consul was put back: %s gone, and revision %d is served: apply again what is missing", revisions, last)
	})
	return nil
}

// problems are what there is to say of the store itself.
func (s *Store) problems(v *view) []model.Problem {
	if v.went == "" {
		return nil
	}
	return []model.Problem{{From: "consul at " + s.client.Address(), Message: v.went, Warning: true}}
}

// backoff is how long to wait after so many failures, with full jitter: some
// milliseconds where others were faster, seconds where Consul is away.
func backoff(failures int) time.Duration {
	const least, most = 2 * time.Millisecond, 5 * time.Second
	return rand.N(min(most, least<<min(failures, 12))) + least/2
}
