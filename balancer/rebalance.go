package balancer

import (
	"math"

	"github.com/tulle-mesh/tulle/mesh/call"
)

var _ call.Crowd = (*Node)(nil)

// crowd is how many times the mean of open streams an endpoint may have before one that
// is old should be moved away from it.
const crowd = 1.25

// crowded reports whether an endpoint with so many of all streams, which nodes share,
// has more than its part by so much that a stream should be moved: more than crowd
// times the mean, and more than one each would have if all were spread evenly, or a
// lone stream would be moved for ever.
func crowded(streams, all, nodes int) bool {
	if nodes < 2 {
		return false
	}
	mean := float64(all) / float64(nodes)
	return float64(streams) > max(crowd*mean, math.Ceil(mean))
}

// Crowded reports whether a stream of a node that is older than MaxStreamAge should
// end, so that the application opens another, which goes to a node with fewer. Streams
// stay where they were opened however many endpoints come later: that is what their
// age bounds, and only where it matters.
//
// It counts the streams of this connection, and looks at each member: ask it once a
// stream is old, not for each message.
func (p *Pool) Crowded(n *Node) bool {
	all, nodes := 0, 0
	for i := range int(p.inUse.Load()) {
		if m := p.members[i].Node; m == n || !m.out.Load() {
			all += m.Streams()
			nodes++
		}
	}
	return crowded(n.Streams(), all, nodes)
}

// Crowded implements call.Crowd by the pool that the node is in now.
func (n *Node) Crowded() bool {
	w := n.watch.Load()
	if w == nil {
		return false
	}
	p := w.pool.Load()
	return p != nil && p.Crowded(n)
}
