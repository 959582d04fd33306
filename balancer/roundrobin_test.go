package balancer_test

import (
	"testing"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/balancer/balancertest"
)

func TestRoundRobin(t *testing.T) { balancertest.Leaf(t, balancer.RoundRobin) }
