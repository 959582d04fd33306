package telemetry

import (
	"math"
	"sync/atomic"
	"time"
)

// Threshold is the latency, in seconds, up to which calls are not told apart.
const Threshold = 1.0 / (1 << -minExponent)

const (
	// Scale is that of all histograms, as OTLP has it: each bucket is 2^(1/32) times as
	// wide as the one below, so that a percentile is off by 1.1 % at most.
	Scale = 5
	// perOctave is how many buckets lie between a latency and its double.
	perOctave = 1 << Scale
	// The octaves that are told apart go from 2^-17 s, 7.6 us, to 2^9 s, 8.5 min. What
	// takes less is counted as below, what takes more in the last bucket.
	minExponent = -17
	maxExponent = 8
	octaves     = maxExponent - minExponent + 1
)

// bounds are the upper bounds of an octave's buckets, as the mantissas of their
// floating-point numbers. OTLP's buckets include their upper bound; so do these.
var bounds = func() (b [perOctave]uint64) {
	for i := range b {
		b[i] = math.Float64bits(math.Exp2(float64(i+1)/perOctave)) & mantissa
	}
	b[perOctave-1] = mantissa // the double itself is the next octave's
	return b
}()

const (
	mantissaBits = 52
	mantissa     = 1<<mantissaBits - 1
	// guessBits is how much of a mantissa it takes to be at most one bucket off.
	guessBits = 7
)

// guesses are, by the first bits of a mantissa, the first bucket that it may be in.
var guesses = func() (g [1 << guessBits]uint8) {
	for i := range g {
		first := uint64(i) << (mantissaBits - guessBits)
		for bounds[g[i]] < first {
			g[i]++
		}
	}
	return g
}()

// A histogram counts latencies. It takes memory for the octaves it has seen, 256 bytes
// each. Its zero value is empty, and it is safe for concurrent use.
type histogram struct {
	began   time.Time
	below   atomic.Uint64
	nanos   atomic.Uint64 // the sum
	octaves [octaves]atomic.Pointer[octave]
	told    atomic.Uint64 // the count that xdsserver has answered
}

type octave [perOctave]atomic.Uint64

// place returns the octave and the bucket in it of a latency; below is whether it is
// shorter than what is told apart.
func place(took time.Duration) (exponent, bucket int, below bool) {
	bits := math.Float64bits(float64(took) * 1e-9)
	exponent = int(bits>>mantissaBits) - 1023
	m := bits & mantissa
	if m == 0 { // a power of two closes the octave below
		exponent, m = exponent-1, mantissa
	}
	switch {
	case took <= 0 || exponent < minExponent:
		return 0, 0, true
	case exponent > maxExponent:
		return maxExponent, perOctave - 1, false
	}
	bucket = int(guesses[m>>(mantissaBits-guessBits)])
	for bounds[bucket] < m {
		bucket++
	}
	return exponent, bucket, false
}

func (h *histogram) record(took time.Duration) {
	exponent, bucket, below := place(took)
	if took > 0 {
		h.nanos.Add(uint64(took))
	}
	if below {
		h.below.Add(1)
		return
	}
	at := &h.octaves[exponent-minExponent]
	o := at.Load()
	if o == nil {
		o = new(octave)
		if !at.CompareAndSwap(nil, o) {
			o = at.Load()
		}
	}
	o[bucket].Add(1)
}

// count is how many latencies were counted.
func (h *histogram) count() uint64 {
	n := h.below.Load()
	for i := range h.octaves {
		if o := h.octaves[i].Load(); o != nil {
			for j := range o {
				n += o[j].Load()
			}
		}
	}
	return n
}

// point fills in what was counted. The count is the sum of the buckets, so that the two
// agree while others count on.
func (h *histogram) point(p *Point) {
	first, last := -1, -1
	for i := range h.octaves {
		if h.octaves[i].Load() != nil {
			if last = i; first < 0 {
				first = i
			}
		}
	}
	p.Below = h.below.Load()
	p.Count = p.Below
	p.Sum = float64(h.nanos.Load()) / 1e9
	if first < 0 {
		return
	}
	p.Buckets = make([]uint64, (last-first+1)*perOctave)
	p.Offset = (first + minExponent) * perOctave
	for i := first; i <= last; i++ {
		o := h.octaves[i].Load()
		if o == nil {
			continue
		}
		for j := range o {
			n := o[j].Load()
			p.Buckets[(i-first)*perOctave+j] = n
			p.Count += n
		}
	}
	p.trim()
}

// trim leaves out empty buckets at both ends.
func (p *Point) trim() {
	for len(p.Buckets) > 0 && p.Buckets[0] == 0 {
		p.Buckets, p.Offset = p.Buckets[1:], p.Offset+1
	}
	for n := len(p.Buckets); n > 0 && p.Buckets[n-1] == 0; n-- {
		p.Buckets = p.Buckets[:n-1]
	}
}

// Merge adds to p what q counted, whatever else tells the two apart.
func (p *Point) Merge(q *Point) {
	if q.Count > 0 && (p.Count == 0 || q.Began.Before(p.Began)) {
		p.Began = q.Began
	}
	p.Count, p.Sum, p.Below = p.Count+q.Count, p.Sum+q.Sum, p.Below+q.Below
	if len(q.Buckets) == 0 {
		return
	}
	if len(p.Buckets) == 0 {
		p.Offset, p.Buckets = q.Offset, q.Buckets
		return
	}
	first, end := min(p.Offset, q.Offset), max(p.Offset+len(p.Buckets), q.Offset+len(q.Buckets))
	buckets := make([]uint64, end-first) // those of p may be a snapshot's
	copy(buckets[p.Offset-first:], p.Buckets)
	for i, n := range q.Buckets {
		buckets[q.Offset-first+i] += n
	}
	p.Offset, p.Buckets = first, buckets
}

// Quantile returns how long the share q of the calls took at most, from 0 to 1, in
// seconds: the middle of a bucket, so that it is off by 1.1 % at most. It is zero where
// there were no calls, and for those below what is told apart.
func (p *Point) Quantile(q float64) float64 {
	rest := q * float64(p.Count)
	if p.Count == 0 || p.Below > 0 && rest <= float64(p.Below) {
		return 0
	}
	rest -= float64(p.Below)
	last := p.Offset
	for i, n := range p.Buckets {
		if n == 0 {
			continue
		}
		last = p.Offset + i
		if rest -= float64(n); rest <= 0 {
			break
		}
	}
	return Middle(last)
}

// Middle returns the middle of a bucket, on the scale on which all are equally wide, in
// seconds. The bucket of a point's Buckets[i] is Offset+i.
func Middle(bucket int) float64 { return math.Exp2((float64(bucket) + 0.5) / perOctave) }
