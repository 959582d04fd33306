package balancer

import (
	"github.com/tulle-mesh/tulle/mesh/call"
)

// A Choice is one pick, as a [Chooser] sees it.
type Choice struct {
	// Now is the time in nanoseconds, of a clock of the process.
	Now int64
	// Call is nil where no interceptor of the mesh ran.
	Call *call.Call
	// InUse is how many members may be chosen: the first of them. Those behind are
	// of other zones and not needed now.
	InUse int

	members []Member
}

// Admits reports whether member i may be chosen: it is in use, its breaker lets
// calls through, it is below its limit, and the call was not tried there before.
func (c Choice) Admits(i int) bool {
	return i < c.InUse && (c.Call == nil || !c.Call.HasTried(c.members[i].Node.Address))
}
