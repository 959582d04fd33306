package xdsclient

import (
	"fmt"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

var sink State

func BenchmarkState(b *testing.B) {
	h := newClient(b, config(newNetwork(), "a"))
	s := h.Subscribe(typeA, "one", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var st State
		for pb.Next() {
			st = s.State()
		}
		_ = st
	})
	sink = s.State()
	if n := testing.AllocsPerRun(100, func() { sink = s.State() }); n != 0 {
		b.Errorf("State allocates %v times", n)
	}
}

// BenchmarkApply applies a response of 1000 resources, all new or all as held.
func BenchmarkApply(b *testing.B) {
	const count = 1000
	for _, test := range []struct {
		name    string
		changes bool
	}{{"changed", true}, {"unchanged", false}} {
		b.Run(test.name, func(b *testing.B) {
			h := newClient(b, config(newNetwork(), "a"))
			s := &session{target: "a", strange: map[string]bool{}, asked: make([]bool, 2), spoken: make([]bool, 2)}
			h.begin(s)
			told := 0
			responses := [2]*discoveryv3.DeltaDiscoveryResponse{{TypeUrl: typeA, Nonce: "1"}, {TypeUrl: typeA, Nonce: "2"}}
			for i := range count {
				name := fmt.Sprint("service-", i)
				h.Subscribe(typeA, name, func() { told++ })
				for v, resp := range responses {
					resp.Resources = append(resp.Resources, res(name, fmt.Sprint(v), fmt.Sprintf("%s=%0200d", name, v)))
				}
			}
			h.requests(s)
			wires := [2]*xdsv3.DeltaDiscoveryResponse{wire(b, responses[0]), wire(b, responses[1])}
			h.handle(s, wires[0])
			told = 0
			b.ReportAllocs()
			turn := 0
			for b.Loop() {
				if test.changes {
					turn = 1 - turn
				}
				if req := h.handle(s, wires[turn]); req.GetErrorDetail() != nil {
					b.Fatal(req)
				}
			}
			want := 0
			if test.changes {
				want = b.N * count
			}
			if told != want {
				b.Errorf("told %d times, want %d", told, want)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/resource")
		})
	}
}
