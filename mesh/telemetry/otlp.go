package telemetry

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers of OTLP's fields (opentelemetry/proto/metrics/v1). They are written by hand:
// the descriptors of its messages would be a seventh of what a small process holds.
const (
	dataResources protowire.Number = 1

	resourcesResource protowire.Number = 1
	resourcesScopes   protowire.Number = 2

	resourceAttributes protowire.Number = 1

	scopesScope   protowire.Number = 1
	scopesMetrics protowire.Number = 2

	scopeName    protowire.Number = 1
	scopeVersion protowire.Number = 2

	metricName      protowire.Number = 1
	metricUnit      protowire.Number = 3
	metricGauge     protowire.Number = 5
	metricSum       protowire.Number = 7
	metricHistogram protowire.Number = 10

	// Of gauges, sums and histograms.
	metricPoints      protowire.Number = 1
	metricTemporality protowire.Number = 2
	sumMonotonic      protowire.Number = 3

	// Of both kinds of points.
	pointBegan protowire.Number = 2
	pointAt    protowire.Number = 3

	numberAttributes protowire.Number = 7
	numberDouble     protowire.Number = 4

	histogramAttributes protowire.Number = 1
	histogramCount      protowire.Number = 4
	histogramSum        protowire.Number = 5
	histogramScale      protowire.Number = 6
	histogramZeroCount  protowire.Number = 7
	histogramPositive   protowire.Number = 8
	histogramThreshold  protowire.Number = 14

	bucketsOffset protowire.Number = 1
	bucketsCounts protowire.Number = 2

	attributeKey   protowire.Number = 1
	attributeValue protowire.Number = 2
	valueString    protowire.Number = 1

	cumulative = 2 // AGGREGATION_TEMPORALITY_CUMULATIVE
)

// AppendOTLP appends a snapshot as a MetricsData of OTLP 1.x, which has the same bytes as
// the request of its collector service.
func (s *Snapshot) AppendOTLP(b []byte) []byte {
	w := writer{snapshot: s, metrics: map[string]*metric{}}
	for i := range s.Points {
		w.point(&s.Points[i])
	}
	for i := range s.Samples {
		w.sample(&s.Samples[i])
	}
	scope := appendString(nil, scopeName, "tulle")
	scope = appendString(scope, scopeVersion, s.Config.Library)
	scopes := appendMessage(nil, scopesScope, scope)
	for _, m := range w.list {
		scopes = appendMessage(scopes, scopesMetrics, m.encode())
	}
	resources := appendMessage(nil, resourcesResource, appendAttributes(nil, resourceAttributes, s.Config.attributes()))
	return appendMessage(b, dataResources, appendMessage(resources, resourcesScopes, scopes))
}

// attributes are those of the resource.
func (c *Config) attributes() []Attribute {
	name, namespace, _ := strings.Cut(c.Service, ".")
	if namespace == "" {
		namespace = "default"
	}
	zone := c.Zone
	if c.Region != "" {
		zone = c.Region + "/" + zone
	}
	return valid([]Attribute{
		{"service.name", name},
		{"service.namespace", namespace},
		{"service.instance.id", c.Instance},
		{"service.version", c.Version},
		{"tulle.zone", zone},
		{"telemetry.sdk.name", "tulle"},
		{"tulle.library", c.Library},
	})
}

// A metric is what has one name.
type metric struct {
	name   string
	kind   protowire.Number // of its data: a gauge, a sum or a histogram
	points []byte
}

func (m *metric) encode() []byte {
	data := m.points
	if m.kind != metricGauge {
		data = appendVarint(data, metricTemporality, cumulative)
	}
	if m.kind == metricSum {
		data = appendVarint(data, sumMonotonic, 1)
	}
	b := appendString(nil, metricName, m.name)
	if m.kind == metricHistogram {
		b = appendString(b, metricUnit, "s")
	}
	return appendMessage(b, m.kind, data)
}

// A writer puts points of one name into one metric.
type writer struct {
	snapshot *Snapshot
	list     []*metric
	metrics  map[string]*metric
	scratch  []byte
}

// add adds a point. One whose name is of another kind, which has come first, is left out.
func (w *writer) add(name string, kind protowire.Number, point []byte) {
	m := w.metrics[name]
	if m == nil {
		m = &metric{name: name, kind: kind}
		w.metrics[name] = m
		w.list = append(w.list, m)
	}
	if m.kind == kind {
		m.points = appendMessage(m.points, metricPoints, point)
	}
	w.scratch = point
}

func (w *writer) point(p *Point) {
	b := appendAttributes(w.scratch[:0], histogramAttributes, p.Attributes)
	b = appendAttributes(b, histogramAttributes, []Attribute{{"grpc.status", StatusName(p.Code)}})
	b = appendFixed64(b, pointBegan, unixNano(p.Began))
	b = appendFixed64(b, pointAt, unixNano(w.snapshot.At))
	b = appendFixed64(b, histogramCount, p.Count)
	b = appendFixed64(b, histogramSum, math.Float64bits(p.Sum))
	b = appendVarint(b, histogramScale, protowire.EncodeZigZag(Scale))
	b = appendFixed64(b, histogramZeroCount, p.Below)
	buckets := appendVarint(nil, bucketsOffset, protowire.EncodeZigZag(int64(p.Offset)))
	if len(p.Buckets) > 0 {
		counts := make([]byte, 0, 2*len(p.Buckets))
		for _, n := range p.Buckets {
			counts = protowire.AppendVarint(counts, n)
		}
		buckets = appendMessage(buckets, bucketsCounts, counts)
	}
	b = appendMessage(b, histogramPositive, buckets)
	b = appendFixed64(b, histogramThreshold, math.Float64bits(Threshold))
	w.add(p.Name, metricHistogram, b)
}

func (w *writer) sample(s *Sample) {
	b := appendAttributes(w.scratch[:0], numberAttributes, s.Attributes)
	b = appendFixed64(b, pointBegan, unixNano(w.snapshot.Began))
	b = appendFixed64(b, pointAt, unixNano(w.snapshot.At))
	b = appendFixed64(b, numberDouble, math.Float64bits(s.Value))
	kind := metricGauge
	if s.Sum {
		kind = metricSum
	}
	w.add(s.Name, kind, b)
}

func appendAttributes(b []byte, num protowire.Number, attributes []Attribute) []byte {
	for _, a := range attributes {
		value := appendString(nil, valueString, a.Value)
		b = appendMessage(b, num, appendMessage(appendString(nil, attributeKey, a.Key), attributeValue, value))
	}
	return b
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendMessage(b []byte, num protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), m)
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendFixed64(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), v)
}

func unixNano(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
