package otel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// Producer returns what a reader of a MeterProvider asks for the mesh's metrics, through
// [metric.WithProducer]. Histograms are exponential, of scale 5, so that a percentile is
// off by 1.1 % at most. Values are cumulative, whatever temporality the reader prefers, and
// views do not apply: both are of what the SDK counts itself. It is safe for concurrent
// use, and holds nothing to close.
func Producer(src Source) metric.Producer { return producer{src} }

type producer struct{ src Source }

// Produce implements [metric.Producer].
func (p producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	s := p.src.Snapshot()
	w := writer{snapshot: s, places: map[string]int{}}
	for _, points := range [][]telemetry.Point{s.Points, s.GRPC()} {
		for i := range points {
			w.point(&points[i])
		}
	}
	for i := range s.Samples {
		w.sample(&s.Samples[i])
	}
	return []metricdata.ScopeMetrics{{
		Scope:   instrumentation.Scope{Name: scopeName, Version: s.Config.Library},
		Metrics: w.metrics,
	}}, nil
}

// A writer puts what has one name into one metric.
type writer struct {
	snapshot *telemetry.Snapshot
	metrics  []metricdata.Metrics
	places   map[string]int
}

func (w *writer) metric(name string) *metricdata.Metrics {
	at, ok := w.places[name]
	if !ok {
		at = len(w.metrics)
		w.places[name] = at
		d := telemetry.Describe(name)
		w.metrics = append(w.metrics, metricdata.Metrics{Name: name, Description: d.Text, Unit: d.Unit})
	}
	return &w.metrics[at]
}

func (w *writer) point(p *telemetry.Point) {
	m := w.metric(p.Name)
	h, ok := m.Data.(metricdata.ExponentialHistogram[float64])
	if !ok {
		h.Temporality = metricdata.CumulativeTemporality
	}
	h.DataPoints = append(h.DataPoints, metricdata.ExponentialHistogramDataPoint[float64]{
		Attributes:     withStatus(p),
		StartTime:      p.Began,
		Time:           w.snapshot.At,
		Count:          p.Count,
		Sum:            p.Sum,
		Scale:          telemetry.Scale,
		ZeroCount:      p.Below,
		ZeroThreshold:  telemetry.Threshold,
		PositiveBucket: metricdata.ExponentialBucket{Offset: int32(p.Offset), Counts: p.Buckets},
	})
	m.Data = h
}

func (w *writer) sample(s *telemetry.Sample) {
	m := w.metric(s.Name)
	point := metricdata.DataPoint[float64]{
		Attributes: attribute.NewSet(keyValues(s.Attributes)...),
		Time:       w.snapshot.At,
		Value:      s.Value,
	}
	if !s.Sum {
		switch g := m.Data.(type) {
		case nil:
			m.Data = metricdata.Gauge[float64]{DataPoints: []metricdata.DataPoint[float64]{point}}
		case metricdata.Gauge[float64]:
			g.DataPoints = append(g.DataPoints, point)
			m.Data = g
		}
		return
	}
	point.StartTime = w.snapshot.Began
	switch sum := m.Data.(type) {
	case nil:
		m.Data = metricdata.Sum[float64]{
			DataPoints:  []metricdata.DataPoint[float64]{point},
			Temporality: metricdata.CumulativeTemporality,
			IsMonotonic: true,
		}
	case metricdata.Sum[float64]:
		sum.DataPoints = append(sum.DataPoints, point)
		m.Data = sum
	}
}

func withStatus(p *telemetry.Point) attribute.Set {
	all := keyValues(p.Attributes)
	return attribute.NewSet(append(all, attribute.String("grpc.status", telemetry.StatusName(p.Code)))...)
}

func keyValues(attributes []telemetry.Attribute) []attribute.KeyValue {
	all := make([]attribute.KeyValue, 0, len(attributes)+1)
	for _, a := range attributes {
		all = append(all, attribute.String(a.Key, a.Value))
	}
	return all
}
