package balancer

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// WeightedRoundRobin takes turns by weight, which an endpoint's load reports come to
// (gRFC A58): an endpoint that could answer twice the calls gets twice the turns. One
// whose weight is not known gets the mean of the others', and where fewer than two
// are known, each has its turn as in [RoundRobin].
//
// Weights are reckoned anew by the first pick after WeightUpdatePeriod, not by a
// timer: a client that makes no calls does nothing. In slow start a member has its
// share of its weight.
func WeightedRoundRobin(config *resource.Balancing, members []Member) Chooser {
	w := &weightedRoundRobin{config: config.WeightedRoundRobin, members: members}
	// Clients that learn of one set of endpoints at one moment must not all begin
	// with the same one.
	w.next.Store(uint64(rand.Uint32()))
	w.stride.Store(&stride{})
	return w
}

type weightedRoundRobin struct {
	config  resource.WeightedRoundRobinConfig
	members []Member

	next   atomic.Uint64
	due    atomic.Int64 // when weights are reckoned anew
	stride atomic.Pointer[stride]
}

// Choose implements [Chooser].
func (w *weightedRoundRobin) Choose(c Choice) int {
	if c.InUse == 0 {
		return -1
	}
	// Whoever is first reckons; the others go on with what there is.
	if due := w.due.Load(); c.Now >= due && w.due.CompareAndSwap(due, c.Now+int64(w.config.WeightUpdatePeriod)) {
		w.stride.Store(newStride(w.weights(c)))
	}
	s := w.stride.Load()
	for range maxRedraws {
		if i := s.turn(&w.next, c.InUse); i >= 0 && c.Admits(i) {
			return i
		}
	}
	return -1
}

// weights returns the members' weights now.
func (w *weightedRoundRobin) weights(c Choice) []float64 {
	weights := make([]float64, len(w.members))
	var sum float64
	known := 0
	for i := range w.members {
		if x := w.members[i].Node.load.weight(c.Now, &w.config); x > 0 {
			weights[i] = x
			sum += x
			known++
		}
	}
	for i := range weights {
		switch {
		case known < 2:
			weights[i] = 1
		case weights[i] == 0:
			weights[i] = sum / float64(known)
		}
		weights[i] *= c.Share(i)
	}
	return weights
}
