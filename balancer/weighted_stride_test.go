package balancer

import (
	"math"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestTurnsAreByWeight(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weights []float64
		want    []float64 // shares
	}{
		{"all alike", []float64{3, 3, 3, 3}, []float64{0.25, 0.25, 0.25, 0.25}},
		{"one twice as heavy", []float64{1, 2, 1}, []float64{0.25, 0.5, 0.25}},
		{"a lone one", []float64{5}, []float64{1}},
		{"a heavy one counts for ten times the mean", append(slices.Repeat([]float64{1}, 99), 1e9), nil},
		{"weights that add up to more than there is are alike", []float64{math.MaxFloat64, math.MaxFloat64, 1}, []float64{1. / 3, 1. / 3, 1. / 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shares := sharesOf(t, newStride(tt.weights), len(tt.weights), 100_000)
			for i, want := range tt.want {
				if math.Abs(shares[i]-want) > 0.001 {
					t.Errorf("shares are %v, want %v", shares, tt.want)
					break
				}
			}
			if tt.want == nil {
				// Of the mean of 1e7 the others have a tenth, at least, and it ten times.
				if last := shares[len(shares)-1]; last > 0.6 || last < 0.4 {
					t.Errorf("the heavy one has %v", last)
				}
			}
		})
	}
}

// sharesOf takes so many turns.
func sharesOf(t *testing.T, s *stride, n, turns int) []float64 {
	t.Helper()
	var next atomic.Uint64
	shares := make([]float64, n)
	for range turns {
		i := s.turn(&next, n)
		if i < 0 || i >= n {
			t.Fatalf("it is the turn of %d of %d", i, n)
		}
		shares[i] += 1 / float64(turns)
	}
	return shares
}

func TestSharesOfAnyWeights(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		weights := rapid.SliceOfN(rapid.Float64Range(1, 8), 1, 20).Draw(r, "weights")
		inUse := rapid.IntRange(1, len(weights)).Draw(r, "in use")
		var next atomic.Uint64
		next.Store(rapid.Uint64Range(0, math.MaxUint32).Draw(r, "next"))
		s := newStride(weights)
		var sum float64
		for _, w := range weights[:inUse] {
			sum += w
		}
		const turns = 20_000
		got := make([]float64, inUse)
		for range turns {
			i := s.turn(&next, inUse)
			if i < 0 {
				r.Fatal("it is nobody's turn")
			}
			got[i] += 1. / turns
		}
		for i := range got {
			if want := weights[i] / sum; math.Abs(got[i]-want) > 0.02*want+0.002 {
				r.Fatalf("member %d of weights %v has %v, want %v", i, weights[:inUse], got[i], want)
			}
		}
	})
}

// Turns are spread: no member waits much longer than its share says.
func TestTurnsOfOneMemberAreApart(t *testing.T) {
	s := newStride([]float64{1, 4, 4, 1})
	var next atomic.Uint64
	last := [4]int{}
	for turn := 1; turn <= 10_000; turn++ {
		i := s.turn(&next, 4)
		gap := turn - last[i]
		if most := 20; gap > most {
			t.Fatalf("member %d waited for %d turns", i, gap)
		}
		last[i] = turn
	}
}
