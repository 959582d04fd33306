package kv

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// A view is the log as one xdsserver knows it. It is immutable.
type view struct {
	state *store.State
	// id is that of the newest record, at is where it is: the next change is made on the
	// condition that it still is. Without it, live is false: the view is of the cache.
	id   string
	at   anchor
	live bool
	// generation grows by one with each revision, and does so too where the log goes back.
	generation uint64
	// err is why the view may be old; went, how Consul went back. Both may be empty.
	err  error
	went string
}

// An anchor is a key of Consul as it was when it was read. Index is zero where it was not
// there.
type anchor struct {
	key   string
	index uint64
}

// op is the condition that the log is as it was. The first change begins the log.
func (a anchor) op(c *consul.Client) (*api.KVTxnOp, error) {
	if a.index > 0 {
		return &api.KVTxnOp{Verb: api.KVCheckIndex, Key: c.Key(a.key), Index: a.index}, nil
	}
	value, err := pack(latest{Format: format}, maxUnpacked)
	return c.PutOp(latestKey, value, 0), err
}

// An entry is a record of the log with its changes.
type entry struct {
	id      string
	index   uint64
	record  *record
	changes []store.Change
}

// errParted is a record that follows another than the one before it: the log was put
// back, or changed by hand.
var errParted = errors.New("it follows another revision than the one before it")

// fold returns the view with the next revision.
func (v *view) fold(e *entry) (*view, error) {
	revision := v.state.Revision() + 1
	if e.record.After != v.id {
		return nil, &damageError{key: revisionKey(revision), cause: errParted}
	}
	state, err := v.state.Apply(e.changes, e.record.By, e.record.At)
	if err == nil && state == v.state {
		err = errors.New("it changes nothing")
	}
	if err != nil {
		return nil, &damageError{key: revisionKey(revision), cause: err}
	}
	next := *v
	next.state, next.id, next.at, next.generation = state, e.id, anchor{revisionKey(revision), e.index}, v.generation+1
	return &next, nil
}

// A damageError is a key that cannot be what an xdsserver wrote.
type damageError struct {
	key   string // below the prefix of the mesh
	cause error
}

func (e *damageError) Error() string {
	return fmt.Sprintf("key %s in consul is damaged: %v: bring it back from a snapshot of consul; what came before it is served meanwhile", e.key, e.cause)
}

func (e *damageError) Unwrap() error { return e.cause }

func damaged(err error) bool {
	_, ok := errors.AsType[*damageError](err)
	return ok
}

// A trail is what is remembered of the records that were read, by revision.
type trail map[uint64]mark

type mark struct {
	id    string
	parts string // their id; empty where there are none
}

// maxTrail bounds a trail, in revisions. A log that long has not been shortened for long.
const maxTrail = 10 * maxLog

func (t trail) add(revision uint64, e *entry) {
	m := mark{id: e.id}
	if e.record.Parts != nil {
		m.parts = e.record.Parts.ID
	}
	t[revision] = m
	if revision > maxTrail {
		delete(t, revision-maxTrail)
	}
}

// gone returns the first revision of an older trail that is not in the log any more;
// zero is none. The log reaches up to last.
func (t trail) gone(older trail, last uint64) uint64 {
	var gone []uint64
	for revision, m := range older {
		if now, known := t[revision]; revision > last || known && now.id != m.id {
			gone = append(gone, revision)
		}
	}
	if len(gone) == 0 {
		return 0
	}
	return slices.Min(gone)
}
