package otel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// Setup installs a TracerProvider and a MeterProvider as OpenTelemetry's globals, as the
// variables say that OpenTelemetry has for every language:
//
//   - OTEL_SDK_DISABLED: "true" installs nothing.
//   - OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES: what the process is called. Without
//     them it is what the first source says: its service, instance and version.
//   - OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER: "otlp", which is the default, or "none".
//   - OTEL_EXPORTER_OTLP_*, also for one signal, as OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: the
//     collector, https://localhost:4317 by default, with headers, certificates, compression
//     and timeout. The protocol is "grpc", also where it is not set.
//   - OTEL_METRIC_EXPORT_INTERVAL, OTEL_TRACES_SAMPLER, OTEL_BSP_* and the other variables
//     of OpenTelemetry's SDK for Go.
//
// Metrics are those of the sources and what the application counts itself. Setup does not
// wait for the collector, and no call does: what it does not take in time is lost.
//
// The caller calls shutdown, once or more often, before the process ends: it hands over
// what is left, for as long as its context lets it. It is not nil even where an error is
// returned, which names the variable.
func Setup(ctx context.Context, sources ...Source) (shutdown func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	if strings.EqualFold(strings.TrimSpace(os.Getenv("OTEL_SDK_DISABLED")), "true") {
		return nothing, nil
	}
	traces, err := exports("TRACES")
	if err != nil {
		return nothing, err
	}
	metrics, err := exports("METRICS")
	if err != nil {
		return nothing, err
	}
	described, err := describe(ctx, sources)
	if err != nil {
		otel.Handle(err) // a part of the variable is wrong, and the rest is used, as the standard has it
	}
	s := &sdk{}
	if traces {
		if err := s.trace(ctx, described); err != nil {
			return nothing, err
		}
	}
	if metrics {
		if err := s.measure(ctx, described, sources); err != nil {
			return nothing, errors.Join(err, s.shutdown(ctx))
		}
	}
	s.install()
	return s.shutdown, nil
}

// An sdk is what Setup made; what is not exported is nil.
type sdk struct {
	tracers *trace.TracerProvider
	meters  *metric.MeterProvider
	once    sync.Once
}

func (s *sdk) trace(ctx context.Context, described *resource.Resource) error {
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return fmt.Errorf("otel: exporter of traces: %w", err)
	}
	s.tracers = trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(described))
	return nil
}

func (s *sdk) measure(ctx context.Context, described *resource.Resource, sources []Source) error {
	exporter, err := otlpmetricgrpc.New(ctx)
	if err != nil {
		return fmt.Errorf("otel: exporter of metrics: %w", err)
	}
	options := make([]metric.PeriodicReaderOption, 0, len(sources))
	for _, src := range sources {
		options = append(options, metric.WithProducer(Producer(src)))
	}
	s.meters = metric.NewMeterProvider(
		metric.WithReader(metric.NewPeriodicReader(exporter, options...)),
		metric.WithResource(described),
	)
	return nil
}

func (s *sdk) install() {
	if s.tracers != nil {
		otel.SetTracerProvider(s.tracers)
	}
	if s.meters != nil {
		otel.SetMeterProvider(s.meters)
	}
}

// shutdown does nothing the second time.
func (s *sdk) shutdown(ctx context.Context) (err error) {
	s.once.Do(func() {
		if s.tracers != nil {
			err = s.tracers.Shutdown(ctx)
		}
		if s.meters != nil {
			err = errors.Join(err, s.meters.Shutdown(ctx))
		}
	})
	return err
}

// exports reports whether a signal is exported.
func exports(signal string) (bool, error) {
	name := "OTEL_" + signal + "_EXPORTER"
	switch which := strings.ToLower(strings.TrimSpace(os.Getenv(name))); {
	case which == "none":
		return false, nil
	case which == "prometheus":
		return false, fmt.Errorf("otel: %s is prometheus: set it to none, and register package mesh/telemetry/prometheus", name)
	case which != "" && which != "otlp":
		return false, fmt.Errorf("otel: %s is %q: set it to otlp or none", name, which)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch which := strings.ToLower(strings.TrimSpace(os.Getenv(name))); which {
		case "": // the other may be set
		case "grpc":
			return true, nil
		default:
			return false, fmt.Errorf("otel: %s is %q: set it to grpc, and the endpoint to the collector's port for it, mostly 4317", name, which)
		}
	}
	return true, nil
}

// describe returns what the process is called: as the environment says, else as the first
// source does.
func describe(ctx context.Context, sources []Source) (*resource.Resource, error) {
	var own []attribute.KeyValue
	if len(sources) > 0 {
		own = resourceOf(sources[0].Snapshot().Config)
	}
	return resource.New(ctx, resource.WithAttributes(own...), resource.WithTelemetrySDK(), resource.WithFromEnv())
}

func resourceOf(c telemetry.Config) []attribute.KeyValue {
	name, namespace, _ := strings.Cut(c.Service, ".")
	zone := c.Zone
	if c.Region != "" {
		zone = c.Region + "/" + zone
	}
	var all []attribute.KeyValue
	for _, a := range []telemetry.Attribute{
		{Key: "service.name", Value: name},
		{Key: "service.namespace", Value: namespace},
		{Key: "service.instance.id", Value: c.Instance},
		{Key: "service.version", Value: c.Version},
		{Key: "tulle.zone", Value: zone},
		{Key: "tulle.library", Value: c.Library},
	} {
		if a.Value != "" {
			all = append(all, attribute.String(a.Key, a.Value))
		}
	}
	return all
}
