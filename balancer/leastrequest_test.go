package balancer_test

import (
	"testing"

	"github.com/tulle-mesh/tulle/balancer/balancertest"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestLeastRequest(t *testing.T) {
	balancertest.Run(t, balancertest.Suite{Policy: resource.LeastRequest})
}
