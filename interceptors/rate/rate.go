// Package rate counts calls against a rate, for the limits of clients and of servers.
//
//	limiter := rate.New(resource.Rate{PerSecond: 100, Burst: 100}, time.Now())
//	if ok, after := limiter.Allow(time.Now()); !ok {
//		return refused(after)
//	}
//
// It is the generic cell rate algorithm (ITU-T I.371, annex A; the limiter behind
// Linkerd's, too): a limiter is one number, the time at which the next call would be
// due were all of them evenly apart. There is no refilling, no timer, no lock and no
// window at whose edge twice the rate passes.
//
// The package keeps no limiters by key, see interceptors/limit, and makes no call
// wait.
package rate

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	// unit is what a Limiter counts in, as parts of a nanosecond. At ten million
	// calls a second the time between two is then right within a thousandth; a
	// process may run for eighteen years.
	unit = 16
	// longest bounds what a burst is worth, in units: two years. What a rate and a
	// burst are multiplied to would overflow otherwise.
	longest = 1 << 60
)

// A Limiter admits calls at a rate. It is made by [New] and safe for concurrent use.
type Limiter struct {
	// Immutable after construction.
	start time.Time
	apart int64 // time between two calls at the rate, in units; at least one
	depth int64 // of a whole burst

	// due is when the next call is due, in units since start: the theoretical
	// arrival time. Before now, it means that the whole burst is there.
	due atomic.Int64
}

// New returns a Limiter that admits a whole burst from now on. The rate's values are
// those of a decoded resource: above zero.
func New(r resource.Rate, now time.Time) *Limiter {
	apart := float64(time.Second) * unit / r.PerSecond
	return &Limiter{
		start: now,
		apart: max(1, bounded(apart)),
		depth: max(1, bounded(apart*float64(r.Burst))),
	}
}

func bounded(units float64) int64 { return int64(min(math.Round(units), longest)) }

// Allow takes one call and reports whether it is within the rate. Where it is not,
// retryAfter is how long it takes until one would be, if nobody else called; the
// refused call takes nothing. It does not allocate.
//
// Times of several goroutines may come out of order: a call is judged by its own.
func (l *Limiter) Allow(now time.Time) (ok bool, retryAfter time.Duration) {
	at := max(0, int64(now.Sub(l.start))*unit)
	for {
		due := l.due.Load()
		next := max(due, at) + l.apart
		if over := next - at - l.depth; over > 0 {
			return false, time.Duration((over + unit - 1) / unit)
		}
		if l.due.CompareAndSwap(due, next) {
			return true, 0
		}
	}
}

// Idle reports whether the whole burst is there again: a limiter that is idle is as
// good as a new one, and may be forgotten.
func (l *Limiter) Idle(now time.Time) bool {
	return l.due.Load() <= int64(now.Sub(l.start))*unit
}

// Return gives back what an Allow took, for a call that something else refused. A
// limiter that was idle between the two may then admit one call too many.
func (l *Limiter) Return() { l.due.Add(-l.apart) }
