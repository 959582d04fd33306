// Package otel hands what the mesh measures to OpenTelemetry: to the application's own
// MeterProvider, beside the application's own metrics, or to a collector as the OTEL_*
// variables say.
//
// An application that has no OpenTelemetry yet says once, after it has joined:
//
//	m, err := mesh.Join(ctx, mesh.Config{Service: "web"})
//	...
//	shutdown, err := otel.Setup(ctx, m.Telemetry())
//	...
//	defer shutdown(context.WithoutCancel(ctx))
//
// One that has its own MeterProvider gives [Producer] to its readers, and then its exporter
// tells of the mesh too:
//
//	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(otel.Producer(m.Telemetry())))
//
// One that cannot reach its readers, because somebody else makes them, calls [Register]. It
// gets counters without percentiles.
//
// Metrics have two names: ours, as tulle.client.attempt.duration, with all that the mesh
// tells apart, and those of gRFC A66, as grpc.client.attempt.duration, which dashboards for
// gRPC know. They are of the same calls: add up one of them, and do not install grpc's
// stats/opentelemetry beside, which would count them again. Spans are not here: the mesh
// makes them by the global TracerProvider, which Setup installs.
package otel

import "github.com/tulle-mesh/tulle/mesh/telemetry"

// scopeName is that of the library.
const scopeName = "github.com/tulle-mesh/tulle"

// A Source is what is measured: the [telemetry.Instruments] of a mesh.
type Source interface {
	Snapshot() *telemetry.Snapshot
}

var _ Source = (*telemetry.Instruments)(nil)
