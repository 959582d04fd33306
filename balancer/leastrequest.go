package balancer

import (
	"math/rand/v2"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// maxRedraws is how often a draw that is not admitted is made again. Where half of
// the members are out, one call in 256 then has the pool look through them all.
const maxRedraws = 8

// LeastRequest draws Choices members at random and sends the call to the one with
// the fewest open calls, of those alike to the first drawn (gRFC A48). A member may
// be drawn twice: of two members one in four calls then goes to the busier. In slow
// start a member counts as if it had 1/share times the calls and the new one, as
// Envoy weighs its active requests.
//
// Open calls are those of this connection: clients that make few calls see little of
// how busy an endpoint is, and peak EWMA, which goes by latency too, sees more.
func LeastRequest(config *resource.Balancing, _ []Member) Chooser {
	return leastRequest(max(config.Choices, 2))
}

// leastRequest is how many members are drawn.
type leastRequest uint32

// Choose implements [Chooser].
func (n leastRequest) Choose(c Choice) int {
	best, least := -1, 0.0
	for range n {
		i := draw(c)
		if i < 0 {
			break
		}
		if load := float64(c.Open(i)+1) / c.Share(i); best < 0 || load < least {
			best, least = i, load
		}
	}
	return best
}

// draw returns an admitted member at random, or -1 where it met none.
func draw(c Choice) int {
	if c.InUse == 0 {
		return -1
	}
	for range maxRedraws {
		if i := rand.IntN(c.InUse); c.Admits(i) {
			return i
		}
	}
	return -1
}
