package telemetry

import (
	"encoding/binary"
	"math/bits"
	"slices"
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

func (r *record) add(o *record) {
	for i, n := range o.counts {
		r.counts[i] = sum(r.counts[i], n)
	}
	r.times.add(o.times)
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
// the histogram. Fifty calls take about thirty bytes.
func (r *record) append(b []byte) []byte {
	var set uint64
	for i, n := range r.counts {
		if n > 0 {
			set |= 1 << i
		}
	}
	b = binary.AppendUvarint(b, set)
	for _, n := range r.counts {
		if n > 0 {
			b = binary.AppendUvarint(b, n)
		}
	}
	return appendHistogram(b, r.times)
}

// decode reads what append wrote into a record, and reports whether it is whole.
func (r *record) decode(b []byte) bool {
	r.counts = [kinds]uint64{}
	set, n := binary.Uvarint(b)
	if n <= 0 || set >= 1<<kinds {
		return false
	}
	for b = b[n:]; set != 0; set &= set - 1 {
		count, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		r.counts[bits.TrailingZeros64(set)] = count
		b = b[n:]
	}
	var ok bool
	r.times, ok = decodeHistogram(r.times[:0], b)
	return ok
}

// A bucket takes a byte: three bits say how far it is from the one before, five how
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

// clone is a record that shares nothing with this one.
func (r *record) clone() record {
	return record{counts: r.counts, times: slices.Clone(r.times)}
}
