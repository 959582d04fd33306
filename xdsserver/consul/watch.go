package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"
)

const (
	// waitFor is how long a query waits for a change: lower asks more often for
	// nothing, higher finds out later that an answer will never come.
	waitFor = time.Minute
	// waitCrowded is the same where queries take turns.
	waitCrowded = time.Second
	// answerWithin is how long an answer may take that is there: what a query may take
	// beyond the time that it waits. Consul adds up to a sixteenth to that, so that not all
	// end at once.
	answerWithin = 10 * time.Second
	// staleMost is how old an answer of a server may be that is not the leader.
	staleMost = 10 * time.Second
	// retryLeast and retryMost bound the pause after a failure, with full jitter.
	retryLeast, retryMost = 250 * time.Millisecond, 3 * time.Second
	// Answers for one thing in quick succession: the first few are taken at once, then
	// ten a second. Lower spares Consul, higher sees the last of many changes sooner.
	changeBurst, changeGap = 10, 100 * time.Millisecond
)

// A Watch is one thing in Consul that is followed by blocking queries.
type Watch[T any] struct {
	// What it is, for errors: "service voting".
	What string
	// Fetch asks once, with the options that it is given.
	Fetch func(q *api.QueryOptions) (T, *api.QueryMeta, error)
	// Emit takes each answer that may differ from the one before it, and each new reason
	// why there is none; never two at a time.
	Emit func(Answer[T])
}

// An Answer is what Consul says of one thing, or why it does not.
type Answer[T any] struct {
	// Value is valid where Err is nil.
	Value T
	// Index is Consul's, which may go back after a snapshot was restored.
	Index uint64
	// Filtered says that ACLs kept something back: what is not there may well be.
	Filtered bool
	// DefaultPolicy is what Consul's ACLs do by default, "allow" or "deny"; empty where
	// it does not say.
	DefaultPolicy string
	// Err is why there is no answer, one sentence; nil when there is.
	Err error
}

// Follow watches until ctx ends, and returns nil then. It asks again after failures,
// for as long as it takes.
//
// The rules of Consul's blocking queries: a failure starts from nothing, since what
// answers next may be another server; so does an index that goes back, and a query that
// returned before its time at the index it had, whose answer is from before a snapshot
// was restored; an index is never zero in a query that is to wait; that a query returned
// is no proof of a change. What starts from nothing asks the leader: a server that has
// just started knows nothing, and says so.
func Follow[T any](ctx context.Context, c *Client, w Watch[T]) error {
	c.join()
	defer c.leave()
	f := &follower[T]{client: c, watch: w, pace: rate.NewLimiter(rate.Every(changeGap), changeBurst)}
	for ctx.Err() == nil {
		if !f.turn(ctx) {
			break
		}
	}
	return nil
}

type follower[T any] struct {
	client *Client
	watch  Watch[T]
	pace   *rate.Limiter

	index    uint64
	failures int
	failed   string // the failure that was emitted; empty for none
	known    bool   // there was an answer since the last failure
	filtered bool   // ACLs kept something of it back
}

// turn is one query and what follows from it; false when ctx has ended.
func (f *follower[T]) turn(ctx context.Context) bool {
	value, meta, err := f.ask(ctx)
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, errGaveWay):
		return true
	case err != nil:
		return f.fail(ctx, err)
	}
	last := meta.LastIndex
	same := f.known && last == f.index && meta.ResultsFilteredByACLs == f.filtered
	f.failures, f.failed, f.known, f.filtered = 0, "", true, meta.ResultsFilteredByACLs
	if f.index = max(last, 1); same {
		return true
	}
	f.watch.Emit(Answer[T]{Value: value, Index: last, Filtered: meta.ResultsFilteredByACLs, DefaultPolicy: meta.DefaultACLPolicy})
	return f.pace.Wait(ctx) == nil
}

// errGaveWay is no failure: others needed the slot.
var errGaveWay = errors.New("consul: gave way to others")

// ask makes one query.
func (f *follower[T]) ask(ctx context.Context) (value T, meta *api.QueryMeta, err error) {
	c := f.client
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return value, nil, ctx.Err()
	}
	calm, wait := c.peace(), waitFor
	if calm.Err() != nil {
		wait = waitCrowded
	}
	if f.index == 0 {
		wait = 0 // what is there is answered at once
	}
	asking, cancel := context.WithTimeout(ctx, wait+wait/16+answerWithin)
	defer cancel()
	if wait == waitFor {
		// A long wait gives its slot up when others come to need it.
		defer context.AfterFunc(calm, cancel)()
	}
	began := time.Now()
	q := (&api.QueryOptions{WaitIndex: f.index, WaitTime: wait, AllowStale: f.index > 0}).WithContext(asking)
	value, meta, err = f.watch.Fetch(q)
	if err == nil && f.index > 0 {
		early := time.Since(began) < wait
		restored := meta.LastIndex < f.index || meta.LastIndex == f.index && early
		if restored || meta.LastContact > staleMost {
			f.known = f.known && !restored // everything may differ
			value, meta, err = f.askLeader(asking)
		}
	}
	if err != nil && ctx.Err() == nil && asking.Err() == context.Canceled {
		return value, nil, errGaveWay
	}
	return value, meta, err
}

// askLeader asks again, where a server knows less than another did, or has heard nothing
// from the leader for long.
func (f *follower[T]) askLeader(ctx context.Context) (T, *api.QueryMeta, error) {
	value, meta, err := f.watch.Fetch((&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		err = fmt.Errorf("after an answer that may be old: %w", err)
	}
	return value, meta, err
}

// fail tells of a failure and waits; false when ctx has ended.
func (f *follower[T]) fail(ctx context.Context, err error) bool {
	f.index, f.known = 0, false
	err = f.client.Explain(f.watch.What, err)
	if text := err.Error(); !alike(text, f.failed) {
		f.failed = text
		f.watch.Emit(Answer[T]{Err: err})
	}
	ceiling := retryMost
	if f.failures < 4 {
		ceiling = retryLeast << f.failures
	}
	f.failures++
	return sleep(ctx, retryLeast/2+rand.N(ceiling))
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
