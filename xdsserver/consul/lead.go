package consul

import (
	"context"
	"errors"
	"math/rand/v2"
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
	// resignFor is how long a process does not ask for a leadership that it gave back:
	// others come first.
	resignFor = 2 * time.Second
	// leaveWithin bounds giving a lock back; where it fails, the session ends by its TTL.
	leaveWithin = 3 * time.Second
)

// A Leadership is a duty that one xdsserver of many does at a time.
type Leadership struct {
	// Key is that of the lock, below the prefix of the mesh.
	Key string
	// Name says who holds it, for people who look.
	Name string
	// Do is called while this process leads; its context ends when it does not any more.
	// Where it returns before, the lock is given back, and asked for again after some
	// seconds: what it began is then another's to go on with. Its error is logged.
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
// the lock by that time, if Consul can be reached. It holds one or two connections to
// Consul beside those of [Config.Connections].
func (c *Client) Lead(ctx context.Context, l Leadership) error {
	if c.config.ReadOnly {
		<-ctx.Done() // who cannot write cannot lead
		return nil
	}
	failures, said := 0, ""
	for ctx.Err() == nil {
		led, err := c.term(ctx, l)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what failed then is of no matter any more
		}
		wait := resignFor
		switch {
		case err != nil:
			wait = min(retryMost, retryLeast<<min(failures, 4))
			failures++
			if text := err.Error(); !alike(text, said) {
				said = text
				c.logger.Warn("leadership failed, trying on", "duty", l.Key, "error", err)
			}
		case led:
			failures, said = 0, ""
		default:
			wait = retryLeast // the session ended while another led
		}
		if !sleep(ctx, wait/2+rand.N(wait)) {
			break
		}
	}
	return nil
}

// term waits for the lock, leads, and lets go. It reports whether it led, for as long as
// it wished to.
func (c *Client) term(ctx context.Context, l Leadership) (led bool, err error) {
	w, cancel, err := c.Write(ctx)
	if err != nil {
		return false, err
	}
	id, _, err := c.api.Session().Create(&api.SessionEntry{
		Name: c.Key(l.Key), TTL: sessionTTL.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorRelease,
	}, w)
	cancel()
	if err != nil {
		return false, c.Explain("create a session", err)
	}
	term, end := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	defer func() {
		end()
		keeping.Wait()
		// Also when ctx has ended: the next leader should not have to wait.
		err = errors.Join(err, c.resign(context.WithoutCancel(ctx), l, id))
	}()
	keeping.Go(func() {
		defer end()
		c.renew(term, id)
	})
	index, err := c.acquire(term, l, id)
	if err != nil || term.Err() != nil {
		return false, unless(term, err)
	}
	c.logger.Info("this xdsserver leads", "duty", l.Key)
	defer c.logger.Info("this xdsserver does not lead any more", "duty", l.Key)
	keeping.Go(func() {
		defer end()
		c.hold(term, l, id)
	})
	err = l.Do(term, Fence{client: c, key: l.Key, index: index})
	return term.Err() == nil && err == nil, unless(term, err)
}

// unless is an error that did not come of the end of ctx.
func unless(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// resign gives the lock back, which bars nobody from taking it, and then the session,
// which alone would.
func (c *Client) resign(ctx context.Context, l Leadership, id string) error {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	w := (&api.WriteOptions{}).WithContext(ctx)
	_, _, err := c.api.KV().Release(&api.KVPair{Key: c.Key(l.Key), Session: id}, w)
	_, destroyErr := c.api.Session().Destroy(id, w)
	return c.Explain("give "+c.Key(l.Key)+" back", errors.Join(err, destroyErr))
}

// renew keeps a session until it is gone, may be, or ctx ends.
func (c *Client) renew(ctx context.Context, id string) {
	kept, pause := time.Now(), sessionTTL/3
	for sleep(ctx, pause) {
		// Whoever cannot tell that the session is there does not lead.
		bounded, cancel := context.WithDeadline(ctx, kept.Add(sessionTTL))
		began := time.Now()
		entry, _, err := c.api.Session().Renew(id, (&api.WriteOptions{}).WithContext(bounded))
		gone := bounded.Err() != nil
		cancel()
		switch {
		case gone, err == nil && entry == nil:
			return
		case err == nil:
			kept, pause = began, sessionTTL/3
		default:
			pause = retryLeast
		}
	}
}

// acquire waits until the session has the lock, and returns the index of that.
func (c *Client) acquire(ctx context.Context, l Leadership, id string) (uint64, error) {
	key := c.Key(l.Key)
	index := uint64(0)
	for ctx.Err() == nil {
		pair, last, err := c.look(ctx, key, index)
		if err != nil {
			return 0, err
		}
		if pair != nil && pair.Session == id {
			return pair.ModifyIndex, nil
		}
		if pair != nil && pair.Session != "" {
			index = max(1, last)
			continue // held by another
		}
		w, cancel, err := c.Write(ctx)
		if err != nil {
			return 0, err
		}
		got, _, err := c.api.KV().Acquire(&api.KVPair{Key: key, Value: []byte(l.Name), Session: id}, w)
		cancel()
		if err != nil {
			return 0, c.Explain("lock "+key, err)
		}
		// Another was first, or the lock is barred since it was lost: that ends without a
		// change that could be waited for.
		if index = 0; !got && !sleep(ctx, retryLeast) {
			break
		}
	}
	return 0, nil
}

// hold returns when the lock is not the session's any more, as far as one can tell, or
// ctx has ended.
func (c *Client) hold(ctx context.Context, l Leadership, id string) {
	index := uint64(0)
	seen := time.Now()
	for ctx.Err() == nil {
		pair, last, err := c.look(ctx, c.Key(l.Key), index)
		switch {
		case err == nil && (pair == nil || pair.Session != id):
			return
		case err == nil:
			index, seen = max(1, last), time.Now()
		case time.Since(seen) >= sessionTTL:
			return
		default:
			if index = 0; !sleep(ctx, retryLeast) {
				return
			}
		}
	}
}

// look waits until a lock may be another than at an index, for a while; zero does not
// wait.
func (c *Client) look(ctx context.Context, key string, index uint64) (*api.KVPair, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTTL+answerWithin)
	defer cancel()
	pair, meta, err := c.api.KV().Get(key, (&api.QueryOptions{WaitIndex: index, WaitTime: sessionTTL, RequireConsistent: index == 0}).WithContext(ctx))
	if err != nil {
		return nil, 0, c.Explain("read "+key, err)
	}
	return pair, meta.LastIndex, nil
}
