package balancer

import (
	"math"
	"math/rand/v2"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// A Choice is one pick, as a [Chooser] sees it. It is passed by value, so that a pick
// does not allocate.
type Choice struct {
	// Now is the time in nanoseconds, of breaker.Now.
	Now int64
	// Call is nil where no interceptor of the mesh ran.
	Call *call.Call
	// InUse is how many members may be chosen: the first of them. Those behind are
	// of other zones and not needed now.
	InUse int

	pool *Pool
	// again admits endpoints that the call was tried at, or says that there are none;
	// failing admits those that are out.
	again, failing bool
}

// Admits reports whether member i may be chosen: it is in use and not out for its
// failures, it is below its limit, and the call was not tried there before.
func (c Choice) Admits(i int) bool {
	if i >= c.InUse {
		return false
	}
	n := c.pool.members[i].Node
	return (c.failing || !n.out.Load()) &&
		(c.pool.limit == 0 || !n.full(c.pool.limit)) &&
		(c.again || !c.Call.HasTried(n.Address))
}

// Open returns how many calls are open to member i, streams among them.
func (c Choice) Open(i int) int { return c.pool.members[i].Node.Open() }

// Share returns how much of a full share member i should get, above 0 to 1: less than
// 1 only for one that has just become ready, where slow start is on.
func (c Choice) Share(i int) float64 {
	start := &c.pool.config.SlowStart
	if start.Window == 0 {
		return 1
	}
	age := c.Now - c.pool.members[i].Node.since.Load()
	if age >= int64(start.Window) {
		return 1
	}
	// Envoy's slow_start_config, which has no share of its own for what is older.
	share := float64(max(age, 0)) / float64(start.Window)
	if start.Aggression != 1 && start.Aggression > 0 {
		share = math.Pow(share, 1/start.Aggression)
	}
	return max(share, float64(start.MinWeightPercent)/100, minShare)
}

// minShare keeps what divides by a share finite.
const minShare = 0.001

// any returns a member that is admitted, beginning at a random one; -1 without any.
func (c Choice) any() int {
	if c.InUse == 0 {
		return -1
	}
	first := rand.IntN(c.InUse)
	for k := range c.InUse {
		i := first + k
		if i >= c.InUse {
			i -= c.InUse
		}
		if c.Admits(i) {
			return i
		}
	}
	return -1
}
