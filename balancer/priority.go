package balancer

import (
	"iter"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
)

const (
	// failoverTimeout is how long a priority may take to connect before the next
	// is tried: gRFC A56, grpc-go's DefaultPriorityInitTimeout.
	failoverTimeout = 10 * time.Second
	// keepTimeout is how long the connections of a priority that is no longer
	// needed are kept: gRFC A56, grpc-go's DefaultSubBalancerCloseTimeout.
	keepTimeout = 15 * time.Minute
)

// A priority is the localities of a cluster that serve it while no better
// priority can. It is grpc-go's priority child (gRFC A56), with deadlines as
// values in place of timers: the root arms one timer for the earliest of all.
type priority struct {
	localities []*locality

	// started is whether the priority is in use or better than the one that is.
	started bool
	state   connectivity.State
	// failed is whether the endpoints failed since they last were ready: then
	// connecting anew, or new endpoints that connect, do not earn it time.
	failed bool
	// patience is until when a connecting priority is waited for; zero is over.
	patience time.Time
	// keep is until when a stopped priority stays connected; zero is not.
	keep time.Time

	// watch is of the pools of all localities.
	watch *watch
}

// start puts the priority into use.
func (p *priority) start(now time.Time) {
	*p = priority{
		localities: p.localities,
		watch:      p.watch,
		started:    true,
		state:      connectivity.Connecting,
		patience:   now.Add(failoverTimeout),
	}
}

// stop takes the priority out of use.
func (p *priority) stop(now time.Time) {
	p.started = false
	p.patience = time.Time{}
	p.keep = now.Add(keepTimeout)
}

// kept is whether a stopped priority stays connected.
func (p *priority) kept() bool { return !p.keep.IsZero() }

// observe reads the state of the localities of a started priority.
func (p *priority) observe(now time.Time) {
	var all balancer.ConnectivityStateEvaluator
	for _, l := range p.localities {
		l.observe()
		all.RecordTransition(connectivity.Shutdown, l.state)
	}
	old := p.state
	p.state = all.CurrentState()

	switch p.state {
	case connectivity.Ready, connectivity.Idle:
		p.failed = false
		p.patience = time.Time{}
	case connectivity.TransientFailure:
		p.failed = true
		p.patience = time.Time{}
	case connectivity.Connecting:
		// A lost connection is given time to come back.
		if old != connectivity.Connecting && !p.failed {
			p.patience = now.Add(failoverTimeout)
		}
	default: // Shutdown is no state of a connection in use
	}
}

// usable is whether calls go to the priority, or wait for it.
func (p *priority) usable(now time.Time) bool {
	switch p.state {
	case connectivity.Ready, connectivity.Idle:
		return true
	case connectivity.Connecting:
		return now.Before(p.patience)
	default:
		return false
	}
}

// queues is whether a call without a ready endpoint waits rather than fails.
func (p *priority) queues() bool {
	for _, l := range p.localities {
		if l.state == connectivity.Connecting || l.state == connectivity.Idle {
			return true
		}
	}
	return false
}

// expire ends what is over at now and reports whether anything was.
func (p *priority) expire(now time.Time) bool {
	over := false
	for _, t := range []*time.Time{&p.patience, &p.keep} {
		if !t.IsZero() && !now.Before(*t) {
			*t = time.Time{}
			over = true
		}
	}
	return over
}

// endpoints yields the endpoints of all localities.
func (p *priority) endpoints() iter.Seq[*endpoint] {
	return func(yield func(*endpoint) bool) {
		for _, l := range p.localities {
			for _, m := range l.members {
				if !yield(m.endpoint) {
					return
				}
			}
		}
	}
}

// carryOver gives each of the next priorities, so far only localities, the state
// of the one it continues, by the rules of grpc-go's child names (gRFC A37):
// first the one at the same place if they share a locality, else any other that
// shares one.
func carryOver(previous, next []*priority) {
	owners := make(map[localityID]*priority)
	for _, p := range previous {
		for _, l := range p.localities {
			owners[l.id] = p
		}
	}
	taken := make(map[*priority]bool, len(previous))
	continues := make([]bool, len(next))
	carry := func(i int, old *priority) {
		localities := next[i].localities
		*next[i] = *old
		next[i].localities = localities
		taken[old], continues[i] = true, true
	}
	for i, p := range next[:min(len(next), len(previous))] {
		for _, l := range p.localities {
			if owners[l.id] == previous[i] {
				carry(i, previous[i])
				break
			}
		}
	}
	for i, p := range next {
		for _, l := range p.localities {
			if continues[i] {
				break
			}
			if old := owners[l.id]; old != nil && !taken[old] {
				carry(i, old)
			}
		}
	}
}
