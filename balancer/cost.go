package balancer

import (
	"math"
	"sync/atomic"
	"time"
)

// A cost is the peak EWMA of how long an endpoint's calls take (Finagle, Linkerd): a
// call that takes longer than is known makes it known at once, a quicker one little by
// little, and what is not called is forgotten.
//
// Estimate and time are one word, so that they agree without a lock: the estimate is
// a float32 in nanoseconds above, the time below in ticks. The sign of the estimate
// says that no call has told it yet.
type cost struct{ word atomic.Uint64 }

// A tick is 2^18 ns, a quarter of a millisecond: the counter goes round in 13 days.
const tickBits = 18

const (
	// rare is after how long without a call the next counts for more; it is the
	// least time between two probes.
	rare = 200 * time.Millisecond
	// rareFactor is how much a rare call can lower the estimate by. One that is
	// quick by chance must not bring all calls back, so it takes a few.
	rareFactor = 4
)

func pack(estimate float64, now int64) uint64 {
	return uint64(math.Float32bits(float32(estimate)))<<32 | uint64(uint32(now>>tickBits))
}

func unpack(word uint64) (estimate float64, tick uint32, guess bool) {
	return float64(math.Float32frombits(uint32(word>>32) &^ (1 << 31))), uint32(word), word>>63 != 0
}

// since returns the time from tick to now.
func since(tick uint32, now int64) time.Duration {
	// A clock that is read by two goroutines may seem to go backwards.
	return time.Duration(max(int32(uint32(now>>tickBits)-tick), 0)) << tickBits
}

// seed sets what an endpoint is taken to need before it is called.
func (c *cost) seed(guess time.Duration, now int64) {
	if c.word.Load() == 0 {
		c.word.CompareAndSwap(0, pack(-float64(max(guess, 1)), now))
	}
}

// at returns the estimate in nanoseconds, and whether no call has told it yet; rate is
// 1/decay.
func (c *cost) at(now int64, rate float64) (estimate float64, guess bool) {
	estimate, tick, guess := unpack(c.word.Load())
	return estimate * fade(since(tick, now), rate), guess
}

// fade returns exp(-d*rate).
func fade(d time.Duration, rate float64) float64 {
	x := float64(d) * rate
	if x < 1.0/32 { // the error is below a thousandth of a percent
		return 1 - x + x*x/2
	}
	return math.Exp(-x)
}

// observe takes what one call took, and reports whether it is the first.
func (c *cost) observe(took time.Duration, now int64, rate float64) (first bool) {
	for range 4 { // of many calls that end at once a few may go unheard
		old := c.word.Load()
		if c.word.CompareAndSwap(old, pack(next(old, float64(took), now, rate), now)) {
			return old>>63 != 0
		}
	}
	return false
}

// atLeast takes what one call took before it was given up: it may lift the estimate
// and never lowers it.
func (c *cost) atLeast(took time.Duration, now int64, rate float64) {
	if estimate, _ := c.at(now, rate); estimate < float64(took) {
		c.observe(took, now, rate)
	}
}

func next(word uint64, took float64, now int64, rate float64) float64 {
	estimate, tick, guess := unpack(word)
	if guess {
		return took
	}
	idle := since(tick, now)
	w := fade(idle, rate)
	decayed := estimate * w
	switch {
	case took >= decayed:
		return took
	case idle >= rare && took < decayed/2:
		// Plain EWMA gives a call the weight of the time since the last one, which
		// for a probe a second with a decay of ten is a tenth: an endpoint that
		// took 200 ms would be avoided for half a minute after it got well.
		return max(took, decayed/rareFactor)
	default:
		return decayed + took*(1-w)
	}
}

// told returns whether any call has told the estimate, and how long ago the last did.
func (c *cost) told(now int64) (ago time.Duration, ok bool) {
	_, tick, guess := unpack(c.word.Load())
	return since(tick, now), !guess
}
