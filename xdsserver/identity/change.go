package identity

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A change is one transition of a CA's state, under the lock of its storage. What
// it makes is stored before the state that names it, and what is not named any
// more is removed after.
type change struct {
	files  storage
	keys   Keys
	pace   pace
	logger *slog.Logger
	now    time.Time
	// commons is files where several replicas share it, of which this one is replica;
	// nil and empty otherwise.
	commons *commons
	replica string

	// state is what is stored, at index; nil when there is none.
	state *state
	index uint64
	// dirty says that state is to be stored.
	dirty bool
	// made are the names of keys that this change made.
	made []string
	// keysGone and gone are the names of keys, and of certificates with their keys,
	// that are of no use any more; answered are those whose requests are, and orphans
	// files that nothing names. Stale are of others, who remove the rest.
	stale                             []string
	keysGone, gone, answered, orphans []string
}

// create makes a trust domain. Creating is stored first: who finds it after a
// crash knows that no certificate of it was ever used.
func (c *change) create(domain string) error {
	own := c.files
	if c.commons != nil {
		own = c.commons.local
	}
	names, err := own.list()
	if err != nil {
		return err
	}
	// A replica comes here with a state in its folder only where its making was interrupted.
	interrupted := c.commons != nil && slices.Contains(names, stateFile)
	if c.state == nil && !interrupted {
		if i := slices.IndexFunc(names, isSecret); i >= 0 {
			return fmt.Errorf("identity: %s is there, but %s is not: put it back from a backup, "+
				"or move the folder away to begin a new trust domain", own.path(names[i]), own.path(stateFile))
		}
	}
	c.state = &state{Version: stateVersion, TrustDomain: domain, Creating: true}
	if err := own.write(stateFile, c.state.encode()); err != nil {
		return err
	}
	if c.commons != nil {
		c.state.Authority = newAuthorityID()
	}
	root, err := c.addRoot(Active)
	if err != nil {
		return err
	}
	if err := c.addIntermediate(root); err != nil {
		return err
	}
	c.state.Intermediates[0].Phase = Active
	c.state.Creating, c.dirty = false, true
	return nil
}

// isSecret reports whether a file's name is that of a certificate or a key.
func isSecret(name string) bool {
	return len(name) > 4 && (filepath.Ext(name) == extCertificate || filepath.Ext(name) == extKey)
}

// addRoot makes a root and publishes it.
func (c *change) addRoot(p Phase) (*record, error) {
	name := c.name(Root)
	key, err := c.makeKey(name)
	if err != nil {
		return nil, err
	}
	cert, err := signing{now: c.now, ttl: c.pace.root, key: key.Public(), signer: key}.authority(c.state.TrustDomain)
	if err != nil {
		return nil, err
	}
	c.state.Generation++
	c.state.Roots = append(c.state.Roots, record{
		Name: name, Phase: p, Since: c.now.UTC(), Made: c.now.UTC(), NotAfter: cert.NotAfter, Generation: c.state.Generation,
	})
	c.dirty = true
	return &c.state.Roots[len(c.state.Roots)-1], c.files.write(certFile(name), encodeCertificate(cert))
}

// name names a new certificate. A name whose files are there is passed over: a crash
// may have left them, but so may a state that was put back from an old backup,
// and then they are keys in use.
func (c *change) name(l Level) string {
	for {
		name := c.state.newName(l, c.replica)
		if c.state.Creating && c.commons == nil {
			return name
		}
		_, err := c.files.read(certFile(name))
		if errors.Is(err, fs.ErrNotExist) && !c.keys.Has(name) {
			return name
		}
	}
}

// makeKey makes a key that is of no use unless the change is stored.
func (c *change) makeKey(name string) (crypto.Signer, error) {
	c.made = append(c.made, name)
	return c.keys.Create(name)
}

// issuer opens the key of a root.
func (c *change) issuer(root string) (*x509.Certificate, crypto.Signer, error) {
	signer, err := c.keys.Open(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("identity: the key of %s is not here: put it back with 'xdsserver ca import'", root)
	}
	if err != nil {
		return nil, nil, err
	}
	issuer, err := readCertificate(c.files, root)
	if err != nil {
		return nil, nil, err
	}
	if !matches(issuer, signer) {
		return nil, nil, mismatch(c.files, root)
	}
	return issuer, signer, nil
}

// addIntermediate makes an intermediate; the root's key is needed.
func (c *change) addIntermediate(root *record) error {
	issuer, signer, err := c.issuer(root.Name)
	if err != nil {
		return err
	}
	name := c.name(Intermediate)
	key, err := c.makeKey(name)
	if err != nil {
		return err
	}
	cert, err := signing{now: c.now, ttl: c.pace.intermediate, key: key.Public(), issuer: issuer, signer: signer}.authority(c.state.TrustDomain)
	if err != nil {
		return err
	}
	r := record{Name: name, Root: root.Name, Made: c.now.UTC(), NotAfter: cert.NotAfter}
	c.begin(&r, root)
	c.putIntermediate(r)
	return c.files.write(certFile(name), encodeCertificate(cert))
}

func (c *change) putIntermediate(r record) {
	r.Replica, r.LongestLeaf = c.replica, duration(c.pace.leaf)
	c.state.Intermediates = append(c.state.Intermediates, r)
	c.dirty = true
}

// prepareRoot makes a root and the intermediate that will issue under it.
func (c *change) prepareRoot() error {
	root, err := c.addRoot(Prepared)
	if err != nil {
		return err
	}
	return c.addIntermediate(root)
}

// retire has an intermediate issue nothing more to anybody. Its replica may be another,
// which goes on until it hears of this; see stop.
func (c *change) retire(r *record) {
	r.Phase, r.Since = Retiring, c.now.UTC()
	r.Until = r.NotAfter.Add(time.Second)
	if c.commons == nil {
		c.stop(r)
	}
	c.dirty = true
}

// stop bounds the life of what a retiring intermediate issued: nothing more comes.
func (c *change) stop(r *record) {
	longest := max(time.Duration(r.LongestLeaf), c.longest())
	if end := c.now.UTC().Add(longest + c.pace.slack()); end.Before(r.Until) {
		r.Until = end
	}
	r.Stopped = c.commons != nil
	c.dirty = true
}

// longest is the life of leaves that are issued here.
func (c *change) longest() time.Duration {
	if c.commons == nil {
		return 0 // the record says it
	}
	return c.pace.leaf
}

// stopIntermediates does so for those of this replica, which has others now.
func (c *change) stopIntermediates(m moment) {
	for _, r := range c.state.stoppable(m) {
		c.stop(r)
		if r.Root == c.state.rootIn(Active).Name {
			c.keysGone = append(c.keysGone, r.Name)
		}
	}
}

// activateIntermediate issues from the prepared one under the active root. The key
// of the old one has no use any more.
func (c *change) activateIntermediate() {
	if old := c.state.active(c.replica); old != nil {
		c.retire(old)
		if c.commons == nil {
			c.keysGone = append(c.keysGone, old.Name)
		}
	}
	next := c.state.of(c.state.rootIn(Active).Name, Prepared, c.replica)
	next.Phase, next.Since = Active, c.now.UTC()
	c.answered = append(c.answered, next.Name)
	c.dirty = true
}

// activateRoot issues from the prepared root, and asks for the renewal of what the
// old one issued. The old one keeps the key of its last intermediate, to sign
// xdsserver's own certificate with: a process that missed the new root can still
// verify xdsserver, and hear of it.
func (c *change) activateRoot() error {
	old, next := c.state.rootIn(Active), c.state.rootIn(Prepared)
	issuer := c.state.of(next.Name, Prepared, c.replica)
	if issuer != nil && c.now.After(issuer.halfway()) && c.keys.Has(next.Name) {
		// It has waited for long, in a server that was stopped.
		waited := issuer.Name
		c.drop(func(r *record) bool { return r.Name == waited })
		if err := c.addIntermediate(next); err != nil {
			return err
		}
	}
	c.drop(func(r *record) bool { return r.Root == old.Name && (r.Phase == Prepared || r.Phase == Requested) })
	for _, r := range c.state.inPhase(c.state.Intermediates, Active) {
		c.retire(r)
	}
	old.Phase, old.Since = Retiring, c.now.UTC()
	next.Phase, next.Since = Active, c.now.UTC()
	for _, r := range c.state.inPhase(c.state.Intermediates, Prepared) {
		if r == c.state.of(next.Name, Prepared, r.Replica) { // the last of each replica
			r.Phase, r.Since = Active, c.now.UTC()
		}
	}
	c.state.RenewBefore = c.now.UTC().Add(-backDate).Truncate(time.Second)
	c.state.Generation++
	return nil
}

// withdrawRoot takes a prepared root out of the bundle: nothing was issued under it, and
// who has its key is gone.
func (c *change) withdrawRoot() {
	c.dropRoot(c.state.rootIn(Prepared).Name)
}

// retireIntermediates drops those whose last leaf has expired.
func (c *change) retireIntermediates(m moment) {
	c.drop(func(r *record) bool {
		end, ok := c.state.end(r, m)
		return ok && !m.now.Before(end)
	})
}

// retireRoot takes the retiring root out of the bundle.
func (c *change) retireRoot() {
	c.dropRoot(c.state.rootIn(Retiring).Name)
}

func (c *change) dropRoot(name string) {
	c.drop(func(r *record) bool { return r.Root == name })
	c.state.Roots = slices.DeleteFunc(c.state.Roots, func(r record) bool { return r.Name == name })
	c.gone = append(c.gone, name)
	c.state.Generation++
}

// lose gives up intermediates whose keys are not here any more.
func (c *change) lose(m moment) {
	for _, r := range c.state.lost(m) {
		if r.Phase == Active {
			c.retire(r)
		}
	}
	c.drop(func(r *record) bool { return m.lost[r.Name] && (r.Phase == Prepared || r.Phase == Requested) })
}

// lengthen notes how long leaves live that are issued here from now on.
func (c *change) lengthen() {
	for _, r := range c.state.owned(c.replica) {
		if longest := duration(c.pace.leaf); r.Phase != Retiring && r.LongestLeaf < longest {
			r.LongestLeaf, c.dirty = longest, true
		}
	}
}

func (c *change) drop(which func(*record) bool) {
	c.state.Intermediates = slices.DeleteFunc(c.state.Intermediates, func(r record) bool {
		if !which(&r) {
			return false
		}
		c.gone = append(c.gone, r.Name)
		return true
	})
	c.dirty = true
}

// take does one step of a plan.
func (c *change) take(s step, m moment) error {
	switch s {
	case stepLose:
		c.lose(m)
	case stepRetireIntermediate:
		c.retireIntermediates(m)
	case stepRetireRoot:
		c.retireRoot()
	case stepStop:
		c.stopIntermediates(m)
	case stepActivateIntermediate:
		c.activateIntermediate()
	case stepSign:
		return c.signRequests(m)
	case stepActivateRoot:
		return c.activateRoot()
	case stepWithdrawRoot:
		c.withdrawRoot()
	case stepPrepareIntermediate:
		return c.addIntermediate(c.state.lacking(c.pace, m, m.signs, m.past))
	case stepRequest:
		return c.request(c.state.lacking(c.pace, m, m.asks, m.past))
	case stepPrepareRoot:
		return c.prepareRoot()
	case stepNone:
	}
	return nil
}

// clean removes what the stored state does not name any more. A failure leaves a
// file that nothing reads.
func (c *change) clean() error {
	var failed error
	for _, name := range slices.Concat(c.keysGone, c.gone) {
		failed = errors.Join(failed, c.keys.Remove(name))
	}
	for _, name := range c.gone {
		failed = errors.Join(failed, c.files.remove(certFile(name)))
	}
	if c.commons == nil {
		return failed
	}
	for _, name := range c.stale {
		failed = errors.Join(failed, c.keys.Remove(name), c.commons.local.remove(certFile(name)))
	}
	for _, name := range slices.Concat(c.answered, c.gone) {
		failed = errors.Join(failed, c.files.remove(requestFile(name)))
	}
	for _, file := range c.orphans {
		failed = errors.Join(failed, c.files.remove(file))
	}
	return failed
}

// sweep finds what a crash kept clean from removing. Names that the state has not
// come to yet are left alone: it may be an old one, from a backup.
func (c *change) sweep() error {
	own := c.files
	if c.commons != nil {
		own = c.commons.local
		shared, err := c.commons.shared.List()
		if err != nil {
			return unreachableError{fmt.Errorf("identity: list %s: %w", c.commons.shared.Where(""), err)}
		}
		for _, file := range shared {
			// Nobody but xdsservers writes there, so that this is of any of them.
			name, ext := strings.TrimSuffix(file, filepath.Ext(file)), filepath.Ext(file)
			answered := ext == extRequest && slices.ContainsFunc(c.state.Intermediates, func(r record) bool {
				return r.Name == name && r.Phase != Requested
			})
			if answered || isPublic(file) && c.state.over(name) {
				c.orphans = append(c.orphans, file)
			}
		}
	}
	return c.sweepFolder(own)
}

// sweepFolder does so for what is in the folder alone.
func (c *change) sweepFolder(own storage) error {
	files, err := own.list()
	if err != nil {
		return err
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, filepath.Ext(file))
		if _, _, of, ok := parseName(name); ok && of == c.replica && isSecret(file) && c.state.over(name) && !slices.Contains(c.gone, name) {
			c.gone = append(c.gone, name)
		}
	}
	active := c.state.rootIn(Active).Name
	for _, r := range c.state.owned(c.replica) {
		if r.Phase == Retiring && r.Root == active && (r.Stopped || c.commons == nil) && c.keys.Has(r.Name) {
			c.keysGone = append(c.keysGone, r.Name)
		}
	}
	return nil
}

func readCertificate(files storage, name string) (*x509.Certificate, error) {
	data, err := files.read(certFile(name))
	if err != nil {
		return nil, err
	}
	certs, err := decodeCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("identity: %s %w", files.path(certFile(name)), err)
	}
	return certs[0], nil
}

func mismatch(files storage, name string) error {
	return fmt.Errorf("identity: %s is not the key of %s: put both back from one backup",
		files.path(keyFile(name)), files.path(certFile(name)))
}
