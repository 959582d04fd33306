// Package shed bounds how many calls a server runs at once, and finds the bound by
// itself where it is told to.
//
//	limiter := shed.New(*admission.Concurrency, time.Now()) // one per admission
//	ticket, ok := limiter.Acquire(shed.CriticalityOf(ctx), time.Now())
//	if !ok {
//		return limiter.Refused("voting")
//	}
//	answer, err := handler(ctx, request)
//	ticket.End(ctx, err)
//
// A server that takes more calls than it can run makes all of them slow, until their
// callers give up on work that is half done. One that refuses what is too much, before
// it has read it, goes on doing what it can.
//
// When there is not room for all, those matter less that say so: see [Criticality].
// How an adaptive limit is found is said at [Limiter]. Streams are none of this
// package's business: one that is open all day says nothing of how loaded a server is,
// and would keep its place from the calls that do. grpc.MaxConcurrentStreams bounds
// them for each connection.
//
// The package queues no call. Those that are taken above what the server can run queue
// in it, where they would have queued anyway; tolerance says how many.
package shed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Limiter bounds the calls that run at once. It is made by [New] and safe for
// concurrent use.
//
// An adaptive limit follows the latency of the calls. Their mean in a window of some
// hundred milliseconds is compared with what it is while the server is not loaded: up
// to Tolerance times as much is no overload yet, and the limit grows; above it shrinks
// by as much as there is too much. So it comes to rest at Tolerance times what the
// server can run at once, which keeps it busy and lets nobody wait for long.
//
// What the latency of the unloaded server is cannot be seen while it is loaded. The
// gradient of Netflix's concurrency-limits takes the mean of a long time for it, which
// under a lasting overload becomes the latency of the overload, and the limit creeps
// up with it. Here, as BBR does for the round trip of a path, and as Envoy's adaptive
// concurrency does at more cost, the limit is halved for one window when it was not
// seen for ten seconds, which costs a loaded server some thousandths of what it does.
//
// The mean is the geometric one: methods that take long and methods that do not are
// then equally much slower under load, and the few that take very long do not hide the
// others.
type Limiter struct {
	limit   atomic.Int64
	running atomic.Int64
	config  atomic.Pointer[resource.Concurrency]

	window window

	mu     sync.Mutex // held by who sets the limit
	search search
}

// New returns a Limiter of no calls yet. The values of c are those of a decoded
// resource.
func New(c resource.Concurrency, now time.Time) *Limiter {
	l := &Limiter{}
	l.restart(c, now)
	return l
}

// Configure goes on with other values: the calls that run are those that ran, and what
// was found out remains.
func (l *Limiter) Configure(c resource.Concurrency, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was := l.config.Load(); !was.Adaptive || !c.Adaptive {
		l.restart(c, now)
		return
	}
	l.config.Store(&c)
	l.limit.Store(l.search.bound(&c))
}

// restart forgets what was found out. Caller holds mu, or is alone.
func (l *Limiter) restart(c resource.Concurrency, now time.Time) {
	l.config.Store(&c)
	l.window.next(now, l.running.Load())
	l.search = search{limit: float64(c.Limit), starting: true}
	l.window.needed.Store(samples(l.search.limit))
	if !c.Adaptive {
		l.limit.Store(int64(c.Limit))
		return
	}
	l.limit.Store(l.search.bound(&c))
}

// Limit returns how many calls may run at once now, Running how many do.
func (l *Limiter) Limit() int { return int(l.limit.Load()) }

// Running returns how many calls run.
func (l *Limiter) Running() int { return int(l.running.Load()) }

// A Ticket is a call that runs. The zero Ticket is one that no Limiter counts.
type Ticket struct {
	limiter *Limiter
	began   time.Time
	epoch   uint32
}

// Acquire takes a place for a call, and reports whether there was one. It neither
// allocates nor locks. A Ticket must be ended or released, once.
func (l *Limiter) Acquire(c Criticality, now time.Time) (Ticket, bool) {
	room := c.room(l.limit.Load())
	for {
		n := l.running.Load()
		if n >= room {
			l.window.refuse()
			return Ticket{}, false
		}
		// Compared and swapped, not added and given back: calls that are refused
		// would take the place of more critical ones for a moment.
		if l.running.CompareAndSwap(n, n+1) {
			l.window.reach(n + 1)
			return Ticket{limiter: l, began: now, epoch: l.window.epoch.Load()}, true
		}
	}
}

// End gives the place back of a call that ended with err, which may be nil. ctx is the
// call's. It is learned from if the service answered, or took until the deadline; a
// call that its caller gave up sooner would have taken nobody knows how long.
func (t Ticket) End(ctx context.Context, err error) {
	if t.limiter == nil {
		return
	}
	now := time.Now()
	t.Release(now, err == nil || t.late(ctx, now))
}

// late reports whether the call took all of its time, or nearly: whose deadline runs
// out cancels the call, and that may be there before the server's own timer.
func (t Ticket) late(ctx context.Context, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ok && deadline.Sub(now) <= deadline.Sub(t.began)/20
}

// Release gives the place back. Only a call that counts is learned from: a failure may
// come at any time, and a flood of quick ones must not look like a server with much to
// spare.
func (t Ticket) Release(now time.Time, counts bool) {
	l := t.limiter
	if l == nil {
		return
	}
	l.running.Add(-1)
	if !counts {
		return
	}
	c := l.config.Load()
	if !c.Adaptive {
		return
	}
	// A call that was let in before the limit was what it is says nothing of it.
	if t.epoch != l.window.epoch.Load() {
		return
	}
	n := l.window.observe(now.Sub(t.began))
	if n < l.window.needed.Load() || now.Sub(time.Unix(0, l.window.began.Load())) < shortest {
		return
	}
	if !l.mu.TryLock() {
		return // another one does it
	}
	defer l.mu.Unlock()
	l.turn(now)
}

// turn ends the window and sets the limit by it. Caller holds mu.
func (l *Limiter) turn(now time.Time) {
	c := l.config.Load()
	seen, ok := l.window.next(now, l.running.Load())
	if !ok || !c.Adaptive {
		return
	}
	l.search.learn(c, seen, now)
	l.limit.Store(l.search.bound(c))
	l.window.needed.Store(samples(l.search.limit))
}

// pushback is how long a refused caller is asked to stay away, give or take a half:
// callers take the number as it is, and would come back all at once.
const pushback = 100 * time.Millisecond

// Refused returns the end of a call that there was no place for.
//
// It is RESOURCE_EXHAUSTED and not UNAVAILABLE, which is what Envoy and Netflix say.
// Both make the mesh's clients prefer other endpoints, and retry where their routes say
// so. But UNAVAILABLE is what a breaker counts: where all servers have too much to do,
// those that refuse two calls of three would be taken out for it, half of them at once,
// and the others get twice as much. A server that refuses is well.
func (l *Limiter) Refused(service string) *call.Error {
	return &call.Error{
		Service:    service,
		Reason:     call.Overloaded,
		Code:       codes.ResourceExhausted,
		Detail:     fmt.Sprintf("%s runs as many calls as it takes at once, %d", service, l.Limit()),
		Try:        fmt.Sprintf("add instances of %s, or raise its limit: xdsserver routes %s -o wide", service, service),
		RetryAfter: pushback/2 + rand.N(pushback),
	}
}
