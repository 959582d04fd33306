package telemetry

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// maxBounds bounds the buckets of a histogram that names their bounds; others have
	// some fifteen.
	maxBounds = 1000
	// maxCount is more than anybody can count to, and still exact as a float64.
	maxCount = 1 << 53
	maxValue = 1 << 53
	// minScale and maxScale bound the scale of an exponential histogram (OTLP, data model).
	minScale = -10
	maxScale = 20
)

// An exponential is the part of a data point that holds its buckets.
type exponential struct {
	scale              int32
	zero               uint64
	positive, negative []byte
}

func (e *exponential) read(s *scan) {
	switch {
	case s.is(6, protowire.VarintType):
		e.scale = int32(protowire.DecodeZigZag(s.number & math.MaxUint32))
	case s.is(7, protowire.Fixed64Type):
		e.zero = s.number
	case s.is(8, protowire.BytesType):
		e.positive = s.bytes
	case s.is(9, protowire.BytesType):
		e.negative = s.bytes
	}
}

// append appends the buckets to a histogram, and says why not, if it is no good.
func (e *exponential) append(h histogram, count uint64) (histogram, reason) {
	if e.scale < minScale || e.scale > maxScale {
		return h, reasonScale
	}
	if total, why := eachBucket(e.negative, func(int64, uint64) {}); total > 0 || why != reasonNone {
		return h, max(why, reasonValue)
	}
	from := len(h)
	if e.zero > 0 {
		h = append(h, bucket{index: zeroIndex, count: e.zero})
	}
	total, why := eachBucket(e.positive, func(index int64, n uint64) {
		at := place(index, e.scale)
		if last := len(h) - 1; last >= from && h[last].index == at {
			h[last].count = sum(h[last].count, n)
		} else {
			h = append(h, bucket{index: at, count: n})
		}
	})
	switch total = sum(total, e.zero); {
	case why != reasonNone:
		return h, why
	case total > maxCount || total != count:
		return h, reasonCount
	}
	return h, reasonNone
}

// eachBucket calls yield with the buckets of a Buckets message that count something,
// in order. The offset comes before the counts or after them.
func eachBucket(message []byte, yield func(index int64, n uint64)) (total uint64, why reason) {
	var offset int64
	buckets := 0
	s := scan{rest: message}
	for s.next() {
		if s.is(1, protowire.VarintType) {
			offset = protowire.DecodeZigZag(s.number & math.MaxUint32)
		}
	}
	if s.err != nil {
		return 0, reasonCount
	}
	for s = (scan{rest: message}); s.next(); {
		if s.num != 2 {
			continue
		}
		counts := s.bytes
		if s.typ == protowire.VarintType { // not packed
			if s.number > 0 {
				total = sum(total, s.number)
				yield(offset+int64(buckets), s.number)
			}
			buckets++
			continue
		}
		for len(counts) > 0 {
			n, size := protowire.ConsumeVarint(counts)
			if size < 0 {
				return total, reasonCount
			}
			counts = counts[size:]
			if n > 0 {
				total = sum(total, n)
				yield(offset+int64(buckets), n)
			}
			buckets++
		}
	}
	return total, reasonNone
}

// appendExplicit appends the buckets of a histogram that names their bounds, in
// seconds: each goes whole into the middle of where it lies, so that percentiles of
// such senders are as coarse as their buckets.
func appendExplicit(h histogram, counts []uint64, bounds []float64, count uint64) (histogram, reason) {
	if len(counts) == 0 && count == 0 {
		return h, reasonNone
	}
	if len(counts) != len(bounds)+1 || len(counts) >= maxBounds {
		return h, reasonCount
	}
	from := len(h)
	var total uint64
	for i, n := range counts {
		if i < len(bounds) && (math.IsNaN(bounds[i]) || math.IsInf(bounds[i], 0) || i > 0 && bounds[i] <= bounds[i-1]) {
			return h, reasonScale
		}
		if n == 0 {
			continue
		}
		total = sum(total, n)
		at := bucketOf(middle(bounds, i))
		if last := len(h) - 1; last >= from && h[last].index == at {
			h[last].count = sum(h[last].count, n)
		} else {
			h = append(h, bucket{index: at, count: n})
		}
	}
	if total > maxCount || total != count {
		return h, reasonCount
	}
	return h, reasonNone
}

// middle is the value in the middle of a bucket on a logarithmic scale. The first has
// no lower bound but zero, and the last no upper: they reach as far as twice.
func middle(bounds []float64, i int) float64 {
	switch {
	case len(bounds) == 0:
		return 0
	case i == len(bounds):
		return max(bounds[i-1], 0) * math.Sqrt2
	case i == 0 || bounds[i-1] <= 0:
		return max(bounds[i], 0) / math.Sqrt2
	}
	return math.Sqrt(bounds[i-1] * bounds[i])
}
