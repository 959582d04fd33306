package hedge

import (
	"maps"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// The buckets of a [Latency]: eight to an octave, each up to 2^(1/8) = 1.09 times its
// lower bound, from 66 µs to 69 s. The first holds all that is faster, the last all
// that is slower.
const (
	minExponent = 16 // 2^16 ns
	maxExponent = 36 // 2^36 ns
	perOctave   = 8
	buckets     = (maxExponent-minExponent)*perOctave + 2
)

const (
	// span is how long one window is. Two are looked at, so that an estimate is of
	// the last 10 to 20 seconds.
	span = 10 * time.Second
	// enough is how many calls an estimate needs: of fewer, a 95th percentile is the
	// chance of five.
	enough = 100
	// fresh is how long an estimate is used before another is made.
	fresh = 100 * time.Millisecond
)

// A Latency is what the calls of one method took in the last 10 to 20 seconds, as a
// histogram of 1.4 KB. It is safe for concurrent use, and has no lock: a call that is
// counted while a window begins anew may be forgotten.
//
// An estimate of a quantile is the upper bound of the bucket that the quantile is in:
// never below the true one, and at most 9.1 % above. One within the bucket would be
// closer, and would hedge every call of a service that always takes the same time.
type Latency struct {
	windows [2]window
	// last is the estimate in use, nil before the first.
	last atomic.Pointer[estimate]
}

// A window is the histogram of one span of time.
type window struct {
	number atomic.Int64 // of spans since the epoch
	counts [buckets]atomic.Uint32
}

// An estimate is immutable.
type estimate struct {
	share float64 // the quantile
	made  int64   // nanoseconds since the epoch
	value time.Duration
	ok    bool
}

// Observe counts a call that took d and ends now. It does not allocate.
func (l *Latency) Observe(now time.Time, d time.Duration) {
	number := now.UnixNano() / int64(span)
	w := &l.windows[number&1]
	// A clock that was set back begins windows anew as well.
	if old := w.number.Load(); old != number && w.number.CompareAndSwap(old, number) {
		for i := range w.counts {
			w.counts[i].Store(0)
		}
	}
	w.counts[bucketOf(d)].Add(1)
}

// Quantile returns how long the share (0 to 1) of the calls that are answered first
// takes at most, and false where it has seen too few calls to say so: fewer than 100,
// or where the answer lies beyond 69 s. It makes an estimate every 100 ms, and
// allocates only then.
func (l *Latency) Quantile(now time.Time, share float64) (time.Duration, bool) {
	e := l.last.Load()
	if age := now.UnixNano(); e == nil || e.share != share || age-e.made >= int64(fresh) || age < e.made {
		e = l.estimate(now, share)
		l.last.Store(e)
	}
	return e.value, e.ok
}

// estimate reads both windows, without a lock: a call that is counted meanwhile is in
// it or not.
func (l *Latency) estimate(now time.Time, share float64) *estimate {
	e := &estimate{share: share, made: now.UnixNano()}
	number := now.UnixNano() / int64(span)
	var counts [buckets]uint64
	var total uint64
	for i := range l.windows {
		w := &l.windows[i]
		if n := w.number.Load(); n != number && n != number-1 {
			continue
		}
		for b := range w.counts {
			n := uint64(w.counts[b].Load())
			counts[b] += n
			total += n
		}
	}
	if total < enough {
		return e
	}
	// At most this many calls may take longer.
	slower := uint64(float64(total) * (1 - share))
	var above uint64
	for b := buckets - 1; b >= 0; b-- {
		above += counts[b]
		if above > slower {
			if b < buckets-1 {
				e.value, e.ok = upperBound(b), true
			}
			return e
		}
	}
	return e
}

// subs are where the buckets of an octave begin, as 32 bits after the leading one:
// 2^32 * (2^(i/8) - 1).
var subs = [perOctave]uint32{
	0, 0x172b83c7, 0x306fe0a3, 0x4bfdad53, 0x6a09e667, 0x8ace5422, 0xae89f995, 0xd5818dcf,
}

// bucketOf returns the bucket of a latency.
func bucketOf(d time.Duration) int {
	if d < 1<<minExponent {
		return 0
	}
	if d >= 1<<maxExponent {
		return buckets - 1
	}
	exponent := bits.Len64(uint64(d)) - 1
	fraction := uint32(uint64(d) << (63 - exponent) << 1 >> 32)
	sub := 0
	for step := perOctave / 2; step > 0; step /= 2 {
		if fraction >= subs[sub+step] {
			sub += step
		}
	}
	return 1 + (exponent-minExponent)*perOctave + sub
}

// upperBound returns the least latency above those of a bucket.
func upperBound(bucket int) time.Duration {
	exponent, sub := minExponent+bucket/perOctave, bucket%perOctave
	bound := uint64(1) << exponent
	if exponent >= 32 {
		return time.Duration(bound + uint64(subs[sub])<<(exponent-32))
	}
	shift := 32 - exponent
	return time.Duration(bound + (uint64(subs[sub])+1<<shift-1)>>shift) // up: what is below is in the bucket
}

// maxMethods bounds the methods whose latency a process remembers, to 1.4 MB. Calls
// of others are not hedged by quantile.
const maxMethods = 1000

// latencies are the quantiles by method.
type latencies struct {
	known atomic.Pointer[map[methodKey]*Latency] // the map is immutable

	mu sync.Mutex // guards changes of known
}

type methodKey struct{ service, method string }

// of returns the Quantile of a method, nil where there are too many.
func (l *latencies) of(service, method string) *Latency {
	key := methodKey{service, method}
	if known := l.known.Load(); known != nil {
		if q := (*known)[key]; q != nil {
			return q
		}
	}
	return l.add(key)
}

func (l *latencies) add(key methodKey) *Latency {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := map[methodKey]*Latency{}
	if known := l.known.Load(); known != nil {
		if q := (*known)[key]; q != nil || len(*known) >= maxMethods {
			return q
		}
		next = maps.Clone(*known)
	}
	q := &Latency{}
	next[key] = q
	l.known.Store(&next)
	return q
}
