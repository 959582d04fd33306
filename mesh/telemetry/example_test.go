package telemetry_test

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

func Example() {
	in := telemetry.New(telemetry.Config{Service: "web", Instance: "a1"})
	for took := range 100 {
		in.ClientCall(telemetry.ClientKey{Service: "voting", Method: "/vote.v1.Voting/Vote"}).
			Record(codes.OK, time.Duration(took+1)*time.Millisecond)
	}
	for _, p := range in.Snapshot().Points {
		fmt.Println(p.Name, telemetry.StatusName(p.Code), p.Count)
		fmt.Printf("p50 %.1f ms, p99 %.1f ms\n", 1e3*p.Quantile(0.5), 1e3*p.Quantile(0.99))
	}
	// Output:
	// tulle.client.call.duration OK 100
	// p50 49.8 ms, p99 99.6 ms
}
