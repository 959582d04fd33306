//go:build unix

package mesh_test

import (
	"slices"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// BenchmarkTelemetry reports the throughput of the whole mesh over that of one which
// counts, traces, logs and taps nothing (x-mute; budget: at least 0.97), what a call
// costs of the processor's time in the same way (x-cpu; it says more where others use the
// machine, too), and the allocations that are added to a call, by client and server
// together (budget: at most 1).
//
//	go test -run '^$' -bench Telemetry ./mesh
func BenchmarkTelemetry(b *testing.B) {
	kit := meshtest.New(b)
	seen, _ := benchUpstreams(b, kit, "seen", 1, func(*mesh.Mesh) {})
	mute, _ := benchUpstreams(b, kit, "mute", 1, mesh.Mute)
	conns := []*grpc.ClientConn{seen()[0], mute()[0]}
	for _, conn := range conns {
		if err := conn.Invoke(b.Context(), echoMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue), grpc.WaitForReady(true)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		var ratios, costs, micros, added []float64
		for round := range benchRounds {
			var loads [2]load
			var cost [2]float64
			for i := range conns {
				at := (i + round) % len(conns)
				before := processorTime(b)
				loads[at] = saturate(b, conns[at])
				cost[at] = (processorTime(b) - before) / loads[at].rate // rounds are equally long
			}
			costs = append(costs, cost[0]/cost[1])
			micros = append(micros, cost[1]/benchRound.Seconds()*1e6)
			ratios = append(ratios, loads[0].rate/loads[1].rate)
			added = append(added, loads[0].allocs-loads[1].allocs)
		}
		b.ReportMetric(median(ratios), "x-mute")
		b.ReportMetric(ratios[len(ratios)/4], "x-mute-q1") // median has sorted them
		b.ReportMetric(ratios[len(ratios)*3/4], "x-mute-q3")
		b.ReportMetric(slices.Min(ratios), "x-mute-min")
		b.ReportMetric(slices.Max(ratios), "x-mute-max")
		b.ReportMetric(median(costs), "x-cpu")
		b.ReportMetric(costs[len(costs)/4], "x-cpu-q1")
		b.ReportMetric(costs[len(costs)*3/4], "x-cpu-q3")
		b.ReportMetric(median(micros), "us-cpu/call")
		b.ReportMetric(median(added), "allocs-added/call")
	}
}

// processorTime is what the process has used, in seconds.
func processorTime(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
