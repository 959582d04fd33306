package retry

import (
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// buckets are the parts of a budget's window. More would forget more smoothly, and
// cost a load each for every withdrawal.
const buckets = 10

// A bucket is one word, so that what is counted and when it was are changed at once:
//
//	tick (24 bits) | withdrawals (20 bits) | deposits (20 bits)
//
// A count that is full stays so: more than a million calls a second and process buy
// no more retries. A tick comes again after 194 days of a ten-second window.
const (
	countBits  = 20
	full       = 1<<countBits - 1
	tickBits   = 64 - 2*countBits
	tickMask   = 1<<tickBits - 1
	deposit    = 1
	withdrawal = 1 << countBits
)

// A Budget bounds the attempts beside the first, retries and hedges together, of one
// process's calls to one service. Those of the last window, which is counted in
// tenths, are at most
//
//	Percent/100 * calls + MinPerSecond * Window
//
// at any moment, however many goroutines ask at once: a withdrawal is reserved first
// and given back where that was too much, so that no two of them see the same last
// one. They may both be refused then, though there was one. There is no lock, and
// nothing allocates.
//
// Lower percentages protect a service that fails; higher ones hide more of its
// failures. The minimum is for services that are called seldom.
type Budget struct {
	// Immutable after construction.
	start time.Time
	span  time.Duration // of a bucket

	latest  atomic.Int64 // tick; it never goes back
	buckets [buckets]atomic.Uint64
}

// NewBudget returns an empty Budget, which has its minimum from the start.
func NewBudget(window time.Duration, now time.Time) *Budget {
	return &Budget{start: now, span: max(window/buckets, 1)}
}

// Window is the time that is looked at.
func (b *Budget) Window() time.Duration { return b.span * buckets }

// Deposit counts a call.
func (b *Budget) Deposit(now time.Time) {
	for {
		if _, ok := b.add(b.tick(now), deposit); ok {
			return
		}
	}
}

// Withdraw takes an attempt, and reports whether there was one. Of policy the shares
// count: the window is the Budget's.
func (b *Budget) Withdraw(now time.Time, policy resource.RetryBudget) bool {
	tick := b.tick(now)
	before, ok := b.add(tick, withdrawal)
	if !ok {
		return false // this goroutine slept through the window: rather one too few
	}
	if before>>countBits&full == full {
		return false // nothing was added
	}
	calls, taken := b.sum(b.tick(now))
	allowed := policy.Percent/100*float64(calls) + policy.MinPerSecond*b.Window().Seconds()
	// 29 % of 100 are 28.999999999999996: what is a millionth short is not short.
	if float64(taken) <= allowed+1e-6 {
		return true
	}
	b.giveBack(tick)
	return false
}

// tick is the number of the bucket that now belongs to. Goroutines that read the
// clock and then had to wait count in the bucket of those that did not.
func (b *Budget) tick(now time.Time) int64 {
	tick := int64(now.Sub(b.start) / b.span)
	for {
		latest := b.latest.Load()
		if tick <= latest {
			return latest
		}
		if b.latest.CompareAndSwap(latest, tick) {
			return tick
		}
	}
}

// add counts in the bucket of a tick and returns what was in it; false if the bucket
// belongs to a later tick by now.
func (b *Budget) add(tick int64, what uint64) (before uint64, ok bool) {
	bucket := &b.buckets[tick%buckets]
	for {
		old := bucket.Load()
		word := old
		if age := age(tick, old); age != 0 {
			if age > tickMask/2 {
				return 0, false
			}
			word = uint64(tick) << (2 * countBits)
		}
		next := word + what
		if count := word / what & full; count == full {
			next = word
		}
		if next == old || bucket.CompareAndSwap(old, next) {
			return word, true
		}
	}
}

// giveBack takes back a withdrawal, unless it is forgotten already.
func (b *Budget) giveBack(tick int64) {
	bucket := &b.buckets[tick%buckets]
	for {
		old := bucket.Load()
		if age(tick, old) != 0 || bucket.CompareAndSwap(old, old-withdrawal) {
			return
		}
	}
}

// sum is what the window holds that ends with a tick.
func (b *Budget) sum(tick int64) (calls, taken uint64) {
	for i := range b.buckets {
		word := b.buckets[i].Load()
		if age(tick, word) < buckets {
			calls += word & full
			taken += word >> countBits & full
		}
	}
	return calls, taken
}

// age is how many ticks before tick a bucket was begun; more than half of tickMask is
// after it.
func age(tick int64, word uint64) uint64 {
	return (uint64(tick) - word>>(2*countBits)) & tickMask
}
