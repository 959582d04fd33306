package telemetry

import (
	"math/bits"
	"slices"
)

// A workspace is memory to make an answer in. That of a graph is used for the next one:
// what a large mesh did takes tens of megabytes to sum up, and a page that is open asks
// every two seconds. Its zero value is ready; one goroutine at a time uses it.
type workspace struct {
	views  []view
	chunks []chunk
	tails  histogram
	// free are histograms by the power of two that is their capacity.
	free [32][]histogram
}

// grow makes room for n more buckets. A nil workspace takes it from the heap.
func (w *workspace) grow(h histogram, n int) histogram {
	if w == nil {
		return slices.Grow(h, n)
	}
	need := len(h) + n
	if need <= cap(h) {
		return h
	}
	var roomy histogram
	power := bits.Len(uint(need - 1))
	if free := w.free[power]; len(free) > 0 {
		roomy = free[len(free)-1]
		w.free[power] = free[:len(free)-1]
	} else {
		roomy = make(histogram, 0, 1<<power)
	}
	roomy = append(roomy, h...)
	w.release(h)
	return roomy
}

// release takes back what grow gave.
func (w *workspace) release(h histogram) {
	if cap(h) > 0 {
		power := bits.Len(uint(cap(h))) - 1
		w.free[power] = append(w.free[power], h[:0])
	}
}

// reset forgets the views, and what they refer to.
func (w *workspace) reset() {
	clear(w.views)
	clear(w.chunks)
	w.views, w.chunks, w.tails = w.views[:0], w.chunks[:0], w.tails[:0]
}
