package balancer

import (
	"testing"

	"google.golang.org/grpc/balancer"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestWhenAnEndpointHasTooManyStreams(t *testing.T) {
	for _, tt := range []struct {
		name                string
		streams, all, nodes int
		want                bool
	}{
		{"a lone stream stays", 1, 1, 3, false},
		{"one too many moves", 2, 2, 3, true},
		{"even streams stay", 10, 30, 3, false},
		{"a few more than the mean stay", 12, 30, 3, false},
		{"more than a quarter above the mean moves", 13, 30, 3, true},
		{"where there is one endpoint there is nowhere to go", 10, 10, 1, false},
		{"uneven by one is as even as it gets", 2, 4, 3, false},
		{"an endpoint without any stays so", 0, 30, 3, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := crowded(tt.streams, tt.all, tt.nodes); got != tt.want {
				t.Errorf("crowded(%d, %d, %d) = %t", tt.streams, tt.all, tt.nodes, got)
			}
		})
	}
}

func TestStreamsMoveToANewEndpointUntilItHasItsShare(t *testing.T) {
	config := resource.DefaultBalancing()
	config.Policy = resource.LeastRequest
	config.Choices = 10 // so that it goes by the fewest
	members := fakeMembers(3)
	open := make(map[*Node][]func(balancer.DoneInfo))
	stream := func(p *Pool) {
		rpc := &call.Call{Context: t.Context(), Stream: true}
		result, err := p.Pick(balancer.PickInfo{}, rpc)
		if err != nil {
			t.Fatal(err)
		}
		n := nodeOf(members, rpc.Endpoint())
		open[n] = append(open[n], result.Done)
	}
	few := NewPool(&config, members[:2])
	for range 30 {
		stream(few)
	}

	all := NewPool(&config, members)
	moved := 0
	for again := true; again; {
		again = false
		for _, m := range members {
			if all.Crowded(m.Node) {
				done := open[m.Node][0]
				open[m.Node] = open[m.Node][1:]
				done(balancer.DoneInfo{BytesSent: true})
				stream(all)
				moved++
				again = true
			}
		}
	}
	t.Logf("%d of 30 streams moved; the endpoints have %d, %d and %d", moved,
		members[0].Node.Streams(), members[1].Node.Streams(), members[2].Node.Streams())
	if moved > 12 {
		t.Errorf("%d streams moved, where 10 make it even", moved)
	}
	for _, m := range members {
		if n := m.Node.Streams(); n < 6 || n > 12 {
			t.Errorf("%s has %d streams of 30", m.Node.Address, n)
		}
	}
}
