package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
			c.failed(c.without(err))
			next = earlier(next, time.Now().Add(c.pace.retry()))
		} else {
			c.mended()
		}
		if generation, ok := c.waiting(); ok && generation != asked {
			asked = generation
			wg.Go(func() { c.ask(ctx, generation) })
		}
		if c.commons != nil {
			next = earlier(next, time.Now().Add(min(sharedPoll, c.pace.leaf/4)))
		} else if c.config.Dir != "" || !c.view.Load().online {
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
	next, err := c.steps()
	// One certificate that cannot be made must not stop the other.
	err = errors.Join(err, c.renewOwn())
	return earlier(next, c.ownRenewal()), err
}

// steps does what is due to the state.
func (c *CA) steps() (time.Time, error) {
	if c.commons != nil {
		err := c.advance()
		_, next := c.plan()
		return next, err
	}
	if err := c.reload(); err != nil {
		return time.Time{}, err
	}
	for {
		s, next := c.plan()
		if s == stepNone {
			return next, nil
		}
		if err := c.step(s); err != nil {
			return time.Time{}, err
		}
	}
}

// reload takes up what another process has changed.
func (c *CA) reload() error {
	v := c.view.Load()
	raw, _, err := readState(c.files)
	moved := slices.ContainsFunc(v.state.Roots, func(r record) bool { return c.keys.Has(r.Name) != v.holds[r.Name] })
	if err == nil && string(raw) == v.raw && !moved {
		return nil
	}
	return c.change(func(*change) error { return nil })
}

// waiting returns the generation that clients are to be asked for, if it is time to.
func (c *CA) waiting() (uint64, bool) {
	v, m := c.view.Load(), c.moment()
	prepared := v.state.rootIn(Prepared)
	c.mu.Lock()
	acknowledged := c.acknowledged // by this one's clients
	c.mu.Unlock()
	if prepared == nil || c.config.Acknowledged == nil || acknowledged >= prepared.Generation {
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
		if !c.keys.Has(root.Name) && (c.commons == nil || l == Root) {
			return c.cannotRotate(root.Name)
		}
		switch l {
		case Root:
			if !c.leads() {
				return errors.New("identity: another xdsserver leads: begin the rotation there")
			}
			if ch.state.rootIn(Prepared) != nil || ch.state.rootIn(Retiring) != nil {
				return errors.New("identity: a rotation of the root is under way: see 'xdsserver ca status' for when it ends")
			}
			return ch.prepareRoot()
		case Intermediate:
			if ch.state.of(root.Name, Prepared, ch.replica) != nil || ch.state.of(root.Name, Requested, ch.replica) != nil {
				return errors.New("identity: a rotation of the intermediate is under way")
			}
			if !c.keys.Has(root.Name) {
				return ch.request(root)
			}
			return ch.addIntermediate(root)
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

// cannotRotate says where the key is that a rotation needs.
func (c *CA) cannotRotate(root string) error {
	if holders := c.holders(root, time.Now()); len(holders) > 0 {
		return fmt.Errorf("identity: the key of %s is not here but with %s: begin the rotation there", root, strings.Join(holders, ", "))
	}
	return fmt.Errorf("identity: the key of %s is offline: put it back with 'xdsserver ca import' first", root)
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
	root, intermediate := v.state.rootIn(Active).Name, ""
	if v.active != nil {
		intermediate = v.active.record.Name
	}
	switch s {
	case stepPrepareIntermediate, stepStop, stepNone:
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
	case stepLose:
		c.logger.Warn("the key of an intermediate is not here any more, it is replaced")
	case stepRequest:
		c.logger.Info("an intermediate is asked for, which an xdsserver with the root's key signs", "root", root)
	case stepSign:
		c.logger.Info("intermediates are signed that were asked for", "root", root)
	case stepWithdrawRoot:
		c.logger.Warn("a new root is given up, nobody with its key is up", "root", root)
	}
}
