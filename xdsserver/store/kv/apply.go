package kv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

const (
	// applyWithin bounds an Apply, with the wait for its turn.
	applyWithin = time.Minute
	// settleWithin bounds the look for what became of a write without an answer.
	settleWithin = 3 * time.Second
)

// Apply makes all changes or none, and returns when Consul has them, with the revision.
// Changes that change nothing keep the revision, which was Consul's newest while Apply
// looked. When the intent is for another revision, it returns a *[store.ConflictError].
//
// After another error nothing was applied, unless the error says that this is not known:
// Consul may have taken the change without an answer, or may take it yet.
func (s *Store) Apply(ctx context.Context, changes []store.Change, intent store.Intent) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	if !s.take(ctx) {
		return s.Revision(), fmt.Errorf("store: other changes are being made: %w: nothing was applied", ctx.Err())
	}
	defer s.give()
	d := &drafter{client: s.client, intent: intent}
	newest := false // Consul had nothing newer since Apply was called
	for failures := 0; ; {
		v := s.view.Load()
		revision := v.state.Revision()
		diff, err := v.state.Diff(changes)
		other := intent.IfRevision != 0 && intent.IfRevision != revision
		switch {
		case err != nil:
			return revision, fmt.Errorf("store: %w", err)
		case other && newest:
			return revision, &store.ConflictError{Want: intent.IfRevision, Have: revision}
		case len(diff) == 0 && newest:
			return revision, nil
		case other, len(diff) == 0, !v.live:
			if err := s.catchUp(ctx); err != nil {
				return revision, s.failed(err, nothing)
			}
			newest = true
			continue
		}
		made, err := s.try(ctx, d, v, diff)
		if made || err != nil {
			return s.Revision(), err
		}
		newest = true
		if failures++; !sleep(ctx, backoff(min(failures, 3))) {
			return s.Revision(), s.failed(ctx.Err(), nothing)
		}
	}
}

// try makes the change as the revision after v. Neither made nor an error is the revision
// of somebody else, who was faster; the view has it.
func (s *Store) try(ctx context.Context, d *drafter, v *view, diff []store.Change) (made bool, err error) {
	e, err := d.create(ctx, v, diff)
	switch {
	case err == nil:
		next, err := v.fold(e)
		if err != nil {
			return false, s.failed(err, unknown) // and yet it was folded by Diff
		}
		s.trail.add(next.state.Revision(), e)
		s.advance(next)
		s.wrote(nil)
		return true, nil
	case e == nil || refused(err):
		return false, s.failed(err, nothing)
	}
	// Somebody was faster, or the answer was lost. The log tells.
	faster := errors.Is(err, consul.ErrConflict)
	looking, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	lookErr := s.catchUp(looking)
	revision := v.state.Revision() + 1
	switch {
	case s.trail[revision].id == e.id:
		s.wrote(nil)
		return true, nil
	case lookErr != nil && faster:
		return false, s.failed(lookErr, nothing)
	case lookErr != nil, !faster && s.Revision() < revision:
		return false, s.failed(err, unknown)
	}
	return false, nil
}

// What is said of a change that failed.
const (
	nothing = "nothing was applied"
	unknown = "whether it was applied is not known: 'xdsserver history' tells when consul answers again"
)

// failed is the error of a change, which is remembered as the state of the store.
func (s *Store) failed(err error, became string) error {
	err = fmt.Errorf("store: %w: %s", err, became)
	s.wrote(err)
	return err
}

// refused reports whether a request that failed had no effect, and will have none.
func refused(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial" || errors.Is(err, consul.ErrReadOnly) || consul.Denied(err) ||
		slices.ContainsFunc(refusals, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// refusals are what Consul says of a write that it did not begin: ACLs refuse a part of a
// transaction, there is no leader to hand it to, the leader cannot be reached, or who was
// taken for it is not.
var refusals = []string{"Permission denied", "No cluster leader", "rpc error getting client", "node is not the leader"}
