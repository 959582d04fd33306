package consul

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// sessionTTL is how long a leader that is gone may still hold the lock; Consul takes
	// up to twice that. It is renewed at a third.
	sessionTTL = 15 * time.Second
	// lockDelay is how long nobody may take a lock that was lost rather than released.
	lockDelay = time.Second
)

// A Leadership is a duty that one xdsserver of many does at a time.
type Leadership struct {
	// Key is that of the lock, below the prefix of the mesh.
	Key string
	// Name says who holds it, for people who look.
	Name string
	// Do is called while this process leads; its context ends when it does not any more.
	// Where it returns before, the lock is given back, and asked for again after a while.
	Do func(ctx context.Context, fence Fence) error
}

// A Fence is the proof of a leadership. A lock in Consul is advisory, and who has lost
// it may not know that yet: a write that matters is one transaction with the fence.
type Fence struct {
	client *Client
	key    string
	index  uint64
}

// Op is the condition that the leadership still holds: the lock was not taken since.
func (f Fence) Op() *api.KVTxnOp {
	return &api.KVTxnOp{Verb: api.KVCheckIndex, Key: f.client.Key(f.key), Index: f.index}
}

// Transact is [Client.Transact] with the fence; [ErrConflict] is also that of who leads
// no more.
func (f Fence) Transact(ctx context.Context, ops ...*api.KVTxnOp) error {
	_, err := f.client.Transact(ctx, append([]*api.KVTxnOp{f.Op()}, ops...)...)
	return err
}

// Lead takes part in a leadership until ctx ends, and returns nil then; it has let go of
// the lock by that time, if Consul can be reached.
func (c *Client) Lead(ctx context.Context, l Leadership) error {
	if c.config.ReadOnly {
		<-ctx.Done() // who cannot write cannot lead
		return nil
	}
	failures := 0
	for ctx.Err() == nil {
		err := c.term(ctx, l)
		if err != nil && ctx.Err() == nil {
			failures++
			c.logger.Debug("leadership not taken", "key", c.Key(l.Key), "error", err)
		} else {
			failures = 0
		}
		if !sleep(ctx, min(retryMost, retryLeast<<min(failures, 4))) {
			break
		}
	}
	return nil
}

// term waits for the lock, leads, and lets go.
func (c *Client) term(ctx context.Context, l Leadership) (err error) {
	w, cancel, err := c.Write(ctx)
	if err != nil {
		return err
	}
	id, _, err := c.api.Session().Create(&api.SessionEntry{
		Name: c.Key(l.Key), TTL: sessionTTL.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorRelease,
	}, w)
	cancel()
	if err != nil {
		return c.Explain("create a session", err)
	}
	ctx, end := context.WithCancel(ctx)
	var renewing sync.WaitGroup
	defer func() {
		end()
		renewing.Wait()
		// Also when ctx has ended: the next leader should not have to wait.
		w, cancel, _ := c.Write(context.WithoutCancel(ctx))
		defer cancel()
		_, destroyErr := c.api.Session().Destroy(id, w)
		err = errors.Join(err, c.Explain("destroy a session", destroyErr))
	}()
	renewing.Go(func() {
		defer end()
		c.renew(ctx, id)
	})
	index, err := c.acquire(ctx, l, id)
	if err != nil || ctx.Err() != nil {
		return err
	}
	c.logger.Info("this xdsserver leads", "duty", l.Key)
	defer c.logger.Info("this xdsserver does not lead any more", "duty", l.Key)
	renewing.Go(func() {
		defer end()
		c.hold(ctx, l, id)
	})
	return l.Do(ctx, Fence{client: c, key: l.Key, index: index})
}

// renew keeps a session until it is gone, or ctx ends.
func (c *Client) renew(ctx context.Context, id string) {
	last := time.Now()
	for sleep(ctx, sessionTTL/3) {
		w, cancel, err := c.Write(ctx)
		if err != nil {
			return
		}
		entry, _, err := c.api.Session().Renew(id, w)
		cancel()
		switch {
		case err == nil && entry == nil:
			return // it expired
		case err == nil:
			last = time.Now()
		case time.Since(last) >= sessionTTL:
			return // it may have: whoever cannot tell does not lead
		}
	}
}

// acquire waits until the session has the lock, and returns the index of that.
func (c *Client) acquire(ctx context.Context, l Leadership, id string) (uint64, error) {
	key := c.Key(l.Key)
	index := uint64(0)
	for ctx.Err() == nil {
		w, cancel, err := c.Write(ctx)
		if err != nil {
			return 0, err
		}
		got, _, err := c.api.KV().Acquire(&api.KVPair{Key: key, Value: []byte(l.Name), Session: id}, w)
		cancel()
		if err != nil {
			return 0, c.Explain("lock "+key, err)
		}
		if got {
			q, cancel := c.Query(ctx)
			pair, _, err := c.api.KV().Get(key, q)
			cancel()
			if err != nil {
				return 0, c.Explain("read "+key, err)
			}
			if pair != nil && pair.Session == id {
				return pair.ModifyIndex, nil
			}
			continue
		}
		// Held by another: wait for a change, and for the time that a lost lock is barred.
		waiting, cancel := context.WithTimeout(ctx, sessionTTL+answerWithin)
		_, meta, err := c.api.KV().Get(key, (&api.QueryOptions{WaitIndex: index, WaitTime: sessionTTL}).WithContext(waiting))
		cancel()
		if err != nil {
			return 0, c.Explain("read "+key, err)
		}
		if index = meta.LastIndex; !sleep(ctx, retryLeast) {
			break
		}
	}
	return 0, nil
}

// hold returns when the lock is not the session's any more, as far as one can tell, or
// ctx has ended.
func (c *Client) hold(ctx context.Context, l Leadership, id string) {
	index := uint64(0)
	last := time.Now()
	for ctx.Err() == nil {
		waiting, cancel := context.WithTimeout(ctx, sessionTTL+answerWithin)
		pair, meta, err := c.api.KV().Get(c.Key(l.Key), (&api.QueryOptions{WaitIndex: index, WaitTime: sessionTTL}).WithContext(waiting))
		cancel()
		switch {
		case err == nil && (pair == nil || pair.Session != id):
			return
		case err == nil:
			index, last = max(1, meta.LastIndex), time.Now()
		case time.Since(last) >= sessionTTL:
			return
		default:
			index = 0
			if !sleep(ctx, retryLeast) {
				return
			}
		}
	}
}
