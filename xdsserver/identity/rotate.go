package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// poll is how often a CA looks for what a command has put into its folder.
	poll = 10 * time.Second
	// askPause and askPauseMost bound the pause between two questions whether clients
	// have a bundle, after an error.
	askPause, askPauseMost = time.Second, time.Minute
)

// Run implements Authority: it rotates intermediates and roots, and renews
// xdsserver's own certificate. What fails is tried again, and in Status meanwhile.
func (c *CA) Run(ctx context.Context) error {
	c.setRunning(time.Now())
	defer c.setRunning(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	timer := time.NewTimer(0)
	defer timer.Stop()
	asked := uint64(0) // the generation that clients are asked for
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		next, err := c.look()
		if err != nil {
			c.failed(err)
			next = earlier(next, time.Now().Add(c.pace.retry()))
		} else {
			c.mended()
		}
		if generation, ok := c.waiting(); ok && generation != asked {
			asked = generation
			wg.Go(func() { c.ask(ctx, generation) })
		}
		if c.config.Dir != "" || !c.view.Load().online {
			next = earlier(next, time.Now().Add(poll))
		}
		timer.Reset(time.Until(next))
	}
}

// retry is how long to wait after a failure.
func (p pace) retry() time.Duration { return min(time.Minute, p.leaf/4) }

// earlier returns the earlier of two moments, where zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// look does everything that is due, and returns when something will be.
func (c *CA) look() (time.Time, error) {
	if err := c.reload(); err != nil {
		return halfLife(c.own.Load().Leaf), err
	}
	for {
		s, next := c.plan()
		if s == stepNone {
			return earlier(next, halfLife(c.own.Load().Leaf)), c.renewOwn()
		}
		if err := c.step(s); err != nil {
			// One certificate that cannot be made must not stop the other.
			return halfLife(c.own.Load().Leaf), errors.Join(err, c.renewOwn())
		}
	}
}

// reload takes up what another process has changed.
func (c *CA) reload() error {
	v := c.view.Load()
	raw, err := c.files.read(stateFile)
	if err == nil && string(raw) == v.raw && c.keys.Has(v.state.rootIn(Active).Name) == v.online {
		return nil
	}
	return c.change(func(*change) error { return nil })
}

// waiting returns the generation that clients are to be asked for, if it is time to.
func (c *CA) waiting() (uint64, bool) {
	v, m := c.view.Load(), c.moment()
	prepared := v.state.rootIn(Prepared)
	if prepared == nil || m.acknowledged >= prepared.Generation {
		return 0, false
	}
	earliest, _ := v.state.activation(c.pace, m)
	return prepared.Generation, !m.now.Before(earliest)
}

// ask waits until all connected clients have a generation, or it is of no matter
// any more.
func (c *CA) ask(ctx context.Context, generation uint64) {
	for pause := askPause; ; pause = min(2*pause, askPauseMost) {
		err := c.config.Acknowledged(ctx, generation)
		if err == nil {
			c.mu.Lock()
			c.acknowledged = max(c.acknowledged, generation)
			c.mu.Unlock()
			c.rouse()
			return
		}
		c.logger.DebugContext(ctx, "clients have not acknowledged the new root", "generation", generation, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if prepared := c.view.Load().state.rootIn(Prepared); prepared == nil || prepared.Generation != generation {
			return
		}
	}
}

// rouse has Run look again.
func (c *CA) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *CA) setRunning(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = t
}

// Rotate begins to replace the active root or intermediate; Run completes it. It
// returns when the new certificate is on disk, and refuses while a rotation of the
// same level is under way, or the key of the root is offline.
//
// A new root is first published beside the old one, and used when every connected
// client has it, or after 24 hours. Then processes are asked to renew their
// certificates, and the old root is taken out when the last one under it has expired.
func (c *CA) Rotate(ctx context.Context, l Level) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.change(func(ch *change) error {
		root := ch.state.rootIn(Active)
		if !c.keys.Has(root.Name) {
			return fmt.Errorf("identity: the key of %s is offline: put it back with 'xdsserver ca import' first", root.Name)
		}
		switch l {
		case Root:
			if ch.state.rootIn(Prepared) != nil || ch.state.rootIn(Retiring) != nil {
				return errors.New("identity: a rotation of the root is under way: see 'xdsserver ca status' for when it ends")
			}
			return ch.prepareRoot()
		case Intermediate:
			if ch.state.of(root.Name, Prepared) != nil {
				return errors.New("identity: a rotation of the intermediate is under way")
			}
			return ch.addIntermediate(root, Prepared)
		}
		return fmt.Errorf("identity: %v does not rotate: want %v or %v", l, Root, Intermediate)
	})
	if err != nil {
		return err
	}
	c.logger.InfoContext(ctx, "rotation begun", "level", l.String())
	c.rouse()
	return nil
}

// failed notes why a change was not made, and logs it once.
func (c *CA) failed(err error) {
	c.mu.Lock()
	again := c.problem == err.Error()
	c.problem = err.Error()
	c.mu.Unlock()
	if !again {
		c.logger.Error("the authority cannot be kept up", "error", err)
	}
}

func (c *CA) mended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = ""
}

// logStep tells of a step that was done.
func (c *CA) logStep(s step) {
	v := c.view.Load()
	root, intermediate := v.state.rootIn(Active).Name, v.state.active().Name
	switch s {
	case stepPrepareIntermediate, stepNone:
	case stepPrepareRoot:
		c.logger.Info("new root published, waiting for clients to have it", "generation", v.trust.Generation)
	case stepActivateIntermediate:
		c.logger.Info("certificates come from a new intermediate", "intermediate", intermediate)
	case stepActivateRoot:
		c.logger.Info("certificates come from a new root, processes are asked to renew", "root", root, "intermediate", intermediate)
	case stepRetireIntermediate:
		c.logger.Info("an old intermediate is retired", "intermediate", intermediate)
	case stepRetireRoot:
		c.logger.Info("the old root is retired", "root", root)
	}
}

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
	if !v.online {
		s.IssuesUntil = v.active.cert.NotAfter
		if due := v.state.renewal(); problem == "" && m.now.After(due) {
			s.Problem = fmt.Sprintf("the key of %s is offline, and certificates are issued until %s only: put it back with 'xdsserver ca import'",
				v.state.rootIn(Active).Name, s.IssuesUntil.UTC().Format(time.RFC3339))
		}
	}
	return s
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
		}
		return &Rotation{Level: Root, Phase: Prepared, Since: r.Since, Until: latest, Waiting: waiting}
	}
	if old := v.state.rootIn(Retiring); old != nil {
		return &Rotation{
			Level: Root, Phase: Active, Since: old.Since, Until: v.state.lastLeaf(old.Name, m),
			Waiting: "the last certificate under the old root to expire",
		}
	}
	if retiring := v.state.inPhase(v.state.Intermediates, Retiring); len(retiring) > 0 {
		last := retiring[len(retiring)-1]
		return &Rotation{
			Level: Intermediate, Phase: Active, Since: last.Since, Until: m.expired(last),
			Waiting: "the last certificate under the old intermediate to expire",
		}
	}
	if r := v.state.of(v.state.rootIn(Active).Name, Prepared); r != nil {
		return &Rotation{Level: Intermediate, Phase: Prepared, Since: r.Since, Waiting: "its activation"}
	}
	return nil
}
