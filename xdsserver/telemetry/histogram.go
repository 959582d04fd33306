package telemetry

import "math"

const (
	// scale is that of every histogram that is kept, as OTLP has it: a bucket is
	// 2^(1/32) times as wide as the one below it. Processes of the mesh report in it.
	scale = 5
	// minIndex and maxIndex are the first and the last bucket that is kept apart, from
	// 2^-20 s, about a microsecond, to 2^12 s. What lies outside is counted in them.
	minIndex = -20 << scale
	maxIndex = 12<<scale - 1
	// zeroIndex is the bucket of what took no time that could be measured.
	zeroIndex = minIndex - 1
)

// A bucket counts what took between 2^(index/32) and 2^((index+1)/32) seconds.
type bucket struct {
	index int32
	count uint64
}

// A histogram holds its buckets in order; each is there once, and counts something.
type histogram []bucket //nolint:recvcheck // add grows it, what reads it takes the value

// count is how much the histogram counts.
func (h histogram) count() (n uint64) {
	for _, b := range h {
		n = sum(n, b.count)
	}
	return n
}

// add adds b to a histogram, in place where all buckets of b are in it.
func (h *histogram) add(b histogram) { h.addIn(nil, b) }

// addIn is add that takes from a workspace what it needs.
func (h *histogram) addIn(w *workspace, b histogram) {
	i, missing := 0, 0
	for _, one := range b {
		for i < len(*h) && (*h)[i].index < one.index {
			i++
		}
		if i == len(*h) || (*h)[i].index != one.index {
			missing++
		}
	}
	if missing == 0 {
		i = 0
		for _, one := range b {
			for (*h)[i].index < one.index {
				i++
			}
			(*h)[i].count = sum((*h)[i].count, one.count)
		}
		return
	}
	// From the end, so that nothing is overwritten before it has moved.
	old := len(*h)
	*h = w.grow(*h, missing)[:old+missing]
	at, from := old+missing-1, old-1
	for k := len(b) - 1; k >= 0; at-- {
		switch {
		case from >= 0 && (*h)[from].index > b[k].index:
			(*h)[at] = (*h)[from]
			from--
		case from >= 0 && (*h)[from].index == b[k].index:
			(*h)[at] = bucket{index: b[k].index, count: sum((*h)[from].count, b[k].count)}
			from--
			k--
		default:
			(*h)[at] = b[k]
			k--
		}
	}
}

// minus appends to into what now has more than before, and reports whether it has
// less of nothing.
func minus(into, now, before histogram) (histogram, bool) {
	for _, b := range now {
		if len(before) > 0 && before[0].index < b.index {
			return into, false
		}
		if len(before) > 0 && before[0].index == b.index {
			if before[0].count > b.count {
				return into, false
			}
			b.count -= before[0].count
			before = before[1:]
		}
		if b.count > 0 {
			into = append(into, b)
		}
	}
	return into, len(before) == 0
}

// place is the bucket, within those that are kept, of one of another scale: of
// several narrow ones, or in the middle of a wide one.
func place(index int64, of int32) int32 {
	if of >= scale {
		index >>= min(of-scale, 62)
	} else {
		shift := scale - of
		if limit := int64(1) << 40; index > limit || index < -limit {
			index = min(max(index, -limit), limit)
		}
		index = index<<shift + 1<<(shift-1)
	}
	return int32(min(max(index, minIndex), maxIndex))
}

// coarse puts the buckets where place does those of a wider scale: a sender that
// widened its buckets counted before in narrower ones. It changes h.
func (h histogram) coarse(of int32) histogram {
	if of >= scale {
		return h
	}
	out := h[:0]
	for _, b := range h {
		if b.index != zeroIndex {
			b.index = place(int64(b.index)>>(scale-of), of)
		}
		if n := len(out); n > 0 && out[n-1].index == b.index {
			out[n-1].count = sum(out[n-1].count, b.count)
			continue
		}
		out = append(out, b)
	}
	return out
}

// wideShift is how many doublings wider the buckets of long ago are: 9 %.
const wideShift = 2

// widen joins buckets, and numbers them from minIndex on. It changes h.
func (h histogram) widen() histogram {
	out := h[:0]
	for _, b := range h {
		if b.index != zeroIndex {
			b.index = (b.index-minIndex)>>wideShift + minIndex
		}
		if n := len(out); n > 0 && out[n-1].index == b.index {
			out[n-1].count = sum(out[n-1].count, b.count)
			continue
		}
		out = append(out, b)
	}
	return out
}

// narrow puts what widen joined into the middle of where it was. It changes h.
func (h histogram) narrow() {
	for i, b := range h {
		if b.index != zeroIndex {
			h[i].index = (b.index-minIndex)<<wideShift + minIndex + 1<<(wideShift-1)
		}
	}
}

// like divides what was joined as it is divided in a histogram that holds it, too.
func (h histogram) like(all histogram) histogram {
	var out histogram
	for _, b := range h {
		if b.index == zeroIndex {
			out = append(out, b)
			continue
		}
		first := b.index &^ (1<<wideShift - 1)
		for len(all) > 0 && (all[0].index < first || all[0].index == zeroIndex) {
			all = all[1:]
		}
		var total, below, given uint64
		n := 0
		for n < len(all) && all[n].index < first+1<<wideShift {
			total = sum(total, all[n].count)
			n++
		}
		if total == 0 {
			out = append(out, b)
			continue
		}
		for _, part := range all[:n] {
			below += part.count
			upTo := uint64(math.Round(float64(b.count) * (float64(below) / float64(total))))
			if upTo > given {
				out = append(out, bucket{index: part.index, count: upTo - given})
				given = upTo
			}
		}
	}
	return out
}

// bucketOf is the bucket of a duration in seconds: the greatest index whose lower
// bound lies below it.
func bucketOf(seconds float64) int32 {
	if !(seconds > 0) {
		return zeroIndex
	}
	index := math.Ceil(math.Log2(seconds)*(1<<scale)) - 1
	return int32(min(max(index, minIndex), maxIndex))
}

// inner is the part of a bucket, from its middle, within which percentiles are
// interpolated. A bucket is 2.19 % wide: to its edges, a percentile could be wrong
// by all of that where many values are the same; so it never is by 2 %.
const inner = 0.8

// percentile is the value, in seconds, that the share q of what is counted does not
// exceed, interpolated on a logarithmic scale. Zero where nothing is counted.
func (h histogram) percentile(q float64) float64 {
	total := h.count()
	if total == 0 {
		return 0
	}
	rank := min(max(uint64(math.Ceil(q*float64(total))), 1), total)
	var below uint64
	for _, b := range h {
		if rank <= below+b.count {
			if b.index == zeroIndex {
				return 0
			}
			within := (float64(rank-below) - 0.5) / float64(b.count)
			return math.Exp2((float64(b.index) + 0.5 + (within-0.5)*inner) / (1 << scale))
		}
		below += b.count
	}
	return 0
}

// upper is the upper bound of a bucket, in seconds.
func upper(index int32) float64 { return math.Exp2(float64(index+1) / (1 << scale)) }

// sum adds counts of which one may be a lie: it stays at the largest.
func sum(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}
