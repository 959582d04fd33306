package telemetry

import (
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// OTLP writes a snapshot as the messages of OTLP 1.x. MetricsData has the same bytes as
// the request of its collector service.
func (s *Snapshot) OTLP() *metricspb.MetricsData {
	w := writer{snapshot: s, metrics: map[string]*metricspb.Metric{}}
	for i := range s.Points {
		w.point(&s.Points[i])
	}
	for i := range s.Samples {
		w.sample(&s.Samples[i])
	}
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource:     &resourcepb.Resource{Attributes: s.Config.attributes()},
		ScopeMetrics: []*metricspb.ScopeMetrics{{Scope: &commonpb.InstrumentationScope{Name: "tulle", Version: s.Config.Library}, Metrics: w.list}},
	}}}
}

// attributes are those of the resource.
func (c *Config) attributes() []*commonpb.KeyValue {
	name, namespace, _ := strings.Cut(c.Service, ".")
	if namespace == "" {
		namespace = "default"
	}
	zone := c.Zone
	if c.Region != "" {
		zone = c.Region + "/" + zone
	}
	return keyValues(valid([]Attribute{
		{"service.name", name},
		{"service.namespace", namespace},
		{"service.instance.id", c.Instance},
		{"service.version", c.Version},
		{"tulle.zone", zone},
		{"telemetry.sdk.name", "tulle"},
		{"tulle.library", c.Library},
	}))
}

func keyValues(attributes []Attribute) []*commonpb.KeyValue {
	all := make([]*commonpb.KeyValue, 0, len(attributes))
	for _, a := range attributes {
		all = append(all, &commonpb.KeyValue{Key: a.Key, Value: text(a.Value)})
	}
	return all
}

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

// A writer puts points of one name into one metric.
type writer struct {
	snapshot *Snapshot
	list     []*metricspb.Metric
	metrics  map[string]*metricspb.Metric
}

func (w *writer) metric(name string, create func() *metricspb.Metric) *metricspb.Metric {
	m := w.metrics[name]
	if m == nil {
		m = create()
		m.Name = name
		w.metrics[name] = m
		w.list = append(w.list, m)
	}
	return m
}

func (w *writer) point(p *Point) {
	m := w.metric(p.Name, func() *metricspb.Metric {
		return &metricspb.Metric{Unit: "s", Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{
			AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
		}}}
	})
	h := m.GetExponentialHistogram()
	if h == nil {
		return // an observer's sample has taken the name
	}
	sum := p.Sum
	attributes := make([]*commonpb.KeyValue, 0, len(p.Attributes)+1)
	attributes = append(attributes, keyValues(p.Attributes)...)
	attributes = append(attributes, &commonpb.KeyValue{Key: "grpc.status", Value: text(StatusName(p.Code))})
	h.DataPoints = append(h.DataPoints, &metricspb.ExponentialHistogramDataPoint{
		Attributes:        attributes,
		StartTimeUnixNano: unixNano(p.Began),
		TimeUnixNano:      unixNano(w.snapshot.At),
		Count:             p.Count,
		Sum:               &sum,
		Scale:             Scale,
		ZeroCount:         p.Below,
		ZeroThreshold:     Threshold,
		Positive:          &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: int32(p.Offset), BucketCounts: p.Buckets},
	})
}

func (w *writer) sample(s *Sample) {
	point := &metricspb.NumberDataPoint{
		Attributes:        keyValues(s.Attributes),
		StartTimeUnixNano: unixNano(w.snapshot.Began),
		TimeUnixNano:      unixNano(w.snapshot.At),
		Value:             &metricspb.NumberDataPoint_AsDouble{AsDouble: s.Value},
	}
	m := w.metric(s.Name, func() *metricspb.Metric {
		if s.Sum {
			return &metricspb.Metric{Data: &metricspb.Metric_Sum{Sum: &metricspb.Sum{
				AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
				IsMonotonic:            true,
			}}}
		}
		return &metricspb.Metric{Data: &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{}}}
	})
	switch data := m.GetData().(type) {
	case *metricspb.Metric_Sum:
		data.Sum.DataPoints = append(data.Sum.DataPoints, point)
	case *metricspb.Metric_Gauge:
		data.Gauge.DataPoints = append(data.Gauge.DataPoints, point)
	}
}

func unixNano(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
