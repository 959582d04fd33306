package balancer

import (
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Node is what calls have taught about one endpoint: how long they take, how many
// are open, whether they fail. There is one per endpoint of a cluster of a connection,
// and it outlives the pickers, which change whenever any endpoint comes or goes. It is
// safe for concurrent use, but for configure.
type Node struct {
	// Address is the endpoint's first.
	Address string

	// calls counts the calls that were begun, above openBits, and in them how many of
	// these are open: two counts for the price of one.
	calls   atomic.Uint64
	streams atomic.Int64 // of the open calls
	cost    cost
	// common is how long calls took that were answered, about.
	common atomic.Int64
	tally  tally    // of outlier detection; not counted without
	load   orcaLoad // where the policy asks for it

	// out is whether the pool keeps calls away, for what the next two say. It is the
	// pool that decides, since it leaves some in use where all fail.
	out     atomic.Bool
	breaker atomic.Pointer[breaker.Breaker]
	ejected atomic.Bool // by outlier detection

	// probing is when the probe that is under way was sent; zero is none.
	probing atomic.Int64
	// streaming is whether the probe is a stream, promising whether the last reminder
	// was quicker than expected.
	streaming, promising atomic.Bool

	since atomic.Int64              // when it became ready
	total atomic.Pointer[openCalls] // of the process; nil is not limited
	watch atomic.Pointer[watch]     // of the pool it is in

	// Of configure only.
	accrual *resource.Breaker
}

const (
	openBits = 24
	openMask = 1<<openBits - 1
)

// NewNode returns the Node of an endpoint that no call was made to yet.
func NewNode(address string) *Node {
	n := &Node{Address: address}
	n.breaker.Store(breaker.New(nil, nil))
	n.since.Store(breaker.Now())
	return n
}

// configure makes the node follow a configuration. What it knows stays, but a breaker
// that is configured otherwise begins anew.
func (n *Node) configure(config *resource.Balancing) {
	n.cost.seed(config.PeakEWMA.DefaultRTT, breaker.Now())
	if same(n.accrual, config.Breaker) {
		return
	}
	n.accrual = config.Breaker
	n.breaker.Store(breaker.New(config.Breaker, n.broke))
}

func same(a, b *resource.Breaker) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// ready notes that the endpoint has just become ready: it may be another process than
// before.
func (n *Node) ready(now int64) {
	n.since.Store(now)
	n.load.forget()
}

// broke is told of the breaker's changes.
func (n *Node) broke(from, to breaker.State) {
	if w := n.watch.Load(); w != nil {
		w.broke(n, from, to)
	}
}

// Eject says whether outlier detection wants calls kept away. The pool decides.
func (n *Node) Eject(ejected bool) {
	if n.ejected.Swap(ejected) == ejected {
		return
	}
	if w := n.watch.Load(); w != nil {
		if ejected {
			w.counts.ejected()
		}
		w.wake()
	}
}

// Open returns how many calls are open, streams among them.
func (n *Node) Open() int { return int(n.calls.Load() & openMask) }

// Streams returns how many of the open calls are streams.
func (n *Node) Streams() int { return int(n.streams.Load()) }

// Calls returns how many calls were begun, modulo 2^40.
func (n *Node) Calls() uint64 { return n.calls.Load() >> openBits }

// answered notes how long a call took: of the first, and of one in sixteen. Of two that
// end together one may be lost.
func (n *Node) answered(took time.Duration) {
	common := n.common.Load()
	switch {
	case common == 0:
		n.common.Store(max(int64(took), 1))
	case n.Calls()%16 == 0:
		n.common.Store(max(common+(int64(took)-common)/8, 1))
	}
}

// usual returns how long calls to the endpoint take, otherwise where none did yet.
func (n *Node) usual(otherwise time.Duration) time.Duration {
	if common := n.common.Load(); common > 0 {
		return time.Duration(common)
	}
	return otherwise
}

func (n *Node) begin() { n.calls.Add(1<<openBits + 1) }
func (n *Node) end()   { n.calls.Add(^uint64(0)) }

// full reports whether the process has limit calls open to the endpoint.
func (n *Node) full(limit uint32) bool {
	total := n.total.Load()
	return total != nil && total.count.Load() >= int64(limit)
}
