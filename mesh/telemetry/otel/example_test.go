package otel_test

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
	"github.com/tulle-mesh/tulle/mesh/telemetry/otel"
)

// An application that has a MeterProvider gives the mesh's metrics to its reader.
func ExampleProducer() {
	in := telemetry.New(telemetry.Config{Service: "web"}) // or what (*mesh.Mesh).Telemetry returns
	reader := metric.NewManualReader(metric.WithProducer(otel.Producer(in)))
	provider := metric.NewMeterProvider(metric.WithReader(reader))

	in.ClientCall(telemetry.ClientKey{Service: "voting", Method: "/v.V/Vote"}).Record(codes.OK, time.Millisecond)
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		fmt.Println(err)
	}
	for _, m := range all.ScopeMetrics[0].Metrics {
		fmt.Println(m.Name, m.Unit)
	}
	if err := provider.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// tulle.client.call.duration s
	// grpc.client.call.duration s
}

func ExampleSetup() {
	in := telemetry.New(telemetry.Config{Service: "web"}) // or what (*mesh.Mesh).Telemetry returns
	shutdown, err := otel.Setup(context.Background(), in)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := shutdown(ctx); err != nil {
			fmt.Println(err)
		}
	}()
}
