package identity

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// A CA is the built-in authority.
//
// Its root signs only intermediates, and its key may be kept elsewhere (see
// ExportRoot). Intermediates live for 30 days and are replaced at half of that;
// roots for 10 years. What is replaced stays valid until its last leaf has expired.
type CA struct {
	config Config
	pace   pace
	files  storage
	keys   Keys
	logger *slog.Logger
	wake   chan struct{} // cap 1: look at the state again

	// turn makes those who change the state take turns, and is held through their
	// I/O. Who reads does not take it.
	turn sync.Mutex

	view   atomic.Pointer[view]
	own    atomic.Pointer[tls.Certificate]
	issued atomic.Uint64

	// mu is held for moments only.
	mu           sync.Mutex
	last         map[string]time.Time // when the last leaf of an intermediate expires
	running      time.Time            // zero outside Run
	acknowledged uint64
	problem      string // of the last change, or empty
}

var _ Authority = (*CA)(nil)

// NewCA opens the CA in Config.Dir, or makes one where there is none. It refuses
// what is there but unsafe, damaged or of another trust domain, and says what to
// do; it never replaces it. Of two processes that make a CA in one folder, the second
// uses what the first made.
func NewCA(c Config) (*CA, error) {
	c.TrustDomain = cmp.Or(c.TrustDomain, "tulle.local")
	p, err := c.check()
	if err != nil {
		return nil, err
	}
	var files storage = newMemory()
	if c.Dir != "" {
		if files, err = openFolder(c.Dir); err != nil {
			return nil, err
		}
	}
	return newCA(c, p, files)
}

func newCA(c Config, p pace, files storage) (*CA, error) {
	passphrase, err := readPassphrase(c.PassphraseFile)
	if err != nil {
		return nil, err
	}
	ca := &CA{
		config: c,
		pace:   p,
		files:  files,
		keys:   c.Keys,
		logger: cmp.Or(c.Logger, slog.Default()),
		wake:   make(chan struct{}, 1),
		last:   map[string]time.Time{},
	}
	if ca.keys == nil {
		ca.keys = &storedKeys{files: files, passphrase: passphrase}
	}
	if err := ca.open(); err != nil {
		return nil, err
	}
	return ca, nil
}

// open reads or makes the trust domain, and does what is due since it last ran.
func (c *CA) open() error {
	err := c.change(func(ch *change) error {
		switch {
		case ch.state == nil || ch.state.Creating:
			return ch.create(c.config.TrustDomain)
		case ch.state.TrustDomain != c.config.TrustDomain:
			return fmt.Errorf("identity: %s is of the trust domain %s, not %s: start with --trust-domain %s, or name another folder",
				c.files.path(stateFile), ch.state.TrustDomain, c.config.TrustDomain, ch.state.TrustDomain)
		}
		for i := range ch.state.Intermediates {
			r := &ch.state.Intermediates[i]
			if longest := duration(c.pace.leaf); r.Phase != Retiring && r.LongestLeaf < longest {
				r.LongestLeaf, ch.dirty = longest, true
			}
		}
		return ch.sweep()
	})
	if err != nil {
		return err
	}
	if err := c.checkRootKeys(); err != nil {
		return err
	}
	for {
		s, _ := c.plan()
		if s == stepNone {
			break
		}
		if err := c.step(s); err != nil {
			if c.usable() != nil {
				return err
			}
			c.failed(err) // there is time to mend it
			break
		}
	}
	if err := c.usable(); err != nil {
		return err
	}
	return c.renewOwn()
}

// checkRootKeys opens those that are here: better now than in 15 days.
func (c *CA) checkRootKeys() error {
	v := c.view.Load()
	for i := range v.state.Roots {
		name := v.state.Roots[i].Name
		key, err := c.keys.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // offline
		}
		if err != nil {
			return err
		}
		if !matches(v.certs[name].cert, key) {
			return mismatch(c.files, name)
		}
	}
	return nil
}

// usable says why nothing can be issued.
func (c *CA) usable() error {
	v := c.view.Load()
	if end := v.active.cert.NotAfter; time.Now().After(end) {
		return fmt.Errorf("identity: the intermediate %s expired at %s: put the root's key back with 'xdsserver ca import', or import an intermediate",
			v.active.record.Name, end.UTC().Format(time.RFC3339))
	}
	return nil
}

// change does one change of the state: read, changed, stored, and seen.
func (c *CA) change(do func(*change) error) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	unlock, err := c.files.lock()
	if err != nil {
		return err
	}
	defer unlock()

	ch := &change{files: c.files, keys: c.keys, pace: c.pace, now: time.Now()}
	raw, err := c.files.read(stateFile)
	if err == nil {
		ch.state, err = decodeState(raw)
		if err != nil {
			return fmt.Errorf("identity: %s %w", c.files.path(stateFile), err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	} else if v := c.view.Load(); v != nil {
		return fmt.Errorf("identity: %s is gone: put it back from a backup", c.files.path(stateFile))
	}
	if err := do(ch); err != nil {
		return err
	}
	if ch.dirty {
		raw = ch.state.encode()
		if err := c.files.write(stateFile, raw); err != nil {
			return err
		}
	}
	l := &loader{files: c.files, keys: c.keys, prev: c.view.Load()}
	v, err := l.load(ch.state, string(raw))
	if err != nil {
		return err
	}
	if err := c.show(v); err != nil {
		return err
	}
	if err := ch.clean(); err != nil {
		c.logger.Warn("files of a certificate that is no longer used remain", "error", err)
	}
	return nil
}

// show makes a view the current one. xdsserver's own certificate comes first: nobody
// should be told to forget the root of the one that is in use.
func (c *CA) show(v *view) error {
	prev := c.view.Load()
	if prev == nil || !prev.own.cert.Equal(v.own.cert) {
		// Where the intermediate has expired, there is nothing to sign with, and this
		// may be a step towards another.
		if err := c.signOwn(v); err != nil && time.Now().Before(v.active.cert.NotAfter) {
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

// moment is what a plan depends on now.
func (c *CA) moment() moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := moment{
		now:          time.Now(),
		online:       c.view.Load().online,
		running:      c.running,
		acknowledged: c.acknowledged,
		issued:       maps.Clone(c.last),
	}
	if c.config.Acknowledged == nil {
		m.acknowledged = math.MaxUint64
	}
	return m
}

// plan says what is due.
func (c *CA) plan() (step, time.Time) { return c.view.Load().state.plan(c.pace, c.moment()) }

// step does what is due, unless another process has done it meanwhile.
func (c *CA) step(want step) error {
	m := c.moment()
	err := c.change(func(ch *change) error {
		ch.now = m.now
		if got, _ := ch.state.plan(c.pace, m); got != want {
			return nil
		}
		return ch.take(want, m)
	})
	if err != nil {
		return err
	}
	c.logStep(want)
	return nil
}

// Kind is "built-in".
func (c *CA) Kind() string { return "built-in" }

// Trust implements Authority.
func (c *CA) Trust() *Trust { return c.view.Load().trust }

// Changed implements Authority.
func (c *CA) Changed() <-chan struct{} { return c.view.Load().changed }

// Certificate implements Authority.
func (c *CA) Certificate() *tls.Certificate { return c.own.Load() }

// Issue implements Authority. The leaf ends no later than its intermediate.
func (c *CA) Issue(ctx context.Context, order Order) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := order.check(c.config.TrustDomain); err != nil {
		return nil, err
	}
	c.mu.Lock()
	v, now := c.view.Load(), time.Now()
	// Counted before it is signed: see show.
	_, end := validity(now, c.pace.leaf, v.active.cert)
	if name := v.active.record.Name; end.After(c.last[name]) {
		c.last[name] = end
	}
	c.mu.Unlock()
	if err := c.usable(); err != nil {
		return nil, err
	}
	leaf, err := signing{now: now, ttl: c.pace.leaf, key: order.Key, issuer: v.active.cert, signer: v.active.signer}.leaf(order.ID)
	if err != nil {
		return nil, err
	}
	c.issued.Add(1)
	return [][]byte{leaf.Raw, v.active.cert.Raw}, nil
}
