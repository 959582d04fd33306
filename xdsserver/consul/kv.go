package consul

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"
)

// MaxValue is how long a value may be, in bytes: Consul takes 512 KiB of a transaction
// (limits.txn_max_req_len, unless it was changed), where values are written in base64.
const MaxValue = 380 << 10

// A Pair is one key of the mesh with its value.
type Pair struct {
	// Key is without the prefix of the mesh.
	Key   string
	Value []byte
	// Index is when it was last written; what a check-and-set names.
	Index uint64
}

// Key returns where a key of the mesh is in Consul.
func (c *Client) Key(key string) string { return c.config.Prefix + "/" + key }

// Get returns a key as the last write that was acknowledged left it; ok is false where
// there is none.
func (c *Client) Get(ctx context.Context, key string) (pair Pair, ok bool, err error) {
	q, cancel := c.Query(ctx)
	defer cancel()
	found, _, err := c.api.KV().Get(c.Key(key), q)
	if err != nil || found == nil {
		return Pair{}, false, c.Explain("read "+c.Key(key), err)
	}
	return c.pair(found), true, nil
}

// List returns the keys below one that ends in a slash, in order.
func (c *Client) List(ctx context.Context, below string) ([]Pair, error) {
	q, cancel := c.Query(ctx)
	defer cancel()
	found, _, err := c.api.KV().List(c.Key(below), q)
	if err != nil {
		return nil, c.Explain("list "+c.Key(below), err)
	}
	return c.pairs(found), nil
}

// WatchKeys follows which keys there are below one that ends in a slash: Value holds them.
func (c *Client) WatchKeys(below string, emit func(Answer[[]string])) Watch[[]string] {
	return Watch[[]string]{
		What: "keys below " + c.Key(below),
		Fetch: func(q *api.QueryOptions) ([]string, *api.QueryMeta, error) {
			keys, meta, err := c.api.KV().Keys(c.Key(below), "", q)
			for i := range keys {
				keys[i] = strings.TrimPrefix(keys[i], c.Key(""))
			}
			return keys, meta, err
		},
		Emit: emit,
	}
}

// Put writes a key that is at an index, zero for one that is not there. It returns the
// new index, or [ErrConflict] when the key is not at that one.
//
// After another error the write may have happened: read the key to find out.
func (c *Client) Put(ctx context.Context, key string, value []byte, index uint64) (uint64, error) {
	results, err := c.Transact(ctx, c.PutOp(key, value, index))
	if err != nil {
		return 0, err
	}
	return results[0].Index, nil
}

// Delete removes a key that is at an index, or returns [ErrConflict].
func (c *Client) Delete(ctx context.Context, key string, index uint64) error {
	_, err := c.Transact(ctx, c.DeleteOp(key, index))
	return err
}

// PutOp is Put as a part of a transaction.
func (c *Client) PutOp(key string, value []byte, index uint64) *api.KVTxnOp {
	return &api.KVTxnOp{Verb: api.KVCAS, Key: c.Key(key), Value: value, Index: index}
}

// DeleteOp is Delete as a part of a transaction.
func (c *Client) DeleteOp(key string, index uint64) *api.KVTxnOp {
	return &api.KVTxnOp{Verb: api.KVDeleteCAS, Key: c.Key(key), Index: index}
}

// MaxOps is how many parts a transaction may have: Consul's own bound before 1.13,
// which doubled it.
const MaxOps = 64

// Transact does all of it or nothing, and returns what was written, in the order of the
// parts that write. The error is [ErrConflict] when a condition does not hold. After
// one that is neither that nor a refusal it may have happened.
func (c *Client) Transact(ctx context.Context, ops ...*api.KVTxnOp) ([]Pair, error) {
	if c.config.ReadOnly {
		return nil, ErrReadOnly
	}
	if len(ops) == 0 {
		return nil, nil
	}
	if len(ops) > MaxOps {
		return nil, fmt.Errorf("consul: %d parts of a transaction, and %d are the most", len(ops), MaxOps)
	}
	for _, op := range ops {
		if len(op.Value) > MaxValue {
			return nil, fmt.Errorf("consul: the value of %s is %d KiB long, and %d are the most", op.Key, len(op.Value)>>10, MaxValue>>10)
		}
	}
	what := "write " + ops[len(ops)-1].Key
	w, cancel, err := c.Write(ctx)
	if err != nil {
		return nil, c.Explain(what, err)
	}
	defer cancel()
	txn := make(api.TxnOps, len(ops))
	for i, op := range ops {
		txn[i] = &api.TxnOp{KV: op}
	}
	// Its options are those of a query in Consul's client, though it writes.
	ok, answer, _, err := c.api.Txn().Txn(txn, (&api.QueryOptions{}).WithContext(w.Context()))
	if err != nil {
		return nil, c.Explain(what, err)
	}
	if !ok {
		return nil, c.Explain(what, refused(answer.Errors))
	}
	var written []Pair
	for _, r := range answer.Results {
		if r.KV != nil {
			written = append(written, c.pair(r.KV))
		}
	}
	return written, nil
}

// refused is why a transaction was rolled back: a condition, which the caller must see
// as such, or something else.
func refused(errs api.TxnErrors) error {
	var all []error
	for _, e := range errs {
		switch {
		case strings.Contains(e.What, "Permission denied"), strings.Contains(e.What, "ACL not found"):
			return &explained{text: brief(e.What), cause: errDenied}
		case strings.Contains(e.What, "index is stale"), strings.Contains(e.What, "current modify index"),
			strings.Contains(e.What, "lock isn't held"), strings.Contains(e.What, "doesn't exist"), strings.Contains(e.What, "lock is already held"):
			return fmt.Errorf("%w (%s)", ErrConflict, brief(e.What))
		}
		all = append(all, errors.New(brief(e.What)))
	}
	if all == nil {
		return errors.New("it was rolled back, and nobody says why")
	}
	return errors.Join(all...)
}

func (c *Client) pair(p *api.KVPair) Pair {
	return Pair{Key: strings.TrimPrefix(p.Key, c.Key("")), Value: p.Value, Index: p.ModifyIndex}
}

func (c *Client) pairs(found api.KVPairs) []Pair {
	out := make([]Pair, len(found))
	for i, p := range found {
		out[i] = c.pair(p)
	}
	return out
}
