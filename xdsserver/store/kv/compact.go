package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

const (
	// maxLog is how long the log may grow, in revisions; keptLog is what is left of it, as
	// history. Lower writes snapshots more often, higher makes a start read more.
	maxLog, keptLog = 400, 200
	// orphanedAfter is how old parts are that no record names, and none will: an Apply
	// ends within a minute.
	orphanedAfter = time.Hour
)

// Compact shortens the log where it is longer than 400 revisions: it writes a snapshot
// of the objects as they were 200 revisions ago, and removes what came before, and what
// was left behind by those who failed. Who leads calls it every now and then; it is cheap
// where there is nothing to do. The error is [consul.ErrConflict] when somebody else leads.
func (s *Store) Compact(ctx context.Context, fence consul.Fence) error {
	if err := s.compact(ctx, fence); err != nil {
		return fmt.Errorf("store: compact: %w", err)
	}
	return nil
}

func (s *Store) compact(ctx context.Context, fence consul.Fence) error {
	v, named, err := s.look(ctx)
	if err != nil {
		return err
	}
	pair, ok, err := s.client.Get(ctx, latestKey)
	if err != nil || !ok {
		return err
	}
	l, err := decodeLatest(pair.Value)
	if err != nil {
		return &damageError{key: latestKey, cause: err}
	}
	if v.state.Revision() > l.Revision+maxLog {
		from := l.Revision
		if l, err = s.shorten(ctx, fence, v, pair.Index); err != nil {
			return err
		}
		s.logger.Info("log of changes shortened", "from", from, "to", l.Revision, "revision", v.state.Revision())
	}
	return s.clean(ctx, fence, l.Revision, named)
}

// look catches up, and returns the parts that records name.
func (s *Store) look(ctx context.Context) (v *view, named map[string]bool, err error) {
	if !s.take(ctx) {
		return nil, nil, ctx.Err()
	}
	defer s.give()
	if err := s.catchUp(ctx); err != nil {
		return nil, nil, err
	}
	named = make(map[string]bool)
	for _, m := range s.trail {
		named[m.parts] = true
	}
	return s.view.Load(), named, nil
}

// shorten writes a snapshot, and has the log begin with it.
func (s *Store) shorten(ctx context.Context, fence consul.Fence, now *view, index uint64) (latest, error) {
	v, _, err := s.load(ctx, now.state.Revision()-keptLog)
	if damage, ok := errors.AsType[*damageError](err); ok {
		// Others cannot read the log any more, but this xdsserver has.
		s.logger.Warn("log of changes is damaged; all of it is replaced by what it led to", "key", damage.key, "error", damage.cause)
		v, err = now, nil
	}
	if err != nil {
		return latest{}, err
	}
	packed, err := v.pack()
	if err != nil {
		return latest{}, err
	}
	all := split(packed)
	if len(all) > maxSnapshotParts {
		return latest{}, fmt.Errorf("all objects take %d MiB, packed, which is too much for a snapshot", len(packed)>>20)
	}
	l := latest{Format: format, Revision: v.state.Revision(), ID: v.id, Parts: &parts{Count: len(all), Digest: digest(packed)}}
	for i, part := range all {
		// Not created, but set: a leader before may have come this far.
		op := &api.KVTxnOp{Verb: api.KVSet, Key: s.client.Key(snapshotKey(l.Revision, i)), Value: part}
		if err := fence.Transact(ctx, op); err != nil {
			return latest{}, err
		}
	}
	value, err := pack(l, maxUnpacked)
	if err != nil {
		return latest{}, err
	}
	return l, fence.Transact(ctx, s.client.PutOp(latestKey, value, index))
}

// clean removes what came before a snapshot, other snapshots, and parts of no record.
func (s *Store) clean(ctx context.Context, fence consul.Fence, begin uint64, named map[string]bool) error {
	q, cancel := s.client.Query(ctx)
	keys, _, err := s.client.API().KV().Keys(s.client.Key(objectsBelow), "", q)
	cancel()
	if err != nil {
		return s.client.Explain("keys below "+s.client.Key(objectsBelow), err)
	}
	// The oldest revision goes first: a log without its end must not look like a whole
	// one to who reads it meanwhile.
	var revisions, others []*api.KVTxnOp
	for _, key := range keys {
		remove := &api.KVTxnOp{Verb: api.KVDelete, Key: key}
		key = strings.TrimPrefix(key, s.client.Key(""))
		if revision, ok := revisionOf(key, revisionsBelow); ok && revision <= begin {
			revisions = append(revisions, remove)
		}
		if revision, ok := revisionOf(key, snapshotsBelow); ok && revision != begin {
			others = append(others, remove)
		}
		if id, ok := partsOf(key); ok && !named[id] {
			if at, ok := timeOf(id); ok && time.Since(at) > orphanedAfter {
				others = append(others, remove)
			}
		}
	}
	for batch := range slices.Chunk(append(revisions, others...), consul.MaxOps-1) {
		if err := fence.Transact(ctx, batch...); err != nil {
			return err
		}
	}
	return nil
}
