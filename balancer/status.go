package balancer

import (
	"time"

	"github.com/tulle-mesh/tulle/mesh/breaker"
)

// A Status is what a pool knows of one of its members, at one moment.
type Status struct {
	Address string
	// Cost is what a call is taken to need, Guess whether no call has told it.
	Cost  time.Duration
	Guess bool
	// Open counts open calls, Streams those of them that are streams, Calls all that
	// were begun.
	Open, Streams int
	Calls         uint64
	// Breaker is closed, open or half-open; an open one lets a call through to see in
	// RetryIn. Ejected is whether outlier detection wants calls kept away.
	Breaker breaker.State
	RetryIn time.Duration
	Ejected bool
	// Out is whether calls are kept away; of those that fail some are not, where too
	// many do.
	Out bool
	// Local is whether it is in the client's zone, InUse whether it is needed.
	Local, InUse bool
}

// Status returns what the pool knows of its members, in the order in which it uses
// them. It may be called at any time.
func (p *Pool) Status() []Status {
	now := breaker.Now()
	inUse := int(p.inUse.Load())
	all := make([]Status, len(p.members))
	for i := range p.members {
		m := &p.members[i]
		b := m.Node.breaker.Load()
		estimate, guess := m.Node.cost.at(now, p.decayRate)
		all[i] = Status{
			Address: m.Node.Address,
			Cost:    time.Duration(estimate),
			Guess:   guess,
			Open:    m.Node.Open(),
			Streams: m.Node.Streams(),
			Calls:   m.Node.Calls(),
			Breaker: b.State(),
			Ejected: m.Node.ejected.Load(),
			Out:     m.Node.out.Load(),
			Local:   m.Local,
			InUse:   i < inUse,
		}
		if all[i].Breaker == breaker.Open {
			all[i].RetryIn = b.RetryIn(now)
		}
	}
	return all
}

// Panics returns how many calls went to an endpoint that was out, since all were.
func (p *Pool) Panics() int64 { return p.watch.desperate.Load() }
