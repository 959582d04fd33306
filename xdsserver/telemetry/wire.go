package telemetry

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// A report is read by hand, and not by protobuf's own decoder: that makes a tree of
// a hundred times the size of what a hostile sender sent, before anybody could count.
// Read so, a report takes nothing but its points, of which there is a most.

const (
	// maxPoints bounds the points of one report, maxAttributes those of one point,
	// maxBuckets the buckets of all of them that count something.
	maxPoints     = 20_000
	maxAttributes = 24
	maxBuckets    = 1 << 18
	// maxResources bounds the processes of one report.
	maxResources = 64
)

var (
	errWire    = errors.New("telemetry: the report is no OTLP metrics in protobuf")
	errPoints  = errors.New("telemetry: the report has over 20,000 points, or over 262,144 buckets: report less at a time")
	errSources = errors.New("telemetry: the report has over 64 resources: report less at a time")
)

// An attribute points into the report that it was read from.
type attribute struct{ key, value []byte }

// A point is a data point that was read, of a metric that is known.
type point struct {
	metric metric
	// start and time are nanoseconds since 1970, as the sender's clock has it.
	start, time uint64
	// value is that of a sum or a gauge; the sum of values of a histogram.
	value float64
	// of is the scale of a histogram, count what it counts.
	of    int32
	count uint64
	// attributes and buckets are parts of the report's.
	attributes, buckets span
}

// A span is a part of a slice: from and up to.
type span struct{ from, to int }

// A source is a resource of a report, with its points.
type source struct{ attributes, points span }

// A report is what was read of a message. It is used again and again.
type report struct {
	sources    []source
	points     []point
	attributes []attribute
	buckets    histogram
	// refused are the points that were refused, by reason, ignored those of metrics
	// that are not known.
	refused [reasons]uint64
	ignored uint64

	counts []uint64
	bounds []float64
}

func (r *report) reset() {
	*r = report{
		sources: r.sources[:0], points: r.points[:0], attributes: r.attributes[:0], buckets: r.buckets[:0],
		counts: r.counts[:0], bounds: r.bounds[:0],
	}
}

// get returns an attribute within a span; nil where there is none.
func (r *report) get(s span, key string) []byte {
	for _, a := range r.attributes[s.from:s.to] {
		if string(a.key) == key {
			return a.value
		}
	}
	return nil
}

// A scan goes through the fields of a message.
type scan struct {
	rest []byte
	// The field: number is that of a varint or a fixed one, bytes a message or a text.
	num    protowire.Number
	typ    protowire.Type
	number uint64
	bytes  []byte
	// raw is the whole field with its tag.
	raw []byte
	err error
}

func (s *scan) next() bool {
	if s.err != nil || len(s.rest) == 0 {
		return false
	}
	before := s.rest
	num, typ, n := protowire.ConsumeTag(s.rest)
	if n < 0 {
		s.err = errWire
		return false
	}
	s.rest, s.num, s.typ = s.rest[n:], num, typ
	switch typ {
	case protowire.VarintType:
		s.number, n = protowire.ConsumeVarint(s.rest)
	case protowire.Fixed64Type:
		s.number, n = protowire.ConsumeFixed64(s.rest)
	case protowire.BytesType:
		s.bytes, n = protowire.ConsumeBytes(s.rest)
	default:
		n = protowire.ConsumeFieldValue(num, typ, s.rest)
	}
	if n < 0 {
		s.err = errWire
		return false
	}
	s.rest = s.rest[n:]
	s.raw = before[:len(before)-len(s.rest)]
	return true
}

// is reports whether the field has a number and a type.
func (s *scan) is(num protowire.Number, typ protowire.Type) bool { return s.num == num && s.typ == typ }

// read reads a whole ExportMetricsServiceRequest. What is wrong with single points is
// counted; an error is one of the message.
func (r *report) read(message []byte) error {
	s := scan{rest: message}
	for s.next() {
		if s.is(1, protowire.BytesType) {
			if err := r.readResource(s.bytes); err != nil {
				return err
			}
		}
	}
	return s.err
}

// readResource reads ResourceMetrics.
func (r *report) readResource(b []byte) error {
	if len(r.sources) >= maxResources {
		return errSources
	}
	src := source{attributes: span{len(r.attributes), len(r.attributes)}}
	s := scan{rest: b}
	for s.next() {
		if s.is(1, protowire.BytesType) {
			inner := scan{rest: s.bytes}
			for inner.next() {
				if inner.is(1, protowire.BytesType) && len(r.attributes)-src.attributes.from < 4*maxAttributes {
					if err := r.readAttribute(inner.bytes); err != nil {
						return err
					}
				}
			}
			if inner.err != nil {
				return inner.err
			}
		}
	}
	if s.err != nil {
		return s.err
	}
	src.attributes.to = len(r.attributes)
	src.points.from = len(r.points)
	for s = (scan{rest: b}); s.next(); {
		if s.is(2, protowire.BytesType) {
			inner := scan{rest: s.bytes}
			for inner.next() {
				if inner.is(2, protowire.BytesType) {
					if err := r.readMetric(inner.bytes); err != nil {
						return err
					}
				}
			}
			if inner.err != nil {
				return inner.err
			}
		}
	}
	src.points.to = len(r.points)
	r.sources = append(r.sources, src)
	return nil
}

// readAttribute reads a KeyValue; a value that is no text, number or truth is empty.
func (r *report) readAttribute(b []byte) error {
	var a attribute
	s := scan{rest: b}
	for s.next() {
		switch {
		case s.is(1, protowire.BytesType):
			a.key = s.bytes
		case s.is(2, protowire.BytesType):
			v := scan{rest: s.bytes}
			for v.next() {
				switch {
				case v.is(1, protowire.BytesType):
					a.value = v.bytes
				case v.is(2, protowire.VarintType) && v.number != 0:
					a.value = textTrue
				case v.is(2, protowire.VarintType):
					a.value = textFalse
				}
			}
			if v.err != nil {
				return v.err
			}
		}
	}
	r.attributes = append(r.attributes, a)
	return s.err
}

var textTrue, textFalse = []byte("true"), []byte("false")

// The fields of Metric that hold data points.
const (
	fieldGauge       = 5
	fieldSum         = 7
	fieldHistogram   = 9
	fieldExponential = 10
)

// cumulative is the one temporality that can be sent again, and be lost, without harm.
const cumulative = 2

// readMetric reads a Metric.
func (r *report) readMetric(b []byte) error {
	var name, data []byte
	var field protowire.Number
	s := scan{rest: b}
	for s.next() {
		if s.typ != protowire.BytesType {
			continue
		}
		switch s.num {
		case 1:
			name = s.bytes
		case fieldGauge, fieldSum, fieldHistogram, fieldExponential, 11:
			field, data = s.num, s.bytes
		}
	}
	if s.err != nil {
		return s.err
	}
	m, known := metricsByName[string(name)]
	temporality := uint64(0)
	points := uint64(0)
	for s = (scan{rest: data}); s.next(); {
		switch {
		case s.is(1, protowire.BytesType):
			points++
		case s.is(2, protowire.VarintType):
			temporality = s.number
		}
	}
	switch {
	case s.err != nil:
		return s.err
	case !known:
		r.ignored += points
		return nil
	case !m.fits(field):
		r.refused[reasonKind] += points
		return nil
	case field != fieldGauge && temporality != cumulative:
		r.refused[reasonTemporality] += points
		return nil
	}
	for s = (scan{rest: data}); s.next(); {
		if s.is(1, protowire.BytesType) {
			if err := r.readPoint(m, field, s.bytes); err != nil {
				return err
			}
		}
	}
	return nil
}

// noValue is the flag of a point that only says that there is none.
const noValue = 1

// readPoint reads a data point of any kind. Their fields differ in little but their
// attributes' number.
func (r *report) readPoint(m metric, field protowire.Number, b []byte) error {
	if len(r.points) >= maxPoints || len(r.buckets) >= maxBuckets {
		return errPoints
	}
	p := point{metric: m, of: scale}
	p.attributes = span{len(r.attributes), len(r.attributes)}
	p.buckets = span{len(r.buckets), len(r.buckets)}
	attributes, flags := protowire.Number(7), protowire.Number(8)
	switch field {
	case fieldHistogram:
		attributes, flags = 9, 10
	case fieldExponential:
		attributes, flags = 1, 10
	}
	var e exponential
	r.counts, r.bounds = r.counts[:0], r.bounds[:0]
	s := scan{rest: b}
	for s.next() {
		var err error
		switch {
		case s.is(attributes, protowire.BytesType):
			if len(r.attributes)-p.attributes.from >= maxAttributes {
				err = errWire
			} else {
				err = r.readAttribute(s.bytes)
			}
		case s.is(flags, protowire.VarintType):
			if s.number&noValue != 0 {
				r.attributes = r.attributes[:p.attributes.from]
				return nil
			}
		case s.is(2, protowire.Fixed64Type):
			p.start = s.number
		case s.is(3, protowire.Fixed64Type):
			p.time = s.number
		case field == fieldGauge || field == fieldSum:
			switch {
			case s.is(4, protowire.Fixed64Type):
				p.value = math.Float64frombits(s.number)
			case s.is(6, protowire.Fixed64Type):
				p.value = float64(int64(s.number))
			}
		case s.is(4, protowire.Fixed64Type):
			p.count = s.number
		case s.is(5, protowire.Fixed64Type):
			p.value = math.Float64frombits(s.number)
		case field == fieldExponential:
			e.read(&s)
		case s.is(6, protowire.BytesType) && len(s.bytes)%8 == 0:
			for b := s.bytes; len(b) > 0 && len(r.counts) < maxBounds; b = b[8:] {
				r.counts = append(r.counts, binary.LittleEndian.Uint64(b))
			}
		case s.is(7, protowire.BytesType) && len(s.bytes)%8 == 0:
			for b := s.bytes; len(b) > 0 && len(r.bounds) < maxBounds; b = b[8:] {
				r.bounds = append(r.bounds, math.Float64frombits(binary.LittleEndian.Uint64(b)))
			}
		}
		if err != nil {
			return err
		}
	}
	if s.err != nil {
		return s.err
	}
	p.attributes.to = len(r.attributes)
	why := reasonNone
	switch field {
	case fieldExponential:
		p.of = min(e.scale, scale)
		r.buckets, why = e.append(r.buckets, p.count)
	case fieldHistogram:
		r.buckets, why = appendExplicit(r.buckets, r.counts, r.bounds, p.count)
	}
	if math.IsNaN(p.value) || math.IsInf(p.value, 0) || p.value < 0 || p.value > maxValue {
		why = reasonValue
	}
	if why != reasonNone {
		r.refused[why]++
		r.attributes, r.buckets = r.attributes[:p.attributes.from], r.buckets[:p.buckets.from]
		return nil
	}
	p.buckets.to = len(r.buckets)
	sortAttributes(r.attributes[p.attributes.from:])
	r.points = append(r.points, p)
	return nil
}

// sortAttributes puts attributes in order of their keys: the same ones in any order
// are one series.
func sortAttributes(a []attribute) {
	slices.SortFunc(a, func(a, b attribute) int { return slices.Compare(a.key, b.key) })
}
