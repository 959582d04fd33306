package kv

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// errFiltered is an answer that lacks what the token may not read.
var errFiltered = errors.New("consul keeps keys back: give xdsserver a token that may read all below the prefix of the mesh (docs/consul.md lists the rules)")

// Run follows Consul, and emits the applied objects, parsed, now and after each change of
// them or of what is known of Consul. It may run once at a time.
//
// While Consul is away, or has what cannot be read, the last good objects are emitted with
// Err set. Where Consul was put back to an older snapshot it is followed, and a problem
// says what is gone, until xdsserver is started again.
func (s *Store) Run(ctx context.Context, emit func(source.Output)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return consul.Follow(ctx, s.client, s.client.WatchKeys(objectsBelow, func(a consul.Answer[[]string]) { s.hear(ctx, a) }))
	})
	group.Go(func() error {
		s.emit(ctx, emit)
		return nil
	})
	group.Go(func() error {
		s.keepCache(ctx)
		return nil
	})
	return group.Wait()
}

func (s *Store) emit(ctx context.Context, emit func(source.Output)) {
	var p store.Parser
	var last *view
	for {
		if v := s.view.Load(); v != last {
			last = v
			out := p.Parse(v.state)
			out.Generation, out.Err = v.generation, v.err
			out.Problems = append(out.Problems, s.problems(v)...)
			emit(out)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
	}
}

// hear takes the names of what Consul has now. It returns when that is known, which may
// take as long as Consul does.
func (s *Store) hear(ctx context.Context, a consul.Answer[[]string]) {
	if a.Err == nil && a.Filtered {
		a.Err = errFiltered
	}
	if a.Err != nil {
		s.heard(a.Err)
		return
	}
	for failures := 1; ; failures++ {
		err := s.sync(ctx, newest(a.Value))
		if ctx.Err() != nil {
			return
		}
		if s.heard(err); err == nil || !sleep(ctx, backoff(failures+6)) {
			return
		}
	}
}

// sync reads what is new in a log that was seen up to a revision.
func (s *Store) sync(ctx context.Context, last uint64) error {
	if v := s.view.Load(); v.live && last <= v.state.Revision() {
		// Most often it is what this xdsserver wrote itself, and no reason to wait for
		// those who write.
		if same, err := s.same(ctx, v.at); err != nil || same {
			return err
		}
	}
	if !s.take(ctx) {
		return ctx.Err()
	}
	defer s.give()
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	if now := s.Revision(); now < last {
		_, there, err := s.client.Get(ctx, revisionKey(last))
		if err == nil && there {
			err = &damageError{key: revisionKey(now + 1), cause: fmt.Errorf("it is missing, and revision %d is there", last)}
		}
		return err
	}
	return nil
}

// heard remembers why the view may be old, or that it is not.
func (s *Store) heard(err error) {
	was := s.view.Load().err
	switch {
	case err == nil && was == nil:
		return
	case err == nil:
		s.wrote(nil) // what failed was Consul's, which is well again
	default:
		err = fmt.Errorf("store: %w", err)
		if was != nil && was.Error() == err.Error() {
			return
		}
	}
	s.set(func(v *view) { v.err = err })
}
