package balancer_test

import (
	"testing"

	"google.golang.org/grpc/balancer"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Of calls that stay open, n endpoints have like numbers: two draws keep the fullest
// within a few of the mean, one would not.
func TestLeastRequestFillsTheEmptier(t *testing.T) {
	for _, tt := range []struct {
		name    string
		choices uint32
		most    int // calls above the mean of 100
	}{
		{"of two drawn", 2, 5},
		{"of ten drawn", 10, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := resource.StandardBalancing(resource.LeastRequest)
			config.Choices = tt.choices
			r := newReported(t, &config, make([]load, 10)...)
			open := make(map[string]int)
			for range 1000 {
				rpc := &call.Call{Context: t.Context()}
				if _, err := r.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc); err != nil {
					t.Fatal(err)
				}
				open[rpc.Endpoint()]++
			}
			for name, n := range open {
				if n > 100+tt.most {
					t.Errorf("endpoint %s has %d calls open, want 100 and at most %d more", name, n, tt.most)
				}
			}
		})
	}
}
