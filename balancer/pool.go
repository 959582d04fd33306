package balancer

import (
	"fmt"
	"math"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Pool chooses among endpoints that are ready, keeps calls away from those that
// fail, and learns from how calls end. What it chooses from never changes; what calls
// have taught is in the members' Nodes and in its watch, which outlive it.
//
// It has no timer: what is due, such as a look whether an endpoint got well, is done
// by the next pick.
type Pool struct {
	config   *resource.Balancing
	members  []Member
	chooser  Chooser
	watch    *watch
	detector *detector // nil detects nothing

	zoned bool         // whether members of other zones are used only where needed
	inUse atomic.Int64 // how many of the members, the first, are used
	// low and mid are the cost in nanoseconds that a quarter and half of those do not pass;
	// zero is not known.
	low, mid atomic.Int64

	limit     uint32  // of calls that are open to an endpoint; zero is none
	decayRate float64 // 1/decay of peak EWMA
	failures  resource.CodeSet
	wantsLoad bool // whether reports of load are to be handed on
	security  call.Security
	full      refusal
}

// NewPool returns a pool of members, in whose Nodes it puts the configuration. It
// keeps both, which must not change. Where zones are preferred those that are Local
// come first. It logs to slog.Default.
func NewPool(config *resource.Balancing, members []Member) *Pool {
	nodes := make([]*Node, len(members))
	zoned := false
	for i := range members {
		n := members[i].Node
		n.configure(config)
		if config.MaxRequestsPerEndpoint > 0 && n.total.Load() == nil {
			n.total.Store(newOpenCalls())
		}
		nodes[i], zoned = n, zoned || members[i].Local
	}
	return newPool(config, members, poolOptions{
		watch:    newWatch(nil, ""),
		detector: newDetector(nil, config, nodes, breaker.Now()),
		zoned:    zoned,
	})
}

// poolOptions are what outlives a pool, and zoned: whether it has a zone to prefer.
type poolOptions struct {
	watch    *watch
	detector *detector
	security call.Security
	zoned    bool
}

// newPool returns a pool of members whose Nodes are configured.
func newPool(config *resource.Balancing, members []Member, o poolOptions) *Pool {
	p := &Pool{
		config:   config,
		members:  members,
		chooser:  algorithmOf(config.Policy)(config, members),
		watch:    o.watch,
		detector: o.detector,
		// A key has one endpoint, wherever its callers are.
		zoned:     o.zoned && config.Zone.Prefer && config.Policy != resource.RingHash,
		limit:     config.MaxRequestsPerEndpoint,
		decayRate: 1 / float64(max(config.PeakEWMA.Decay, 1)),
		failures:  failuresOf(config),
		wantsLoad: config.Policy == resource.WeightedRoundRobin || config.Policy == resource.PeakEWMA && config.PeakEWMA.Utilization,
		security:  o.security,
	}
	o.watch.adopt(p)
	return p
}

// Pick picks an endpoint for a call; rpc is nil where no interceptor of the mesh ran.
// It is called concurrently and does not allocate. The result's Done is never nil.
func (p *Pool) Pick(info balancer.PickInfo, rpc *call.Call) (balancer.PickResult, error) {
	return p.pick(info, rpc, nil)
}

// pick picks for a call that is counted in open, which the result's Done releases.
func (p *Pool) pick(info balancer.PickInfo, rpc *call.Call, open *openCalls) (balancer.PickResult, error) {
	if len(p.members) == 0 {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	now := breaker.Now()
	i, purpose := -1, ordinary
	if now >= p.watch.due.Load() {
		i, purpose = p.review(now, rpc)
	}
	if i < 0 {
		i = p.choose(now, rpc)
		if i < 0 {
			return refuse(rpc, p.atLimit())
		}
	}
	n := p.members[i].Node
	result, err := p.members[i].Picker.Pick(info)
	if err != nil {
		p.forgo(n, purpose, now)
		return balancer.PickResult{}, err
	}
	a := newAttempt()
	a.begin(p, n, rpc, open, now, purpose)
	if rpc != nil {
		rpc.Picked = call.Pick{Chosen: true, Local: p.members[i].Local, Security: p.security}
		if rpc.Explain && purpose != ordinary {
			rpc.Why = p.because(purpose, n, now)
		}
	}
	a.inner = result.Done
	result.Done = a.done
	return result, nil
}

// choose returns a member below its limit, and counts the call towards it; -1 where
// all are at their limit.
func (p *Pool) choose(now int64, rpc *call.Call) int {
	c := Choice{Now: now, Call: rpc, InUse: int(p.inUse.Load()), pool: p}
	c.again = rpc == nil || rpc.Endpoint() == ""
	for range tries {
		var i int
		if rpc == nil || !rpc.Explain {
			i = p.chooser.Choose(c)
		} else {
			i = p.explain(c)
		}
		if i < 0 {
			if i = p.look(c); i < 0 {
				return -1
			}
			if rpc != nil && rpc.Explain {
				rpc.Why = p.left()
			}
		}
		if p.limit == 0 || p.members[i].Node.total.Load().acquire(p.limit) {
			return i
		}
		// Another call was quicker to the last place.
	}
	return -1
}

// tries is how often a call looks for an endpoint below its limit while others take
// the places that it finds.
const tries = 8

// look finds a member where the chooser did not.
func (p *Pool) look(c Choice) int {
	if i := c.any(); i >= 0 {
		return i // the chooser looks at some only
	}
	// A call that was tried everywhere is tried again.
	if !c.again {
		c.again = true
		if i := p.chooser.Choose(c); i >= 0 {
			return i
		}
	}
	if i := c.any(); i >= 0 {
		return i
	}
	if c.InUse < len(p.members) {
		c.InUse = len(p.members)
		if i := p.chooser.Choose(c); i >= 0 {
			return i
		}
		if i := c.any(); i >= 0 {
			return i
		}
	}
	for i := range p.members {
		if !p.members[i].Node.out.Load() {
			return -1 // it is at its limit, and is not made up for by one that fails
		}
	}
	p.watch.desperate.Add(1)
	c.failing = true
	if i := p.chooser.Choose(c); i >= 0 {
		return i
	}
	return c.any()
}

// forgo gives back what a pick took for a call that was not made.
func (p *Pool) forgo(n *Node, purpose purpose, now int64) {
	p.untake(n)
	if purpose != ordinary {
		n.probing.Store(0)
	}
	if purpose == probe {
		n.breaker.Load().Done(now, true, 0, false)
	}
}

// failuresOf are the codes that make an endpoint look slow: those of its breaker and
// RESOURCE_EXHAUSTED, as Linkerd's biaser has them.
func failuresOf(config *resource.Balancing) resource.CodeSet {
	b := config.Breaker
	if b == nil {
		b = resource.DefaultBreaker()
	}
	return b.Codes | resource.Codes(uint32(codes.ResourceExhausted))
}

// atLimit is the end of a call for which no endpoint has a place. It says what the
// endpoints do where not all of them are at their limit.
func (p *Pool) atLimit() *call.Error {
	full := p.full.words(func() *call.Error { return fullOf(p.watch.cluster, p.limit) })
	for i := range p.members {
		if p.members[i].Node.out.Load() {
			failure := *full
			failure.Detail += " (" + describe(p.sightings()) + ")"
			return &failure
		}
	}
	return full
}

func (p *Pool) sightings() []sighting {
	seen := make([]sighting, len(p.members))
	for i := range p.members {
		n := p.members[i].Node
		seen[i] = sighting{address: n.Address, handed: true, state: connectivity.Ready, node: n, full: p.limit > 0 && n.full(p.limit)}
	}
	return seen
}

func fullOf(cluster string, limit uint32) *call.Error {
	return &call.Error{
		Service: serviceOf(cluster),
		Reason:  call.MaxRequestsPerEndpoint,
		Code:    codes.Unavailable,
		Detail:  fmt.Sprintf("max requests per endpoint reached: this process has %d calls open to each endpoint of %q, its limit", limit, cluster),
		Try:     "raise the limit, or add instances of " + serviceOf(cluster),
	}
}

// never is when nothing is due.
const never = math.MaxInt64
