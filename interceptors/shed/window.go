package shed

import (
	"math"
	"sync/atomic"
	"time"
)

// shortest is the least time of a window: what is decided on is then no hiccup.
const shortest = 100 * time.Millisecond

// samples is how many calls a window needs to be believed. Their latencies may differ
// as much as they are long: of a hundred the mean is then right within a tenth. A
// server that runs few calls at once does not have so many in good time. It goes by
// the limit that is meant, also where a lower one is tried.
func samples(limit float64) int64 { return int64(min(100, max(25, 4*limit))) }

// A window is what was seen of the calls that were let in while the limit was the same.
type window struct {
	// epoch is another one in each window.
	epoch atomic.Uint32
	began atomic.Int64 // in nanoseconds of Unix time
	// needed is how many calls the window needs.
	needed atomic.Int64
	// sum holds the number of calls in its upper bits, and the sum of the logarithms
	// of their latencies in the lower: they are one value, or the mean of a window
	// that ends just then would be wrong by a whole call.
	sum     atomic.Uint64
	peak    atomic.Int64 // of the calls that ran at once
	refused atomic.Bool
}

const (
	// sumBits leave room for a million calls in a window, of a thousand years each.
	sumBits = 44
	// scale is what the logarithm of a latency is counted in.
	scale = 1 << 18
)

// observe adds a latency, and returns how many there are.
func (w *window) observe(took time.Duration) int64 {
	ns := max(float64(took), float64(time.Microsecond))
	return int64(w.sum.Add(1<<sumBits|uint64(math.Log(ns)*scale)) >> sumBits)
}

// reach notes that n calls run.
func (w *window) reach(n int64) {
	for {
		peak := w.peak.Load()
		if n <= peak || w.peak.CompareAndSwap(peak, n) {
			return
		}
	}
}

// refuse notes that a call was refused.
func (w *window) refuse() {
	if !w.refused.Load() { // read by all, written once
		w.refused.Store(true)
	}
}

// A view is what a window came to.
type view struct {
	mean    float64 // of the latencies: the logarithm of nanoseconds
	peak    int64
	refused bool
}

// next ends the window and begins another, with so many calls that run. It reports
// false where nothing was seen.
func (w *window) next(now time.Time, running int64) (view, bool) {
	w.epoch.Add(1)
	w.began.Store(now.UnixNano())
	sum := w.sum.Swap(0)
	v := view{peak: w.peak.Swap(running), refused: w.refused.Swap(false)}
	n := sum >> sumBits
	if n == 0 {
		return v, false
	}
	v.mean = float64(sum&(1<<sumBits-1)) / scale / float64(n)
	return v, true
}
