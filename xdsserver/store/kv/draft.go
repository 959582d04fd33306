package kv

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// A drafter writes what one Apply is to change, as often as it takes.
type drafter struct {
	client *consul.Client
	intent store.Intent

	// parts are in Consul already, of an attempt before, at these indexes.
	parts   *parts
	indexes []uint64
}

// create writes the record of the revision after v. Without an entry, the error is of
// something that came before that; with one, it may be [consul.ErrConflict], and the
// record is the entry's if it is there in spite of the error.
func (d *drafter) create(ctx context.Context, v *view, diff []store.Change) (*entry, error) {
	size := 0
	for _, c := range diff {
		size += len(c.YAML)
	}
	if size > maxUnpacked {
		return nil, tooLarge(size, maxUnpacked)
	}
	r := record{
		Format: format, After: v.id, Nonce: rand.Text(), At: time.Now().UTC().Round(0),
		By: strings.ToValidUTF8(d.intent.By[:min(len(d.intent.By), maxBy)], ""), Changes: toRecord(diff),
	}
	value, err := pack(r, maxUnpacked)
	if err != nil {
		return nil, err
	}
	key := revisionKey(v.state.Revision() + 1)
	begin, err := v.at.op(d.client)
	if err != nil {
		return nil, err
	}
	ops := []*api.KVTxnOp{begin}
	if len(value) > maxPart {
		if err := d.write(ctx, r.Changes); err != nil {
			return nil, err
		}
		r.Changes, r.Parts = nil, d.parts
		if value, err = pack(r, maxUnpacked); err != nil {
			return nil, err
		}
		for i, index := range d.indexes {
			ops = append(ops, &api.KVTxnOp{Verb: api.KVCheckIndex, Key: d.client.Key(partKey(r.Parts.ID, i)), Index: index})
		}
	}
	e := &entry{id: id(value), record: &r, changes: diff}
	written, err := d.client.Transact(ctx, append(ops, d.client.PutOp(key, value, 0))...)
	for _, pair := range written {
		if pair.Key == key {
			e.index = pair.Index
		}
	}
	if err == nil && e.index == 0 {
		err = fmt.Errorf("consul does not say at what index it wrote %s", key)
	}
	return e, err
}

// write puts the changes into parts, unless they are there.
func (d *drafter) write(ctx context.Context, changes []change) error {
	packed, err := pack(changes, maxUnpacked)
	if err != nil {
		return err
	}
	sum := digest(packed)
	if d.parts != nil && d.parts.Digest == sum {
		return nil
	}
	all := split(packed)
	if len(all) > maxParts {
		return fmt.Errorf("the change takes %d KiB, packed, and %d are the most: apply it in several steps", len(packed)>>10, maxParts*maxPart>>10)
	}
	p, indexes := &parts{ID: newID(time.Now()), Count: len(all), Digest: sum}, make([]uint64, len(all))
	for i, part := range all {
		if indexes[i], err = d.client.Put(ctx, partKey(p.ID, i), part, 0); err != nil {
			return err
		}
	}
	d.parts, d.indexes = p, indexes
	return nil
}

// newID names a folder of parts. It begins with the time, for who removes what nobody
// needs.
func newID(at time.Time) string { return strconv.FormatInt(at.Unix(), 16) + "-" + rand.Text() }

// timeOf is when a folder of parts was named.
func timeOf(id string) (time.Time, bool) {
	seconds, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(seconds, 16, 64)
	return time.Unix(n, 0), err == nil
}
