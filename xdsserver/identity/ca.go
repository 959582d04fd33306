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
	// commons is files where several replicas share the authority, nil otherwise;
	// process is a random name of this one.
	commons *commons
	process string

	// Owned by NewCA, then by Run: whether this process has taken part in the state yet,
	// the sign of life it gave last, and that of another by its name.
	entered    bool
	told, twin sighting

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
	// replicas are the others, as they were at met.
	replicas map[string]sighting
	met      time.Time

	// leftover are names of keys whose change was not stored, as far as is known, with
	// the index that the state had; guarded by turn.
	leftover map[string]uint64
}

var _ Authority = (*CA)(nil)

// NewCA opens the CA in Config.Dir, or makes one where there is none. It refuses
// what is there but unsafe, damaged or of another trust domain, and says what to
// do; it never replaces it. Of two processes that make a CA in one folder, the second
// uses what the first made.
//
// With Config.Shared the first of several xdsservers makes the trust domain, and each
// that comes later asks for an intermediate, which another signs; NewCA waits for that.
// One whose intermediate is still good starts without any other, and without Shared.
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
	if c.Shared != nil {
		ca.commons = &commons{shared: c.Shared, local: files}
		ca.files, ca.process, ca.leftover = ca.commons, newAuthorityID(), map[string]uint64{}
		err = ca.join()
	} else {
		ca.config.Replica = ""
		err = ca.open()
	}
	if err != nil {
		return nil, err
	}
	return ca, nil
}

// enter reads or makes the trust domain, and begins to take part in it.
func (c *CA) enter() error {
	err := c.change(func(ch *change) error {
		switch {
		case ch.state == nil || ch.state.Creating:
			return ch.create(c.config.TrustDomain)
		case ch.state.TrustDomain != c.config.TrustDomain:
			return fmt.Errorf("identity: %s is of the trust domain %s, not %s: start with --trust-domain %s, or name another folder",
				c.files.path(stateFile), ch.state.TrustDomain, c.config.TrustDomain, ch.state.TrustDomain)
		}
		ch.lengthen()
		return ch.sweep()
	})
	if err != nil {
		return err
	}
	return c.checkRootKeys()
}

// open reads or makes the trust domain, and does what is due since it last ran.
func (c *CA) open() error {
	if err := c.enter(); err != nil {
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
func (c *CA) usable() error { return c.usableIn(c.view.Load()) }

func (c *CA) usableIn(v *view) error {
	if v.active == nil {
		return fmt.Errorf("identity: the replica %s has no intermediate: %s", v.replica, c.missing(v))
	}
	if end := v.active.cert.NotAfter; time.Now().After(end) {
		if v.replica != "" {
			return fmt.Errorf("identity: the intermediate %s expired at %s: %s", v.active.record.Name, end.UTC().Format(time.RFC3339), c.missing(v))
		}
		return fmt.Errorf("identity: the intermediate %s expired at %s: put the root's key back with 'xdsserver ca import', or import an intermediate",
			v.active.record.Name, end.UTC().Format(time.RFC3339))
	}
	return nil
}

// plan says what is due.
func (c *CA) plan() (step, time.Time) { return c.view.Load().state.plan(c.pace, c.moment()) }

// moment is what a plan depends on now.
func (c *CA) moment() moment {
	v := c.view.Load()
	c.mu.Lock()
	m := moment{
		now:          time.Now(),
		online:       v.online,
		running:      c.running,
		acknowledged: c.acknowledged,
		issued:       maps.Clone(c.last),
		leads:        true,
	}
	c.mu.Unlock()
	if c.config.Acknowledged == nil {
		m.acknowledged = math.MaxUint64
	}
	if c.commons == nil {
		return m
	}
	m.replica, m.holds, m.lost, m.published = v.replica, v.holds, v.lost(c.keys), v.published
	m.leads = c.leads()
	if v.active != nil {
		m.issuing = v.active.record.Name
	}
	m.acknowledged = c.acknowledges(v)
	for _, b := range c.others(m.now) {
		m.acknowledged = min(m.acknowledged, b.Acknowledged)
	}
	return m
}

// leads reports whether the steps of the root may be done here.
func (c *CA) leads() bool { return c.config.Leads == nil || c.config.Leads() }

// step does what is due, unless another process has done it meanwhile.
func (c *CA) step(want step) error {
	err := c.change(func(ch *change) error {
		// In here, where the view stays: what leaves come from must not change after.
		m := c.moment()
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
	if v.active != nil {
		_, end := validity(now, c.pace.leaf, v.active.cert)
		if name := v.active.record.Name; end.After(c.last[name]) {
			c.last[name] = end
		}
	}
	c.mu.Unlock()
	if err := c.usableIn(v); err != nil {
		return nil, err
	}
	leaf, err := signing{now: now, ttl: c.pace.leaf, key: order.Key, issuer: v.active.cert, signer: v.active.signer}.leaf(order.ID)
	if err != nil {
		return nil, err
	}
	c.issued.Add(1)
	return [][]byte{leaf.Raw, v.active.cert.Raw}, nil
}
