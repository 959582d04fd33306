package telemetry

import (
	"encoding/binary"
	"math/bits"
)

// kinds are what a record counts apart: the codes of gRPC and one for all others, or
// the kinds of a counter.
const kinds = 18

// otherCode is the kind of codes that gRPC does not have.
const otherCode = kinds - 1

// A record is what ended in one slot, or in several.
type record struct {
	counts [kinds]uint64
	times  histogram
}

func (r *record) add(o *record) { r.addIn(nil, o) }

// addIn is add that takes from a workspace what it needs.
func (r *record) addIn(w *workspace, o *record) {
	for i, n := range o.counts {
		r.counts[i] = sum(r.counts[i], n)
	}
	r.times.addIn(w, o.times)
}

// reset empties the record, and keeps its memory.
func (r *record) reset() {
	r.counts = [kinds]uint64{}
	r.times = r.times[:0]
}

func (r *record) empty() bool { return r.counts == [kinds]uint64{} && len(r.times) == 0 }

// calls is how many calls the record counts.
func (r *record) calls() (n uint64) {
	for _, c := range r.counts {
		n = sum(n, c)
	}
	return n
}

// append encodes the record: which kinds there are as bits, the count of each, and
// the histogram in the shorter of two forms, which the first bit says. Two hundred calls
// take about forty bytes, a few calls two each.
func (r *record) append(b []byte) []byte {
	var set uint64
	for i, n := range r.counts {
		if n > 0 {
			set |= 2 << i
		}
	}
	if dense(r.times) {
		set |= 1
	}
	b = binary.AppendUvarint(b, set)
	for _, n := range r.counts {
		if n > 0 {
			b = binary.AppendUvarint(b, n)
		}
	}
	if set&1 != 0 {
		return appendDense(b, r.times)
	}
	return appendHistogram(b, r.times)
}

// decode reads what append wrote into a record, and reports whether it is whole.
func (r *record) decode(b []byte) bool {
	r.counts = [kinds]uint64{}
	set, n := binary.Uvarint(b)
	if n <= 0 || set >= 2<<kinds {
		return false
	}
	isDense := set&1 != 0
	b = b[n:]
	for set >>= 1; set != 0; set &= set - 1 {
		count, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		r.counts[bits.TrailingZeros64(set)] = count
		b = b[n:]
	}
	var ok bool
	if isDense {
		r.times, ok = decodeDense(r.times[:0], b)
	} else {
		r.times, ok = decodeHistogram(r.times[:0], b)
	}
	return ok
}

// In the sparse form a bucket takes a byte: three bits say how far it is from the one before, five how
// much it counts, both less one. All bits set say that a varint follows.
const (
	wideGap  = 7
	manyOf   = 31
	gapShift = 5
)

func appendHistogram(b []byte, h histogram) []byte {
	last := int32(zeroIndex - 1)
	for _, one := range h {
		gap, count := uint64(one.index-last-1), one.count-1
		last = one.index
		b = append(b, byte(min(gap, wideGap)<<gapShift|min(count, manyOf)))
		if gap >= wideGap {
			b = binary.AppendUvarint(b, gap)
		}
		if count >= manyOf {
			b = binary.AppendUvarint(b, count)
		}
	}
	return b
}

// decodeHistogram appends to into what appendHistogram wrote, to the end of b.
func decodeHistogram(into histogram, b []byte) (histogram, bool) {
	last := int64(zeroIndex - 1)
	for len(b) > 0 {
		gap, count := uint64(b[0]>>gapShift), uint64(b[0]&manyOf)
		b = b[1:]
		if gap == wideGap {
			var n int
			if gap, n = binary.Uvarint(b); n <= 0 || gap > maxIndex-zeroIndex {
				return into, false
			}
			b = b[n:]
		}
		if count == manyOf {
			var n int
			if count, n = binary.Uvarint(b); n <= 0 || count+1 == 0 {
				return into, false
			}
			b = b[n:]
		}
		if last += int64(gap) + 1; last > maxIndex {
			return into, false
		}
		into = append(into, bucket{index: int32(last), count: count + 1})
	}
	return into, true
}

// In the dense form each bucket from the first to the last takes half a byte, whether
// it counts something or not. Fifteen says that the rest of its count follows, three
// bits in each half byte, the lowest first, of which the fourth says that there is more.
const (
	half     = 4
	moreHalf = 1<<half - 1
	bitsHalf = half - 1
	goesOn   = 1 << bitsHalf
)

// dense reports whether a histogram is shorter in the dense form.
func dense(h histogram) bool {
	if len(h) < 8 {
		return false
	}
	halves, sparse := int(h[len(h)-1].index-h[0].index)+1+4, 0
	for i, b := range h {
		if b.count >= moreHalf {
			halves += (bits.Len64(b.count-moreHalf)+bitsHalf-1)/bitsHalf + 1
		}
		sparse += 2
		if b.count > manyOf {
			sparse += 2
		}
		if i > 0 && b.index-h[i-1].index > wideGap {
			sparse += 2
		}
	}
	return halves < sparse
}

func appendDense(b []byte, h histogram) []byte {
	b = binary.AppendUvarint(b, uint64(h[0].index-zeroIndex))
	low := true
	put := func(n byte) {
		if low {
			b = append(b, n)
		} else {
			b[len(b)-1] |= n << half
		}
		low = !low
	}
	next := h[0].index
	for _, one := range h {
		for ; next < one.index; next++ {
			put(0)
		}
		next++
		if one.count < moreHalf {
			put(byte(one.count))
			continue
		}
		put(moreHalf)
		for rest := one.count - moreHalf; ; rest >>= bitsHalf {
			if rest < goesOn {
				put(byte(rest))
				break
			}
			put(byte(rest&(goesOn-1)) | goesOn)
		}
	}
	return b
}

// decodeDense appends to into what appendDense wrote, to the end of b.
func decodeDense(into histogram, b []byte) (histogram, bool) {
	first, n := binary.Uvarint(b)
	if n <= 0 || first > maxIndex-zeroIndex {
		return into, false
	}
	b = b[n:]
	at := 0
	get := func() byte {
		n := b[at/2] >> (at % 2 * half) & moreHalf
		at++
		return n
	}
	index := int32(first) + zeroIndex
	for ; at < 2*len(b); index++ {
		count := uint64(get())
		if count == moreHalf {
			for shift := 0; ; shift += bitsHalf {
				if at >= 2*len(b) || shift >= 63 {
					return into, false
				}
				n := uint64(get())
				count += n & (goesOn - 1) << shift
				if n < goesOn {
					break
				}
			}
		}
		switch {
		case count == 0:
		case index > maxIndex:
			return into, false
		default:
			into = append(into, bucket{index: index, count: count})
		}
	}
	return into, true
}
