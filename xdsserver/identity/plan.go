package identity

import (
	"time"
)

// A step is one change of a CA's state.
type step int

const (
	stepNone step = iota
	stepRetireIntermediate
	stepRetireRoot
	stepActivateIntermediate
	stepActivateRoot
	stepPrepareIntermediate
	stepPrepareRoot
)

const (
	// waitMost bounds the wait for clients to acknowledge a bundle.
	waitMost = 24 * time.Hour
	// settleMost is how long a new root is published at least before it is used,
	// and how long an xdsserver that has just started waits for its clients to
	// come back before it asks them: three times the longest pause between their attempts.
	settleMost = 10 * time.Second
	// slackMost is how long a leaf may be issued after the moment its life was
	// counted from: signing, and writing state to a slow disk.
	slackMost = 10 * time.Second
)

// pace is the times of a CA, from its Config. It is immutable.
type pace struct {
	leaf, intermediate, root time.Duration
}

// lead is how long before its end a root is replaced.
func (p pace) lead() time.Duration { return min(4*p.intermediate, p.root/2) }

// wait bounds the wait for acknowledgements: 24 h, less where lives are short.
func (p pace) wait() time.Duration { return min(waitMost, p.lead()/4) }

// settle is settleMost, less where lives are short: but a client between two
// connections is not among those that are asked, and must have had the time to come
// back.
func (p pace) settle() time.Duration { return min(settleMost, p.leaf/2) }

func (p pace) slack() time.Duration { return min(slackMost, p.leaf) }

// A moment is what a plan depends on beside the state.
type moment struct {
	now time.Time
	// online says whether the key of the active root is here.
	online bool
	// running is when Run began; zero when it did not: then no root is activated,
	// since no client can have been asked.
	running time.Time
	// acknowledged is the latest generation that all connected clients have.
	acknowledged uint64
	// issued is when the last leaf of an intermediate expires, as far as this
	// process issued it.
	issued map[string]time.Time
}

// expired returns when the last leaf of a retiring intermediate has expired.
func (m moment) expired(r *record) time.Time {
	if last := m.issued[r.Name]; last.After(r.Until) {
		return last
	}
	return r.Until
}

// plan returns the step that is due, or stepNone and when to look again at the
// latest; zero when nothing will be due. It changes nothing.
//
// Retirement goes first: a bundle should not be published with a root that the
// next step takes out. Only one root is ever prepared or retiring, so that a
// bundle holds two at most.
func (s *state) plan(p pace, m moment) (step, time.Time) {
	var next time.Time
	// due notes an event, and says whether its time has come.
	due := func(at time.Time) bool {
		if !m.now.Before(at) {
			return true
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
		return false
	}
	root := s.rootIn(Active)

	if old := s.rootIn(Retiring); old != nil && due(s.lastLeaf(old.Name, m)) {
		return stepRetireRoot, next
	}
	for _, r := range s.inPhase(s.Intermediates, Retiring) {
		// Those of a retiring root go with it: the last signs for xdsserver itself.
		if r.Root == root.Name && due(m.expired(r)) {
			return stepRetireIntermediate, next
		}
	}
	if s.of(root.Name, Prepared) != nil {
		return stepActivateIntermediate, next
	}
	prepared := s.rootIn(Prepared)
	ended := m.now.After(root.NotAfter) // the server was stopped for years: nobody is left to wait for
	if prepared != nil && ended {
		return stepActivateRoot, next
	}
	if prepared != nil && !m.running.IsZero() {
		earliest, latest := s.activation(p, m)
		if due(earliest) && (m.acknowledged >= prepared.Generation || due(latest)) {
			return stepActivateRoot, next
		}
	}
	if m.online && !ended && s.gains(root) && due(s.renewal()) {
		return stepPrepareIntermediate, next
	}
	if m.online && prepared == nil && s.rootIn(Retiring) == nil && due(root.NotAfter.Add(-p.lead())) {
		return stepPrepareRoot, next
	}
	return stepNone, next
}

// activation returns when a prepared root is activated at the earliest, when all
// connected clients know it, and at the latest, when some do not. A restart in
// between lets them come back first.
func (s *state) activation(p pace, m moment) (earliest, latest time.Time) {
	since := s.rootIn(Prepared).Since
	began := m.running
	if began.Before(since) {
		began = since
	}
	earliest = began.Add(p.settle())
	latest = since.Add(p.wait())
	if again := began.Add(p.wait() / 24); latest.Before(again) {
		latest = again
	}
	return earliest, latest
}

// lastLeaf is when the last leaf under a retiring root has expired.
func (s *state) lastLeaf(root string, m moment) time.Time {
	var last time.Time
	for i := range s.Intermediates {
		if r := &s.Intermediates[i]; r.Root == root && m.expired(r).After(last) {
			last = m.expired(r)
		}
	}
	return last
}

// renewal is when the active intermediate is replaced: at half of its life.
func (s *state) renewal() time.Time {
	a := s.active()
	return a.Made.Add(a.NotAfter.Sub(a.Made) / 2)
}

// gains says whether a new intermediate would outlive the one that is there: near
// a root's end it would not.
func (s *state) gains(root *record) bool { return s.active().NotAfter.Before(root.NotAfter) }
