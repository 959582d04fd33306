package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// A change is one transition of a CA's state, under the lock of its storage. What
// it makes is stored before the state that names it, and what is not named any
// more is removed after.
type change struct {
	files storage
	keys  Keys
	pace  pace
	now   time.Time

	// state is what is stored; nil when there is none.
	state *state
	// dirty says that state is to be stored.
	dirty bool
	// keysGone and gone are the names of keys, and of certificates with their keys,
	// that are of no use any more.
	keysGone, gone []string
}

// create makes a trust domain. Creating is stored first: who finds it after a
// crash knows that no certificate of it was ever used.
func (c *change) create(domain string) error {
	names, err := c.files.list()
	if err != nil {
		return err
	}
	if c.state == nil {
		if i := slices.IndexFunc(names, isSecret); i >= 0 {
			return fmt.Errorf("identity: %s is there, but %s is not: put it back from a backup, "+
				"or move the folder away to begin a new trust domain", c.files.path(names[i]), c.files.path(stateFile))
		}
	}
	c.state = &state{Version: stateVersion, TrustDomain: domain, Creating: true}
	if err := c.files.write(stateFile, c.state.encode()); err != nil {
		return err
	}
	root, err := c.addRoot(Active)
	if err != nil {
		return err
	}
	if err := c.addIntermediate(root, Active); err != nil {
		return err
	}
	c.state.Creating, c.dirty = false, true
	return nil
}

// isSecret reports whether a file's name is that of a certificate or a key.
func isSecret(name string) bool {
	return len(name) > 4 && (name[len(name)-4:] == ".pem" || name[len(name)-4:] == ".key")
}

// addRoot makes a root and publishes it.
func (c *change) addRoot(p Phase) (*record, error) {
	name := c.name(Root)
	key, err := c.keys.Create(name)
	if err != nil {
		return nil, err
	}
	cert, err := signing{now: c.now, ttl: c.pace.root, key: key.Public(), signer: key}.authority(c.state.TrustDomain)
	if err != nil {
		return nil, err
	}
	c.state.Generation++
	r := c.record(name, p, cert)
	r.Generation = c.state.Generation
	c.state.Roots = append(c.state.Roots, r)
	c.dirty = true
	return &c.state.Roots[len(c.state.Roots)-1], c.files.write(certFile(name), encodeCertificate(cert))
}

// name names a new certificate. A name whose files are there is passed over: a crash
// may have left them, but so may a state that was put back from an old backup,
// and then they are keys in use.
func (c *change) name(l Level) string {
	for {
		name := c.state.newName(l)
		if c.state.Creating {
			return name
		}
		_, err := c.files.read(certFile(name))
		if errors.Is(err, fs.ErrNotExist) && !c.keys.Has(name) {
			return name
		}
	}
}

// addIntermediate makes an intermediate; the root's key is needed.
func (c *change) addIntermediate(root *record, p Phase) error {
	signer, err := c.keys.Open(root.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("identity: the key of %s is not here: put it back with 'xdsserver ca import'", root.Name)
	}
	if err != nil {
		return err
	}
	issuer, err := readCertificate(c.files, root.Name)
	if err != nil {
		return err
	}
	if !matches(issuer, signer) {
		return mismatch(c.files, root.Name)
	}
	name := c.name(Intermediate)
	key, err := c.keys.Create(name)
	if err != nil {
		return err
	}
	cert, err := signing{now: c.now, ttl: c.pace.intermediate, key: key.Public(), issuer: issuer, signer: signer}.authority(c.state.TrustDomain)
	if err != nil {
		return err
	}
	c.putIntermediate(name, root.Name, p, cert)
	return c.files.write(certFile(name), encodeCertificate(cert))
}

func (c *change) putIntermediate(name, root string, p Phase, cert *x509.Certificate) {
	r := c.record(name, p, cert)
	r.Root, r.LongestLeaf = root, duration(c.pace.leaf)
	c.state.Intermediates = append(c.state.Intermediates, r)
	c.dirty = true
}

func (c *change) record(name string, p Phase, cert *x509.Certificate) record {
	return record{Name: name, Phase: p, Since: c.now.UTC(), Made: c.now.UTC(), NotAfter: cert.NotAfter}
}

// prepareRoot makes a root and the intermediate that will issue under it.
func (c *change) prepareRoot() error {
	root, err := c.addRoot(Prepared)
	if err != nil {
		return err
	}
	return c.addIntermediate(root, Prepared)
}

// retire has an intermediate issue nothing more to anybody.
func (c *change) retire(r *record) {
	r.Phase, r.Since = Retiring, c.now.UTC()
	r.Until = r.Since.Add(time.Duration(r.LongestLeaf) + c.pace.slack())
	if end := r.NotAfter.Add(time.Second); end.Before(r.Until) {
		r.Until = end
	}
	c.dirty = true
}

// activateIntermediate issues from the prepared one under the active root. The key
// of the old one has no use any more.
func (c *change) activateIntermediate() {
	old := c.state.active()
	c.retire(old)
	c.keysGone = append(c.keysGone, old.Name)
	next := c.state.of(c.state.rootIn(Active).Name, Prepared)
	next.Phase, next.Since = Active, c.now.UTC()
}

// activateRoot issues from the prepared root, and asks for the renewal of what the
// old one issued. The old one keeps the key of its last intermediate, to sign
// xdsserver's own certificate with: a process that missed the new root can still
// verify xdsserver, and hear of it.
func (c *change) activateRoot() error {
	old, next := c.state.rootIn(Active), c.state.rootIn(Prepared)
	issuer := c.state.of(next.Name, Prepared)
	if c.now.After(issuer.Made.Add(issuer.NotAfter.Sub(issuer.Made)/2)) && c.keys.Has(next.Name) {
		// It has waited for long, in a server that was stopped.
		c.drop(func(r *record) bool { return r.Name == issuer.Name })
		if err := c.addIntermediate(next, Prepared); err != nil {
			return err
		}
	}
	c.drop(func(r *record) bool { return r.Root == old.Name && r.Phase == Prepared })
	c.retire(c.state.active())
	old.Phase, old.Since = Retiring, c.now.UTC()
	next.Phase, next.Since = Active, c.now.UTC()
	issuer = c.state.of(next.Name, Prepared)
	issuer.Phase, issuer.Since = Active, c.now.UTC()
	c.state.RenewBefore = c.now.UTC().Add(-backDate).Truncate(time.Second)
	c.state.Generation++
	return nil
}

// retireIntermediates drops those whose last leaf has expired.
func (c *change) retireIntermediates(m moment) {
	root := c.state.rootIn(Active).Name
	c.drop(func(r *record) bool { return r.Phase == Retiring && r.Root == root && !m.now.Before(m.expired(r)) })
}

// retireRoot takes the retiring root out of the bundle.
func (c *change) retireRoot() {
	old := c.state.rootIn(Retiring).Name
	c.drop(func(r *record) bool { return r.Root == old })
	c.state.Roots = slices.DeleteFunc(c.state.Roots, func(r record) bool { return r.Name == old })
	c.gone = append(c.gone, old)
	c.state.Generation++
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
	case stepRetireIntermediate:
		c.retireIntermediates(m)
	case stepRetireRoot:
		c.retireRoot()
	case stepActivateIntermediate:
		c.activateIntermediate()
	case stepActivateRoot:
		return c.activateRoot()
	case stepPrepareIntermediate:
		return c.addIntermediate(c.state.rootIn(Active), Prepared)
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
	return failed
}

// sweep finds what a crash kept clean from removing. Names that the state has not
// come to yet are left alone: it may be an old one, from a backup.
func (c *change) sweep() error {
	files, err := c.files.list()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, r := range slices.Concat(c.state.Roots, c.state.Intermediates) {
		used[r.Name] = true
	}
	for l, made := range map[Level]int{Root: c.state.MadeRoots, Intermediate: c.state.MadeIntermediates} {
		for n := 1; n <= made; n++ {
			name := nameOf(l, n)
			if !used[name] && (slices.Contains(files, keyFile(name)) || slices.Contains(files, certFile(name))) {
				c.gone = append(c.gone, name)
			}
		}
	}
	active := c.state.rootIn(Active).Name
	for _, r := range c.state.inPhase(c.state.Intermediates, Retiring) {
		if r.Root == active && c.keys.Has(r.Name) {
			c.keysGone = append(c.keysGone, r.Name)
		}
	}
	return nil
}

func certFile(name string) string { return name + ".pem" }

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
