package balancer_test

import (
	"testing"

	"github.com/tulle-mesh/tulle/balancer/balancertest"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestRingHash(t *testing.T) {
	balancertest.Run(t, balancertest.Suite{
		Policy:    resource.RingHash,
		Configure: func(c *resource.Balancing) { c.RingHash.MinSize = 4096 },
		Tolerance: 0.6, // shares are arcs of the ring: 41 of each of 100 endpoints
		Weights:   balancertest.GivenWeights,
	})
}
