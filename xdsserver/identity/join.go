package identity

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"
)

const (
	// joinMost bounds the wait for the first intermediate, and joinPause is between two
	// looks.
	joinMost, joinPause = 30 * time.Second, 500 * time.Millisecond
	// sharedPoll is how often the state is read that several share.
	sharedPoll = 2 * time.Second
	// stepsMost bounds what is done at one look, in case two processes undo each other's.
	stepsMost = 64
)

// newAuthorityID returns a random name.
func newAuthorityID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// join takes part in an authority that replicas share, and returns when leaves can be
// issued here.
func (c *CA) join() error {
	deadline := time.Now().Add(cmp.Or(c.config.Wait, joinMost))
	for {
		err := c.advance()
		if err != nil && !passes(err) {
			return err
		}
		if err != nil && c.view.Load() == nil {
			if cerr := c.useCopy(); cerr != nil {
				return cerr
			}
		}
		left := time.Until(deadline)
		if v := c.view.Load(); v != nil && c.usable() == nil && (err != nil || left <= 0 || !c.follows(v)) {
			if err != nil {
				c.failed(c.without(err)) // there is time to mend it
			}
			return c.renewOwn()
		}
		if left <= 0 {
			return c.alone(err)
		}
		<-time.After(min(left, joinPause))
	}
}

// follows reports whether xdsserver's own certificate will in a moment lead to the root
// that those of the others lead to: tokens hold its pin.
func (c *CA) follows(v *view) bool {
	for _, r := range v.state.owned(v.replica) {
		awaited := v.state.active(v.replica) == nil || v.state.root(r.Root).Phase == Retiring
		if r.Phase == Requested && awaited && len(c.holders(r.Root, time.Now())) > 0 {
			return true
		}
	}
	return false
}

// alone says why leaves cannot be issued here, and what to do.
func (c *CA) alone(err error) error {
	wait := cmp.Or(c.config.Wait, joinMost)
	v := c.view.Load()
	switch {
	case err != nil && v == nil:
		return fmt.Errorf("identity: the state that the xdsservers share cannot be used for %v, and %s holds no copy of it: %w",
			wait, c.commons.local.path(""), err)
	case err != nil:
		return fmt.Errorf("%w, and the state that the xdsservers share cannot be reached for %v: %w", c.usable(), wait, err)
	}
	return fmt.Errorf("%w (waited for %v)", c.usable(), wait)
}

// missing says who could sign an intermediate for this replica, and what to do.
func (c *CA) missing(v *view) string {
	root := v.state.rootIn(Active).Name
	c.mu.Lock()
	defer c.mu.Unlock()
	start := "the one that has it"
	for _, id := range slices.Sorted(maps.Keys(c.replicas)) {
		s := c.replicas[id]
		switch {
		case !slices.Contains(s.beat.Holds, root):
		case time.Since(s.moved) < beatEvery+beatLate:
			return fmt.Sprintf("%s has the key of %s, and has not signed one yet: see its log", id, root)
		default:
			start = id + ", which has it"
		}
	}
	return fmt.Sprintf("no xdsserver with the key of %s is up: start %s, or run 'xdsserver ca export-root' there and 'xdsserver ca import' here", root, start)
}

// holders returns the other replicas that live and have the key of a root.
func (c *CA) holders(root string, now time.Time) []string {
	var holders []string
	for _, b := range c.others(now) {
		if slices.Contains(b.Holds, root) {
			holders = append(holders, b.Replica)
		}
	}
	return holders
}

// without wraps the error of a Shared that cannot be used while what is known is enough.
func (c *CA) without(err error) error {
	if !errors.As(err, &unreachableError{}) {
		return err
	}
	return fmt.Errorf("the state that the xdsservers share cannot be reached, this one goes on with what it knows: %w", err)
}

// useCopy shows the state that the folder has a copy of, where it has one.
func (c *CA) useCopy() error {
	c.turn.Lock()
	defer c.turn.Unlock()
	known, raw, err := c.known()
	if err != nil || known == nil || known.Authority == "" {
		return err
	}
	if known.TrustDomain != c.config.TrustDomain {
		return fmt.Errorf("identity: %s is of the trust domain %s, not %s: start with --trust-domain %s, or name another folder",
			c.commons.local.path(stateFile), known.TrustDomain, c.config.TrustDomain, known.TrustDomain)
	}
	l := &loader{files: c.files, keys: c.keys, replica: c.config.Replica, pace: c.pace, logger: c.logger}
	v, err := l.load(known, string(raw))
	if passes(err) {
		return nil // the copy is not whole
	}
	if err != nil {
		return err
	}
	return c.show(v)
}

// known returns the latest state that this replica knows; nil when it knows none. It is
// the caller's.
func (c *CA) known() (*state, []byte, error) {
	if v := c.view.Load(); v != nil {
		s, err := decodeState([]byte(v.raw))
		return s, []byte(v.raw), err
	}
	raw, err := c.commons.local.read(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	s, err := decodeState(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: %s %w", c.commons.local.path(stateFile), err)
	}
	if s.Creating {
		return nil, nil, nil
	}
	return s, raw, nil
}

// reconcile compares what is shared with what this replica knows. What is shared is
// right, unless it has lost something, as a store does that was put back from a backup:
// certificates that were handed out cannot be taken back, and so the later state is.
func (c *CA) reconcile(ch *change) error {
	c.collect(ch)
	known, _, err := c.known()
	if err != nil || known == nil {
		return err
	}
	where, folder := c.commons.shared.Where(stateFile), c.commons.local.path("")
	switch s := ch.state; {
	case s != nil && s.Authority == "":
		return fmt.Errorf("identity: %s is of an xdsserver that shares nothing: have it in a folder, and take it away from there", where)
	case known.Authority == "" && s == nil:
		c.logger.Info("the trust domain of this folder is from now on that of several xdsservers", "folder", folder)
		return ch.adopt(known)
	case known.Authority == "":
		return ch.same(known)
	case s != nil && s.Authority != known.Authority:
		return fmt.Errorf("identity: %s and %s are of two authorities of one trust domain: move the folder away to join the one that is shared", folder, where)
	case s == nil || s.Revision < known.Revision:
		c.logger.Warn("the state that the xdsservers share has lost something, this one puts it back", "where", where, "revision", known.Revision)
		return ch.restore(known)
	}
	return nil
}

// adopt shares a state that was the folder's own.
func (c *change) adopt(known *state) error {
	known.Authority = newAuthorityID()
	for i := range known.Intermediates {
		r := &known.Intermediates[i]
		r.Replica, r.Stopped = c.replica, r.Phase == Retiring
	}
	return c.restore(known)
}

// restore shares a state again, with the certificates that are in the folder.
func (c *change) restore(known *state) error {
	for _, r := range slices.Concat(known.Roots, known.Intermediates) {
		data, err := c.commons.local.read(certFile(r.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another's, or not signed yet
		}
		if err != nil {
			return err
		}
		if err := c.commons.write(certFile(r.Name), data); err != nil {
			return err
		}
	}
	c.state, c.dirty = known, true
	return nil
}

// same refuses a folder whose trust domain is not the one that is shared. It is where
// this replica brought it there, and did not come to note it.
func (c *change) same(known *state) error {
	for _, r := range known.Roots {
		own, err := c.commons.local.read(certFile(r.Name))
		if err != nil {
			return err
		}
		shared, _, err := c.commons.fetch(certFile(r.Name))
		if passes(err) {
			return err
		}
		if err != nil || !c.state.names(r.Name) || !bytes.Equal(own, shared) {
			return fmt.Errorf("identity: %s has a trust domain of its own, and %s another of that name: move the folder away to join the one that is shared",
				c.commons.local.path(""), c.commons.shared.Where(stateFile))
		}
	}
	return nil
}

// advance does what is due in an authority that replicas share, but for xdsserver's own
// certificate.
func (c *CA) advance() error {
	if !c.entered {
		if err := c.enter(); err != nil {
			return err
		}
		c.entered = true
	} else if err := c.reload(); err != nil {
		return err
	}
	if err := c.meet(); err != nil {
		return err
	}
	if err := c.tell(); err != nil {
		return err
	}
	for range stepsMost {
		s, _ := c.plan()
		if s == stepNone {
			break
		}
		if s == stepLose {
			// Another xdsserver may have this one's name, and the keys: its sign of life
			// would be there, and neither is to undo what the other does.
			c.told.moved = time.Time{}
			if err := c.tell(); err != nil {
				return err
			}
		}
		if err := c.step(s); err != nil {
			return err
		}
	}
	if err := c.tell(); err != nil {
		return err
	}
	return c.commons.copied()
}
