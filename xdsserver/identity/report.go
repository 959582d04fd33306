package identity

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status implements Authority.
func (c *CA) Status() Status {
	v, m := c.view.Load(), c.moment()
	c.mu.Lock()
	problem := c.problem
	c.mu.Unlock()
	s := Status{
		Kind:        c.Kind(),
		TrustDomain: v.state.TrustDomain,
		Generation:  v.trust.Generation,
		RenewBefore: v.trust.RenewBefore,
		LeafTTL:     c.pace.leaf,
		Issued:      c.issued.Load(),
		RootOnline:  v.online,
		Problem:     problem,
		Rotation:    c.rotation(v, m),
	}
	s.Roots, s.Intermediates = v.status(c.keys)
	root := v.state.rootIn(Active).Name
	if c.commons != nil {
		c.describeReplicas(&s, v, m.now)
	}
	if !v.online && v.active != nil && len(c.holders(root, m.now)) == 0 {
		s.IssuesUntil = v.active.cert.NotAfter
		if due := v.active.record.halfway(); problem == "" && m.now.After(due) {
			s.Problem = fmt.Sprintf("the key of %s is offline, and certificates are issued until %s only: put it back with 'xdsserver ca import'",
				root, s.IssuesUntil.UTC().Format(time.RFC3339))
		}
	}
	return s
}

// describeReplicas adds what is of several xdsservers.
func (c *CA) describeReplicas(s *Status, v *view, now time.Time) {
	root := v.state.rootIn(Active).Name
	s.Replica = v.replica
	s.Boundary = fmt.Sprintf("the state is shared at %s: who may write there decides over every identity of the mesh; no private key is there",
		c.commons.shared.Where(stateFile))
	c.mu.Lock()
	for id, r := range c.replicas {
		s.Replicas = append(s.Replicas, Replica{
			Name: id, Live: r.live(now), Acknowledged: r.beat.Acknowledged, RootOnline: slices.Contains(r.beat.Holds, root),
		})
	}
	c.mu.Unlock()
	s.Replicas = append(s.Replicas, Replica{Name: v.replica, Live: true, Acknowledged: c.acknowledges(v), RootOnline: v.online})
	slices.SortFunc(s.Replicas, func(a, b Replica) int { return strings.Compare(a.Name, b.Name) })
}

// behind returns the replicas whose clients do not all have a generation.
func (c *CA) behind(generation uint64, v *view, now time.Time) []string {
	var names []string
	if c.acknowledges(v) < generation {
		names = append(names, v.replica)
	}
	for _, b := range c.others(now) {
		if b.Acknowledged < generation {
			names = append(names, b.Replica)
		}
	}
	slices.Sort(names)
	return names
}

// unheard returns the replicas that may not know yet that a root retires.
func (v *view) unheard(root string) []string {
	var names []string
	for _, r := range v.state.inPhase(v.state.Intermediates, Retiring) {
		if r.Root == root && r.Replica != "" && !r.Stopped && !slices.Contains(names, r.Replica) {
			names = append(names, r.Replica)
		}
	}
	return names
}

// rotation describes what is under way.
func (c *CA) rotation(v *view, m moment) *Rotation {
	if m.running.IsZero() {
		m.running = m.now // it is not, and begins now at the earliest
	}
	if r := v.state.rootIn(Prepared); r != nil {
		earliest, latest := v.state.activation(c.pace, m)
		waiting := "clients to acknowledge the new root"
		if m.now.Before(earliest) {
			waiting = "the new root to be published for a moment"
		} else if names := c.behind(r.Generation, v, m.now); c.commons != nil && len(names) > 0 {
			waiting = "the new root to be acknowledged by the clients of " + strings.Join(names, ", ")
		}
		return &Rotation{Level: Root, Phase: Prepared, Since: r.Since, Until: latest, Waiting: waiting}
	}
	if old := v.state.rootIn(Retiring); old != nil {
		waiting := "the last certificate under the old root to expire"
		if names := v.unheard(old.Name); len(names) > 0 {
			waiting += ", and " + strings.Join(names, ", ") + " to hear of the new one"
		}
		return &Rotation{
			Level: Root, Phase: Active, Since: old.Since, Until: v.state.lastLeaf(old.Name, m), Waiting: waiting,
		}
	}
	own := func(p Phase) []*record {
		return slices.DeleteFunc(v.state.inPhase(v.state.Intermediates, p), func(r *record) bool { return r.Replica != v.replica })
	}
	if requested := own(Requested); len(requested) > 0 {
		r := requested[len(requested)-1]
		return &Rotation{Level: Intermediate, Phase: Requested, Since: r.Since, Waiting: "an xdsserver with the key of " + r.Root + " to sign it"}
	}
	if retiring := own(Retiring); len(retiring) > 0 {
		last := retiring[len(retiring)-1]
		return &Rotation{
			Level: Intermediate, Phase: Active, Since: last.Since, Until: m.expired(last),
			Waiting: "the last certificate under the old intermediate to expire",
		}
	}
	if r := v.state.of(v.state.rootIn(Active).Name, Prepared, v.replica); r != nil {
		return &Rotation{Level: Intermediate, Phase: Prepared, Since: r.Since, Waiting: "its activation"}
	}
	return nil
}
