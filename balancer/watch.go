package balancer

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tulle-mesh/tulle/mesh/breaker"
)

// A watch is what the pools of one priority know that no single endpoint does: what is
// due, how many are out, how many are needed. It outlives the pools, each of which has
// other members.
type watch struct {
	cluster string
	logger  *slog.Logger
	counts  *counts // nil counts nothing

	// pool is the one that is watched.
	pool atomic.Pointer[Pool]
	// due is when a pick must review the pool.
	due atomic.Int64
	// desperate counts calls to an endpoint that was out, since all were.
	desperate atomic.Int64

	// mu guards what follows. Picks only ever try it.
	mu     sync.Mutex
	news   panicNews
	band   band
	thrift thrift
	costs  []float64 // scratch
}

// A panicNews is how many members fail, of how many, and how many of those may be out.
type panicNews struct{ failing, of, most int }

// panics is whether calls go to endpoints that fail.
func (n panicNews) panics() bool { return n.failing > n.most || n.failing == n.of && n.of > 0 }

// newWatch returns a watch that logs to logger, or to slog.Default without one.
func newWatch(logger *slog.Logger, cluster string) *watch {
	if logger == nil {
		logger = slog.Default()
	}
	return &watch{cluster: cluster, logger: logger}
}

// adopt makes p the pool that is watched. Picks of the one before may go on for a
// while.
func (w *watch) adopt(p *Pool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range p.members {
		p.members[i].Node.watch.Store(w)
	}
	w.pool.Store(p)
	w.thrift.start(p)
	p.inUse.Store(int64(w.band.follow(p, breaker.Now())))
	w.wake()
}

// wake has the next pick review.
func (w *watch) wake() { w.due.Store(0) }

// later has a pick review at t, unless one is to earlier.
func (w *watch) later(t int64) {
	for {
		due := w.due.Load()
		if due <= t || w.due.CompareAndSwap(due, t) {
			return
		}
	}
}

// broke is told of changes of a member's breaker.
func (w *watch) broke(n *Node, from, to breaker.State) {
	w.wake()
	switch to {
	case breaker.Open:
		if from == breaker.Closed {
			w.counts.opened()
			w.logger.Info("endpoint fails: no more calls until one succeeds", "cluster", w.cluster, "endpoint", n.Address)
		}
	case breaker.Closed:
		w.logger.Info("endpoint is well again", "cluster", w.cluster, "endpoint", n.Address)
	default: // a probe is no news
	}
}

// judge returns news where the pool begins to panic or calms down, none otherwise.
// Caller holds mu.
func (w *watch) judge(now panicNews) (news panicNews) {
	before := w.news
	w.news = now
	if before.panics() == now.panics() {
		return panicNews{}
	}
	return now
}

// say logs news.
func (w *watch) say(news panicNews) {
	switch {
	case news.of == 0:
	case news.panics():
		w.logger.Warn("so many endpoints fail that calls go to some that do",
			"cluster", w.cluster, "failing", news.failing, "of", news.of, "may_be_out", news.most)
	default:
		w.logger.Info("calls go to no endpoint that fails any more",
			"cluster", w.cluster, "failing", news.failing, "of", news.of)
	}
}
