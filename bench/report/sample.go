// Package report holds what a benchmark measured, and shows it: figures with their
// spread, tables, JSON and charts.
package report

import (
	"math"
	"slices"
)

// A Sample is one figure as each round measured it, in order of the rounds.
type Sample []float64

// A Spread is what a Sample comes to: the median, the quartiles and how many rounds.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"q1"`
	High   float64 `json:"q3"`
	Rounds int     `json:"rounds"`
}

// Spread sums a sample up; that of an empty one is zero. Quantiles lie between ranks.
func (s Sample) Spread() Spread {
	if len(s) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(s))
	return Spread{Median: quantile(sorted, 0.5), Low: quantile(sorted, 0.25), High: quantile(sorted, 0.75), Rounds: len(s)}
}

// Over returns the sample divided by another round by round, which takes out what the
// machine did to both. Rounds that only one has, or whose divisor is not above zero, are
// left out.
func (s Sample) Over(o Sample) Sample {
	return s.with(o, func(a, b float64) (float64, bool) { return a / b, b > 0 })
}

// Less returns the sample less another round by round.
func (s Sample) Less(o Sample) Sample {
	return s.with(o, func(a, b float64) (float64, bool) { return a - b, true })
}

func (s Sample) with(o Sample, f func(a, b float64) (float64, bool)) Sample {
	out := make(Sample, 0, min(len(s), len(o)))
	for i := range min(len(s), len(o)) {
		if v, ok := f(s[i], o[i]); ok && !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	return out
}

func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below+1 == len(sorted) {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}
