package otel

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/metric"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// Register has a MeterProvider observe the mesh's metrics, through nothing but the
// OpenTelemetry API: counters and gauges as they are, and of each histogram how many calls
// it counts and how long they took together, as tulle.client.call.duration.count and
// tulle.client.call.duration.sum. For percentiles, give [Producer] to the reader instead,
// not as well. It observes until Unregister is called on what it returns.
func Register(provider metric.MeterProvider, src Source) (metric.Registration, error) {
	o := observables{
		counts: map[string]metric.Float64ObservableCounter{},
		gauges: map[string]metric.Float64ObservableGauge{},
	}
	meter := provider.Meter(scopeName, metric.WithInstrumentationVersion(src.Snapshot().Config.Library))
	for name, d := range telemetry.Descriptions() {
		if err := o.add(meter, name, d); err != nil {
			return nil, fmt.Errorf("otel: instrument %s: %w", name, err)
		}
	}
	r, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		o.observe(to, src.Snapshot())
		return nil
	}, o.all...)
	if err != nil {
		return nil, fmt.Errorf("otel: callback: %w", err)
	}
	return r, nil
}

// observables are instruments, by name.
type observables struct {
	counts map[string]metric.Float64ObservableCounter
	gauges map[string]metric.Float64ObservableGauge
	all    []metric.Observable
}

func (o *observables) add(meter metric.Meter, name string, d telemetry.Description) error {
	unit, text := metric.WithUnit(d.Unit), metric.WithDescription(d.Text)
	counter := func(name string, unit metric.InstrumentOption) error {
		c, err := meter.Float64ObservableCounter(name, unit, text)
		if err != nil {
			return err
		}
		o.counts[name] = c
		o.all = append(o.all, c)
		return nil
	}
	switch d.Kind {
	case telemetry.Histogram:
		if err := counter(name+".count", metric.WithUnit("{call}")); err != nil {
			return err
		}
		return counter(name+".sum", unit)
	case telemetry.Sum:
		return counter(name, unit)
	case telemetry.Gauge:
		g, err := meter.Float64ObservableGauge(name, unit, text)
		if err != nil {
			return err
		}
		o.gauges[name] = g
		o.all = append(o.all, g)
	}
	return nil
}

func (o *observables) observe(to metric.Observer, s *telemetry.Snapshot) {
	for _, points := range [][]telemetry.Point{s.Points, s.GRPC()} {
		for i := range points {
			p := &points[i]
			set := metric.WithAttributeSet(withStatus(p))
			to.ObserveFloat64(o.counts[p.Name+".count"], float64(p.Count), set)
			to.ObserveFloat64(o.counts[p.Name+".sum"], p.Sum, set)
		}
	}
	for _, sample := range s.Samples {
		attributes := metric.WithAttributes(keyValues(sample.Attributes)...)
		// What an application's own Observe yields has no instrument.
		if c := o.counts[sample.Name]; c != nil && sample.Sum {
			to.ObserveFloat64(c, sample.Value, attributes)
		} else if g := o.gauges[sample.Name]; g != nil && !sample.Sum {
			to.ObserveFloat64(g, sample.Value, attributes)
		}
	}
}
