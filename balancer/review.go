package balancer

import (
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	// often is how often a pool is reviewed that has something to follow.
	often = 100 * time.Millisecond
	// remindEvery is how often an endpoint is called that is avoided for being slow, or
	// remindSoon after such a call was quick.
	remindEvery, remindSoon = 2 * time.Second, time.Second / 4
	// avoided is how many times the cost of the better ones an endpoint's must be to be
	// avoided; below, it has calls of its own.
	avoided = 2
	// patience is how long a probe may go on before the pool concludes for itself.
	patience = 30 * time.Second
)

// review does what is due, and may give the call that pays for it to an endpoint that
// would get none: then it returns which and why, else a negative number.
//
// Reviews of a pool exclude each other; a pick that finds one under way goes on with
// what there is.
func (p *Pool) review(now int64, rpc *call.Call) (int, purpose) {
	if !p.watch.mu.TryLock() {
		return -1, ordinary
	}
	// What happens from here on asks for another review.
	p.watch.due.Store(never)
	if p.detector != nil {
		p.detector.tick(now)
		p.watch.later(p.detector.due.Load())
	}
	news := p.keepOut()
	inUse := p.watch.band.follow(p, now)
	p.inUse.Store(int64(inUse))
	i, purpose := p.tryout(now, rpc, inUse)
	p.watch.mu.Unlock()

	p.watch.say(news)
	return i, purpose
}

// keepOut decides which members are out: those whose breaker is not closed or that
// outlier detection ejected, but never more than their share.
func (p *Pool) keepOut() (news panicNews) {
	failing, out := 0, 0
	for i := range p.members {
		switch n := p.members[i].Node; {
		case !n.fails():
			n.out.Store(false)
		case n.out.Load():
			out++
			fallthrough
		default:
			failing++
		}
	}
	most := mostOut(len(p.members), p.config.MaxEjectedPercent)
	// Those that are out stay out, or calls would go round among those that fail.
	for i := 0; i < len(p.members) && out != min(failing, most); i++ {
		n := p.members[i].Node
		switch {
		case !n.fails():
		case n.out.Load() && out > most:
			n.out.Store(false)
			out--
		case !n.out.Load() && out < most:
			n.out.Store(true)
			out++
		}
	}
	return p.watch.judge(panicNews{failing: failing, of: len(p.members), most: most})
}

// mostOut is how many of n members may be out at once: percent of them, and of two or
// more at least one where any may.
func mostOut(n int, percent uint32) int {
	most := n * int(percent) / 100
	if most == 0 && n > 1 && percent > 0 {
		return 1
	}
	return most
}

// fails is whether calls are to be kept away.
func (n *Node) fails() bool {
	return n.ejected.Load() || n.breaker.Load().State() != breaker.Closed
}

// tryout finds a member that should be called although it would not be chosen: one
// whose breaker lets a call through to see, or one that is avoided for being slow and
// was not asked for a while whether it still is. A call that failed before is never
// put at risk again.
func (p *Pool) tryout(now int64, rpc *call.Call, inUse int) (int, purpose) {
	w := p.watch
	slowest, waited := -1, time.Duration(0)
	p.compare(now, inUse)
	low := float64(p.low.Load())
	for i := range inUse {
		n := p.members[i].Node
		if since := n.probing.Load(); since != 0 {
			if now-since < int64(patience) {
				w.later(since + int64(patience))
				continue
			}
			n.conclude(since, now)
		}
		b := n.breaker.Load()
		if b.State() == breaker.Open {
			switch at := b.RetryAt(); {
			case now < at:
				w.later(at)
			case !p.mayTry(rpc, n):
				w.later(now + int64(time.Millisecond)) // another call may
			case b.Admit(now) == breaker.Probe:
				n.probing.Store(now)
				w.wake()
				return i, probe
			default: // its configuration has just changed
				p.untake(n)
			}
			continue
		}
		if low > 0 && !n.out.Load() {
			estimate, guess := n.cost.at(now, p.decayRate)
			if guess || estimate <= avoided*low {
				continue
			}
			if ago := n.unasked(now); ago > waited {
				slowest, waited = i, ago
			}
		}
	}
	if p.learns(inUse) {
		w.later(now + int64(often))
		w.thrift.count(p)
	}
	if slowest < 0 || !w.thrift.affords() {
		return -1, ordinary
	}
	if n := p.members[slowest].Node; p.mayTry(rpc, n) {
		w.thrift.spend()
		n.probing.Store(now)
		return slowest, reminder
	}
	return -1, ordinary
}

// learns is whether members are chosen by what their calls cost.
func (p *Pool) learns(inUse int) bool {
	return inUse > 1 && p.config.Policy == resource.PeakEWMA
}

// compare brings low and mid up to date, where members are chosen by them.
func (p *Pool) compare(now int64, inUse int) {
	costs := p.watch.costs[:0]
	if p.learns(inUse) {
		for i := range inUse {
			if n := p.members[i].Node; !n.out.Load() {
				if estimate, guess := n.cost.at(now, p.decayRate); !guess {
					costs = append(costs, max(estimate, floor))
				}
			}
		}
	}
	p.watch.costs = costs
	if len(costs) == 0 {
		p.low.Store(0)
		p.mid.Store(0)
		return
	}
	slices.Sort(costs)
	p.low.Store(int64(costs[(len(costs)-1)/4]))
	p.mid.Store(int64(costs[(len(costs)-1)/2]))
}

// guess is what a member is taken to need that was not called yet: what is configured,
// or what the others do where that is less. Were it more, calls one after the other would
// all go to the one that was called first; were it the least, all clients would send their
// calls to one that is new.
func (p *Pool) guess(configured float64) float64 {
	if mid := float64(p.mid.Load()); mid > 0 {
		return min(configured, mid)
	}
	return configured
}

// unasked returns how long ago an endpoint was called last, zero where that is not
// long enough.
func (n *Node) unasked(now int64) time.Duration {
	ago, told := n.cost.told(now)
	every := remindEvery
	if n.promising.Load() {
		every = remindSoon
	}
	if told && ago < every {
		return 0
	}
	return max(ago, 1)
}

// mayTry is whether a call may be tried at an endpoint, and counts it towards its limit.
func (p *Pool) mayTry(rpc *call.Call, n *Node) bool {
	if rpc != nil && (rpc.Attempt > 0 || rpc.HasTried(n.Address)) {
		return false
	}
	return p.limit == 0 || n.total.Load().acquire(p.limit)
}

func (p *Pool) untake(n *Node) {
	if p.limit > 0 {
		n.total.Load().release()
	}
}

// conclude ends a probe that goes on for too long. A stream that was not refused in
// all that time is a success; a call that is not answered says nothing, and another
// may be made.
func (n *Node) conclude(since, now int64) {
	if n.probing.CompareAndSwap(since, 0) && n.breaker.Load().State() == breaker.HalfOpen {
		n.breaker.Load().Done(now, true, 0, n.streaming.Load())
	}
}

// A thrift bounds how many calls are made to remind of endpoints that are slow, which
// are as many slow calls: one in two hundred of all calls, so that the slowest hundredth,
// by which people judge a service, is not made of them.
type thrift struct {
	counted uint64  // calls
	saved   float64 // reminders that may be made
}

// reminderShare is of all calls. At 100 calls a second there is one every two seconds.
const reminderShare = 0.005

// start begins to count calls of other members.
func (t *thrift) start(p *Pool) { t.counted = p.calls() }

func (t *thrift) count(p *Pool) {
	calls := p.calls()
	if calls > t.counted {
		t.saved = min(t.saved+reminderShare*float64(calls-t.counted), 2)
	}
	t.counted = calls
}

func (t *thrift) affords() bool { return t.saved >= 1 }
func (t *thrift) spend()        { t.saved-- }

// calls returns how many calls the members got so far.
func (p *Pool) calls() uint64 {
	var sum uint64
	for i := range p.members {
		sum += p.members[i].Node.Calls()
	}
	return sum
}
