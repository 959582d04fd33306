package balancer

import (
	"math"
	"slices"
	"sync/atomic"
)

// A stride says whose turn it is, by weight: the static stride scheduler of gRPC's
// weighted round robin (C-core, static_stride_scheduler.cc), which needs no more than
// one counter. The counter goes through the members round after round, and each round
// passes over those whose weight is not enough for this one; a member of the greatest
// weight has its turn in each. It is immutable.
type stride struct {
	weights []uint16 // scaled, the greatest maxStride; nil means all alike
}

const (
	maxStride = math.MaxUint16
	// maxRatio and minRatio bound weights by their mean, as C-core does. They bound
	// what one absurd report can do, and how often a turn passes over members.
	maxRatio, minRatio = 10, 0.1
)

// newStride returns the stride of weights, which are above zero.
func newStride(weights []float64) *stride {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	mean := sum / float64(len(weights))
	if math.IsInf(mean, 0) || !slices.ContainsFunc(weights, func(w float64) bool { return w != weights[0] }) {
		return &stride{}
	}
	bounded := func(w float64) float64 { return min(max(w, mean*minRatio), mean*maxRatio) }
	scale := maxStride / bounded(slices.Max(weights))
	s := &stride{weights: make([]uint16, len(weights))}
	for i, w := range weights {
		s.weights[i] = uint16(math.Round(bounded(w) * scale))
	}
	return s
}

// turn returns whose turn it is among the first n members. It is negative where they
// are so much lighter than those behind that many rounds pass over all of them.
func (s *stride) turn(next *atomic.Uint64, n int) int {
	if len(s.weights) == 0 {
		return int((next.Add(1) - 1) % uint64(n))
	}
	for range maxRounds * n {
		at := next.Add(1) - 1
		i, round := at%uint64(n), at/uint64(n)
		weight := uint64(s.weights[i])
		// The product passes a multiple of maxStride weight times in maxStride
		// rounds. That neighbours begin half of it apart keeps two of like weight
		// from being passed over in the same rounds.
		if (weight*round+i*(maxStride/2))%maxStride >= maxStride-weight {
			return int(i)
		}
	}
	return -1
}

// maxRounds is how many rounds the lightest member is passed over, at most.
const maxRounds = maxRatio / minRatio
