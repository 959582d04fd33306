package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// newHistogram holds 1 us to a minute, to three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Microseconds(), 3)
}

// histogram is that of samples which callers kept each for themselves: while calls run,
// nothing is shared.
func histogram(samples [][]time.Duration) *hdrhistogram.Histogram {
	h := newHistogram()
	for _, of := range samples {
		for _, d := range of {
			_ = h.RecordValue(min(max(1, d.Microseconds()), time.Minute.Microseconds())) // in range
		}
	}
	return h
}

// Percentiles returns latencies in microseconds.
func (r Result) Percentiles(ps ...float64) ([]float64, error) {
	h, err := hdrhistogram.Decode(r.Latencies)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(ps))
	for i, p := range ps {
		out[i] = float64(h.ValueAtPercentile(p))
	}
	return out, nil
}
