package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// triesMost bounds how often a change is made anew because others were first.
const triesMost = 10

// change does one change of the state: read, changed, stored, and seen. Where replicas
// share it and another was first, all of it is done again on what that one stored.
func (c *CA) change(do func(*change) error) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	for try := 1; ; try++ {
		err := c.attempt(do)
		if !errors.Is(err, ErrSharedConflict) || try == triesMost {
			return err
		}
	}
}

func (c *CA) attempt(do func(*change) error) error {
	unlock, err := c.files.lock()
	if err != nil {
		return err
	}
	defer unlock()

	ch := &change{
		files: c.files, keys: c.keys, pace: c.pace, logger: c.logger, now: time.Now(),
		commons: c.commons, replica: c.config.Replica,
	}
	raw, err := c.read(ch)
	if err != nil {
		return err
	}
	if err := do(ch); err != nil {
		c.abandon(ch)
		return err
	}
	if ch.dirty {
		if c.commons != nil {
			ch.state.Revision++
		}
		raw = ch.state.encode()
		if err := writeState(c.files, raw, ch.index); err != nil {
			// It may have been written, or may be yet.
			for _, name := range ch.made {
				c.leave(name, ch.index)
			}
			return err
		}
	}
	prev := c.view.Load()
	l := &loader{files: c.files, keys: c.keys, replica: c.config.Replica, pace: c.pace, logger: c.logger, prev: prev}
	v, err := l.load(ch.state, string(raw))
	if err != nil {
		return err
	}
	if err := c.show(v); err != nil {
		return err
	}
	if c.commons != nil {
		c.commons.copy(stateFile, raw)
		if prev != nil && prev.raw != v.raw {
			ch.outdate(prev)
			err = ch.sweepFolder(c.commons.local)
		}
	}
	if err := errors.Join(err, ch.clean()); err != nil {
		c.logger.Warn("files of a certificate that is no longer used remain", "error", err)
	}
	return nil
}

// read reads what a change begins with.
func (c *CA) read(ch *change) ([]byte, error) {
	raw, index, err := readState(c.files)
	if err == nil {
		ch.index = index
		ch.state, err = decodeState(raw)
		if err != nil {
			return nil, fmt.Errorf("identity: %s %w", c.files.path(stateFile), err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if c.commons != nil {
		return raw, c.reconcile(ch)
	}
	if ch.state != nil && ch.state.Authority != "" {
		return nil, fmt.Errorf("identity: %s is a copy of a state that several xdsservers share: start with what they share it in, or name another folder",
			c.files.path(stateFile))
	}
	if v := c.view.Load(); v != nil && ch.state == nil {
		return nil, fmt.Errorf("identity: %s is gone: put it back from a backup", c.files.path(stateFile))
	}
	return raw, nil
}

// leave notes a key that is of no use, unless a state turns up that names it.
func (c *CA) leave(name string, index uint64) {
	if c.commons != nil {
		c.leftover[name] = index
	}
}

// abandon removes what a change made that no state can name.
func (c *CA) abandon(ch *change) {
	if c.commons == nil {
		return // a start does; the state counts the names
	}
	only := &change{files: ch.files, keys: ch.keys, commons: ch.commons, gone: ch.made}
	if err := only.clean(); err != nil {
		for _, name := range ch.made {
			c.leave(name, ch.index)
		}
	}
}

// collect removes what is left of changes that came too late: they were for an index
// that the state has no more.
func (c *CA) collect(ch *change) {
	for name, index := range c.leftover {
		if index == ch.index {
			continue
		}
		delete(c.leftover, name)
		if ch.state != nil && ch.state.names(name) {
			continue
		}
		// At once, so that its name is free.
		only := &change{files: ch.files, keys: ch.keys, commons: ch.commons, gone: []string{name}}
		if err := only.clean(); err != nil {
			c.leave(name, index)
		}
	}
}

// outdate removes from the folder what the state named before and does not any more,
// because another replica has changed it. The key of an active root stays, which nothing
// can replace: no step of a plan takes it out at once.
func (c *change) outdate(prev *view) {
	if prev == nil {
		return
	}
	for _, r := range slices.Concat(prev.state.Roots, prev.state.Intermediates) {
		if active := r.Root == "" && r.Phase == Active; !active && !c.state.names(r.Name) && !slices.Contains(c.gone, r.Name) {
			c.stale = append(c.stale, r.Name)
		}
	}
}

// show makes a view the current one. xdsserver's own certificate comes first: nobody
// should be told to forget the root of the one that is in use.
func (c *CA) show(v *view) error {
	prev := c.view.Load()
	if v.own != nil && (prev == nil || prev.own == nil || !prev.own.cert.Equal(v.own.cert)) {
		// Where the intermediate has expired, there is nothing to sign with, and this
		// may be a step towards another.
		if err := c.signOwn(v); err != nil && v.active != nil && time.Now().Before(v.active.cert.NotAfter) {
			return err
		}
	}
	// Under mu, so that no leaf is counted to an intermediate after it retires.
	c.mu.Lock()
	c.view.Store(v)
	c.mu.Unlock()
	if prev != nil && prev.trust != v.trust {
		close(prev.changed)
	}
	return nil
}
