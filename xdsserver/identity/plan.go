package identity

import (
	"slices"
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
	// The others are of an authority that several replicas share.
	stepLose
	stepStop
	stepSign
	stepRequest
	stepWithdrawRoot
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
	// acknowledged is the latest generation that all connected clients have, of all
	// replicas that live.
	acknowledged uint64
	// issued is when the last leaf of an intermediate expires, as far as this
	// process issued it.
	issued map[string]time.Time

	// replica is whose intermediates are to be looked after; empty where the authority
	// is not shared, and then what follows is not used but leads, which is true.
	replica string
	// leads says whether the steps of the root may be done here.
	leads bool
	// holds are the roots whose keys are here, lost this replica's intermediates whose
	// are not.
	holds, lost map[string]bool
	// issuing is the intermediate that leaves come from, empty for none.
	issuing string
	// published is when this process began to show the bundle there is.
	published time.Time
}

// past reports whether the time of something has come.
func (m moment) past(at time.Time) bool { return !m.now.Before(at) }

// signs reports whether an intermediate of a root can be made here.
func (m moment) signs(root *record) bool {
	if m.replica == "" {
		return m.online && root.Phase == Active
	}
	return m.holds[root.Name]
}

// asks reports whether it has to be asked for.
func (m moment) asks(root *record) bool { return m.replica != "" && !m.holds[root.Name] }

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
		if m.past(at) {
			return true
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
		return false
	}
	root := s.rootIn(Active)

	if len(s.lost(m)) > 0 {
		return stepLose, next
	}
	if old := s.rootIn(Retiring); old != nil && m.leads && due(s.lastLeaf(old.Name, m)) {
		return stepRetireRoot, next
	}
	for i := range s.Intermediates {
		if end, ok := s.end(&s.Intermediates[i], m); ok && due(end) {
			return stepRetireIntermediate, next
		}
	}
	if len(s.stoppable(m)) > 0 {
		return stepStop, next
	}
	if s.of(root.Name, Prepared, m.replica) != nil {
		return stepActivateIntermediate, next
	}
	if len(s.signable(m)) > 0 {
		return stepSign, next
	}
	prepared := s.rootIn(Prepared)
	ended := m.now.After(root.NotAfter) // the server was stopped for years: nobody is left to wait for
	if prepared != nil && m.leads {
		usable := m.replica == "" || m.holds[prepared.Name]
		if usable && ended {
			return stepActivateRoot, next
		}
		if usable && !m.running.IsZero() {
			earliest, latest := s.activation(p, m)
			if due(earliest) && (m.acknowledged >= prepared.Generation || due(latest)) {
				return stepActivateRoot, next
			}
		}
		// Its key went with a replica: another root is made.
		if !usable && m.online && due(prepared.Since.Add(2*p.wait())) {
			return stepWithdrawRoot, next
		}
	}
	if s.lacking(p, m, m.signs, due) != nil {
		return stepPrepareIntermediate, next
	}
	if s.lacking(p, m, m.asks, due) != nil {
		return stepRequest, next
	}
	if m.online && m.leads && prepared == nil && s.rootIn(Retiring) == nil && due(root.NotAfter.Add(-p.lead())) {
		return stepPrepareRoot, next
	}
	return stepNone, next
}

// end returns when an intermediate is of no use to anybody, as far as it is for this
// replica to say so: of those of another that is gone, who leads does.
func (s *state) end(r *record, m moment) (time.Time, bool) {
	own := r.Replica == m.replica
	switch {
	case !own && !m.leads:
	case r.Phase == Retiring:
		// Those of a retiring root go with it: the last signs for xdsserver itself.
		return m.expired(r), r.Root == s.rootIn(Active).Name
	case !own && r.Phase != Requested:
		return r.NotAfter.Add(time.Second), true
	}
	return time.Time{}, false
}

// lost returns this replica's intermediates whose keys are not here.
func (s *state) lost(m moment) []*record {
	return slices.DeleteFunc(s.owned(m.replica), func(r *record) bool { return r.Phase == Retiring || !m.lost[r.Name] })
}

// stoppable returns this replica's retiring intermediates that it has stopped to issue
// from, which nobody was told yet.
func (s *state) stoppable(m moment) []*record {
	return slices.DeleteFunc(s.owned(m.replica), func(r *record) bool {
		return m.replica == "" || r.Phase != Retiring || r.Stopped || r.Name == m.issuing
	})
}

// lacking returns the first root under which this replica is to get an intermediate
// now, of those that can is true for. Due is told when others will be.
func (s *state) lacking(p pace, m moment, can func(*record) bool, due func(time.Time) bool) *record {
	for _, phase := range []Phase{Active, Prepared, Retiring} {
		r := s.rootIn(phase)
		if r == nil || !can(r) || m.now.After(r.NotAfter) {
			continue
		}
		if at, ok := s.need(r, p, m); ok && due(at) {
			return r
		}
	}
	return nil
}

// need returns when this replica is to get an intermediate under a root, if ever: one
// that it has is replaced at half of its life.
func (s *state) need(root *record, p pace, m moment) (time.Time, bool) {
	var active *record
	for _, r := range s.owned(m.replica) {
		switch {
		case r.Root != root.Name:
		case r.Phase == Active:
			active = r
		case r.Phase != Retiring || root.Phase == Retiring:
			return time.Time{}, false // under way, or enough
		}
	}
	switch {
	case active != nil:
		// Near a root's end, a new one would not outlive the one that is there.
		return active.halfway(), active.NotAfter.Before(root.NotAfter)
	case root.Phase == Retiring:
		return time.Time{}, m.now.Before(s.turn(p))
	}
	return time.Time{}, m.replica != ""
}

// turn is when the certificates of all xdsservers leave a retiring root: a while before
// it can be retired by anyone, so that those who do not know of that yet are not left
// with one that nobody accepts.
func (s *state) turn(p pace) time.Time {
	return s.rootIn(Retiring).Since.Add(p.leaf + p.slack() - min(backDate, p.leaf/2))
}

// activation returns when a prepared root is activated at the earliest, when all
// connected clients know it, and at the latest, when some do not. A restart in
// between lets them come back first.
func (s *state) activation(p pace, m moment) (earliest, latest time.Time) {
	since := s.rootIn(Prepared).Since
	began := m.running
	for _, t := range []time.Time{since, m.published} {
		if began.Before(t) {
			began = t
		}
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
