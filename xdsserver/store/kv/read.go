package kv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/store"
)

const (
	// reads is how many keys are read at one time.
	reads = 16
	// loads is how often a log that changes while it is read is read anew.
	loads = 5
	// toTheEnd is no revision: all of the log is read.
	toTheEnd = math.MaxUint64
)

var (
	// errMoved is a log that was shortened, or put back, while it was read.
	errMoved = errors.New("the log changed while it was read")
	// errMissing is a part that is not there.
	errMissing = errors.New("a part of it is missing")
)

// moved reports whether reading anew may help.
func moved(err error) bool {
	return errors.Is(err, errMoved) || errors.Is(err, errMissing) || errors.Is(err, errParted)
}

// load reads the log from its snapshot up to a revision. It writes nothing, here or there.
func (s *Store) load(ctx context.Context, until uint64) (*view, trail, error) {
	for attempt := 1; ; attempt++ {
		v, t, err := s.loadOnce(ctx, until)
		if err == nil || attempt == loads || !moved(err) || !sleep(ctx, backoff(attempt)) {
			return v, t, err
		}
	}
}

func (s *Store) loadOnce(ctx context.Context, until uint64) (*view, trail, error) {
	v, t, err := s.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	if v, err = s.read(ctx, v, t, until); err != nil {
		return nil, nil, err
	}
	if until != toTheEnd {
		if v.state.Revision() != until {
			return nil, nil, fmt.Errorf("revision %d: %w", until, errMoved)
		}
		return v, t, nil
	}
	// The end of the log is one only if its last record is still there.
	same, err := s.same(ctx, v.at)
	if err == nil && !same {
		err = fmt.Errorf("revision %d: %w", v.state.Revision(), errMoved)
	}
	return v, t, err
}

// begin reads the snapshot that the log begins with.
func (s *Store) begin(ctx context.Context) (*view, trail, error) {
	pair, ok, err := s.client.Get(ctx, latestKey)
	if err != nil {
		return nil, nil, err
	}
	empty := &view{state: new(store.State), at: anchor{latestKey, pair.Index}, live: true}
	if !ok {
		return empty, trail{}, nil
	}
	l, err := decodeLatest(pair.Value)
	if err != nil {
		return nil, nil, &damageError{key: latestKey, cause: err}
	}
	if l.Parts == nil {
		return empty, trail{}, nil
	}
	packed, err := s.join(ctx, l.Parts, func(i int) string { return snapshotKey(l.Revision, i) })
	if err != nil {
		return nil, nil, err
	}
	v, err := unpackView(packed)
	if err == nil && (v.state.Revision() != l.Revision || v.id != l.ID) {
		err = fmt.Errorf("it is of another revision than %d", l.Revision)
	}
	if err != nil {
		return nil, nil, &damageError{key: snapshotKey(l.Revision, 0), cause: err}
	}
	v.at, v.live = empty.at, true
	return v, trail{l.Revision: {id: l.ID}}, nil
}

// read folds what comes after v, until a revision, or the end. It returns how far it came
// also with an error.
func (s *Store) read(ctx context.Context, v *view, t trail, until uint64) (*view, error) {
	for window := 1; ; window = min(2*window, 2*reads) {
		entries, err := s.entries(ctx, v.state.Revision()+1, window)
		for _, e := range entries {
			if v.state.Revision() == until {
				return v, nil
			}
			next, err := v.fold(e)
			if err != nil {
				return v, err
			}
			v = next
			t.add(v.state.Revision(), e)
		}
		if err != nil || len(entries) < window {
			return v, err
		}
	}
}

// entries reads so many revisions at one time, and returns those that are there, up to
// the first that is not or cannot be read.
func (s *Store) entries(ctx context.Context, from uint64, n int) ([]*entry, error) {
	all, errs := make([]*entry, n), make([]error, n)
	var group errgroup.Group
	group.SetLimit(reads)
	for i := range n {
		group.Go(func() error {
			all[i], errs[i] = s.entry(ctx, from+uint64(i))
			return nil
		})
	}
	_ = group.Wait() // errs has them in order
	for i, e := range all {
		if e == nil {
			return all[:i], errs[i]
		}
	}
	return all, nil
}

// entry reads one revision; nil where there is none.
func (s *Store) entry(ctx context.Context, revision uint64) (*entry, error) {
	key := revisionKey(revision)
	pair, ok, err := s.client.Get(ctx, key)
	if err != nil || !ok {
		return nil, err
	}
	r, err := decodeRecord(pair.Value)
	if err != nil {
		return nil, &damageError{key: key, cause: err}
	}
	changes := r.Changes
	if r.Parts != nil {
		packed, err := s.join(ctx, r.Parts, func(i int) string { return partKey(r.Parts.ID, i) })
		if err != nil {
			return nil, err
		}
		if changes, err = decodeChanges(packed); err != nil {
			return nil, &damageError{key: partKey(r.Parts.ID, 0), cause: err}
		}
	}
	return &entry{id: id(pair.Value), index: pair.Index, record: r, changes: fromRecord(changes)}, nil
}

// join reads what was split.
func (s *Store) join(ctx context.Context, p *parts, key func(i int) string) ([]byte, error) {
	all := make([][]byte, p.Count)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(reads)
	for i := range all {
		group.Go(func() error {
			pair, ok, err := s.client.Get(ctx, key(i))
			if err == nil && !ok {
				err = &damageError{key: key(i), cause: errMissing}
			}
			all[i] = pair.Value
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var packed []byte
	for _, part := range all {
		packed = append(packed, part...)
	}
	if digest(packed) != p.Digest {
		return nil, &damageError{key: key(0), cause: errors.New("its checksum does not match")}
	}
	return packed, nil
}

// same reports whether a key is as it was.
func (s *Store) same(ctx context.Context, a anchor) (bool, error) {
	pair, _, err := s.client.Get(ctx, a.key)
	return err == nil && pair.Index == a.index, err
}

// sleep waits, and returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
