package prometheus_test

import (
	"fmt"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
	"github.com/tulle-mesh/tulle/mesh/telemetry/prometheus"
)

func ExampleNewCollector() {
	in := telemetry.New(telemetry.Config{Service: "web"}) // or what (*mesh.Mesh).Telemetry returns
	registry := client.NewRegistry()                      // or client.DefaultRegisterer
	registry.MustRegister(prometheus.NewCollector(in))

	in.ClientCall(telemetry.ClientKey{Service: "voting", Method: "/v.V/Vote"}).Record(codes.OK, time.Millisecond)
	families, err := registry.Gather() // as promhttp's page does
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range families {
		fmt.Println(f.GetName())
	}
	// Output:
	// grpc_client_call_duration_seconds
	// tulle_client_call_duration_seconds
	// tulle_info
}
