package balancer_test

import (
	"testing"

	"github.com/tulle-mesh/tulle/balancer/balancertest"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestEachPolicyDoesWhatEachMust(t *testing.T) {
	for _, s := range []balancertest.Suite{
		{Policy: resource.PeakEWMA, Weights: balancertest.GivenWeights},
		{Policy: resource.RoundRobin},
		{Policy: resource.LeastRequest},
		{
			Policy:    resource.RingHash,
			Configure: func(c *resource.Balancing) { c.RingHash.MinSize = 4096 },
			Tolerance: 0.8, // shares are arcs of the ring: 41 of each of 100 endpoints
			Weights:   balancertest.GivenWeights,
		},
		{Policy: resource.WeightedRoundRobin, Weights: balancertest.ReportedWeights},
	} {
		t.Run(string(s.Policy), func(t *testing.T) { balancertest.Run(t, s) })
	}
}
