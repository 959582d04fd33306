// Package store keeps on disk what was told to one xdsserver and must outlive it:
// the applied objects with their revisions and what they were before, the endpoints last
// known, and the join tokens with what became of them.
//
// What Apply and UpdateToken acknowledged is fsynced and is there after any crash. It
// keeps three files in its directory: tulle.db, a bbolt database; tulle.db.bak, a copy
// written after each of them; and tulle.lock, held while the store is open. Reads are served
// from memory, so they go on while the disk is full or gone.
//
//	s, err := store.Open(store.Config{Dir: dir})
//	if err != nil {
//		return err // says which file, and what to do
//	}
//	defer s.Close()
//	revision, err := s.Apply(ctx, []store.Change{{Ref: ref, YAML: yaml}}, store.Intent{By: "user 1000"})
//
// A database is opened read-only and verified to the last record before anything
// is believed. When it cannot be read, or is older than the copy, the copy is used,
// loudly, and the file is moved aside, never deleted; with no good copy, Open fails
// and touches nothing. The first write after Open, and the first after a write that
// failed, writes everything to a new file and puts it in place: no transaction is
// ever built on pages that may be damaged (a free list with one flipped bit lets
// the next write destroy live pages), and none on a page cache that the kernel
// has given up on after an fsync error.
//
// It is no database for several machines: one process uses a directory at a time.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// Config configures a Store.
type Config struct {
	// Dir holds the files; it is made with mode 0700 when missing. Required.
	Dir string
	// Logger takes what an operator should know; nil means slog.Default().
	Logger *slog.Logger
}

// An Object is one applied object as it is stored.
type Object struct {
	Ref model.Ref
	// YAML is canonical, one document. It is shared: do not change it.
	YAML []byte
	// Revision is that of the Apply that last changed the object.
	Revision uint64
	Changed  time.Time
}

// A Change writes or removes one object.
type Change struct {
	Ref model.Ref
	// YAML replaces the object; nil removes it.
	YAML []byte
}

// An Intent is what is said of a change beside it.
type Intent struct {
	// By is who makes it, for the history; cut at 200 bytes.
	By string
	// IfRevision, when it is not zero, is the revision that the store must be at.
	IfRevision uint64
}

// A ConflictError is a compare-and-swap that lost: somebody else changed the store.
type ConflictError struct {
	// Want is the revision the change was made for, Have that of the store.
	Want, Have uint64
}

// Error says which revisions differ.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("store: revision is %d, the change was made for %d: read the objects again and repeat", e.Have, e.Want)
}

// ErrClosed is returned by writes to a Store that is closed.
var ErrClosed = errors.New("store: closed")

// A Store is safe for concurrent use.
type Store struct {
	dir    string
	logger *slog.Logger
	lock   *os.File
	// recovered is what Open had to do to come up; empty when nothing.
	recovered string
	commit    func(*bbolt.Tx) error // tests make it fail

	// state is what readers see; they never wait for a writer.
	state atomic.Pointer[State]
	// problem is why the last write failed; nil when it did not.
	problem atomic.Pointer[string]
	wake    chan struct{} // cap 1: state changed

	// mu makes writers take turns, and is held through their I/O: a write that is
	// not on disk must not be followed by another. Who reads objects does not take it.
	mu     sync.Mutex
	held   contents  // what is acknowledged
	copied bool      // the copy has every change of held.tokens
	db     *bbolt.DB // nil until the first write, and after one that failed
	closed bool
}

var _ interface {
	LoadEndpoints() ([]model.Endpoint, error)
	SaveEndpoints([]model.Endpoint) error
} = (*Store)(nil)

// contents is everything a database holds.
type contents struct {
	state *State
	// historyWhole is false when a damaged database had to leave some out.
	historyWhole bool
	endpoints    map[string][]byte // encoded, by key
	tokens       map[string][]byte // by id
	// tokenChange counts changes of tokens: of two databases the one that lacks a
	// change must not be believed, or what was used up could be used again.
	tokenChange uint64
}

// Open opens the store in c.Dir, or makes an empty one. It reads and verifies the
// whole database, and fails when the directory is in use, when the database was
// written by a newer xdsserver, and when neither it nor its copy can be read.
func Open(c Config) (*Store, error) {
	if c.Dir == "" {
		return nil, errors.New("store: no directory: set Config.Dir")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir:    c.Dir,
		logger: c.Logger,
		lock:   lock,
		commit: (*bbolt.Tx).Commit,
		wake:   make(chan struct{}, 1),
	}
	if err := s.recover(); err != nil {
		_ = lock.Close() // nothing was written; the error to tell is the first
		return nil, err
	}
	s.publish()
	return s, nil
}

// Close closes the files. It is idempotent; reads go on from memory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.db != nil {
		err = guard(s.db.Close)
		s.db = nil
	}
	return errors.Join(err, s.lock.Close())
}

// Revision grows by one with each Apply that changes something; zero is the
// empty store.
func (s *Store) Revision() uint64 { return s.state.Load().revision }

// Objects returns the applied objects in order of kind, namespace and name, and
// the revision they are at. The slice is shared: do not change it.
func (s *Store) Objects() ([]Object, uint64) {
	st := s.state.Load()
	return st.objects, st.revision
}

// History returns the last revisions, as [State.History].
func (s *Store) History() []Revision { return s.state.Load().History() }

// Back returns what leads back to a revision, as [State.Back]: hand it to Apply.
func (s *Store) Back(revision uint64) (changes []Change, from uint64, ok bool) {
	return s.state.Load().Back(revision)
}

// Generation is that of the output in which Run emits a revision: the same number.
func (s *Store) Generation(revision uint64) uint64 { return revision }

// Apply makes all changes or none, and returns when they are on disk, with the
// store's revision. Changes that change nothing keep the revision. When the intent is
// for another revision than the store is at, it returns a *ConflictError.
//
// After an error the store holds what it held; the next Apply may succeed. A
// crash between the write and the answer may leave the change in place.
func (s *Store) Apply(ctx context.Context, changes []Change, intent Intent) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.held.state.revision, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return s.held.state.revision, fmt.Errorf("store: %w", err)
	}
	if want := intent.IfRevision; want != 0 && want != s.held.state.revision {
		return s.held.state.revision, &ConflictError{Want: want, Have: s.held.state.revision}
	}

	next := s.held
	var err error
	if next.state, err = s.held.state.Apply(changes, intent.By, time.Now()); err != nil {
		return s.held.state.revision, fmt.Errorf("store: %w", err)
	}
	if next.state == s.held.state {
		return next.state.revision, nil
	}
	if err := s.write(func(tx *bbolt.Tx) error {
		return errors.Join(putObjects(tx, s.held.state, next), putHistory(tx, s.held.state.history, next.state.history))
	}); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return s.held.state.revision, fmt.Errorf("%w: nothing was applied; free some space there, and apply again", err)
		}
		return s.held.state.revision, fmt.Errorf("%w: nothing was applied", err)
	}
	s.held = next
	s.publish()
	s.writeCopy()
	return s.held.state.revision, nil
}

// publish makes the contents visible to readers and wakes Run.
func (s *Store) publish() {
	s.state.Store(s.held.state)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Store) path(file string) string { return filepath.Join(s.dir, file) }
