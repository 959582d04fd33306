package identity

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// view is a CA's state with its certificates and the keys in use. It is immutable.
type view struct {
	state *state
	// raw is the state as it is stored.
	raw string
	// certs are those of the state, by name.
	certs map[string]*issuer
	// active signs leaves; nil where this replica has no intermediate yet.
	active *issuer
	// own signs xdsserver's certificate; see turned for what comes after it.
	own *issuer
	// online says whether the key of the active root is here, holds of which it is.
	online bool
	holds  map[string]bool
	// replica is whose view it is; empty where the authority is not shared.
	replica string
	trust   *Trust
	// published is when trust was first shown, and changed is closed when there is
	// another.
	published time.Time
	changed   chan struct{}
}

// issuer is one CA certificate.
type issuer struct {
	record *record
	cert   *x509.Certificate
	root   *x509.Certificate // itself, for a root
	signer crypto.Signer     // nil for a root, and for one that signs nothing (more) here
}

// loader reads what a state names, and checks that it belongs together.
type loader struct {
	files   storage
	keys    Keys
	replica string
	pace    pace
	logger  *slog.Logger
	prev    *view // may be nil
}

func (l *loader) load(s *state, raw string) (*view, error) {
	v := &view{state: s, raw: raw, replica: l.replica, certs: map[string]*issuer{}, holds: map[string]bool{}}
	for i := range s.Roots {
		r := &s.Roots[i]
		cert, err := readCertificate(l.files, r.Name)
		if err != nil {
			return nil, err
		}
		if err := cert.CheckSignatureFrom(cert); err != nil {
			return nil, fmt.Errorf("identity: %s is no root: %w", l.files.path(certFile(r.Name)), err)
		}
		v.certs[r.Name] = &issuer{record: r, cert: cert, root: cert}
		v.holds[r.Name] = l.keys.Has(r.Name)
	}
	for i := range s.Intermediates {
		r := &s.Intermediates[i]
		is, err := l.intermediate(v, r)
		if err != nil {
			return nil, err
		}
		if is != nil {
			v.certs[r.Name] = is
		}
	}
	v.active = v.issuing()
	v.own = v.active
	if old := s.rootIn(Retiring); old != nil && (l.replica == "" || time.Now().Before(s.turn(l.pace))) {
		if last := v.lastOf(old.Name); last != nil {
			v.own = last
		}
	}
	v.online = v.holds[s.rootIn(Active).Name]
	return v, l.publish(v)
}

// intermediate reads one, and its key where there is a use for it. It returns nil for
// one that is not signed yet, and where several share an authority for one that is
// damaged: that of another does not matter here, and this replica's is made again.
func (l *loader) intermediate(v *view, r *record) (*issuer, error) {
	if r.Phase == Requested {
		return nil, nil
	}
	root := v.certs[r.Root].cert
	cert, err := readCertificate(l.files, r.Name)
	if err == nil {
		if err = cert.CheckSignatureFrom(root); err != nil {
			err = fmt.Errorf("identity: %s was not signed by %s: put both back from one backup: %w",
				l.files.path(certFile(r.Name)), r.Root, err)
		}
	}
	if err != nil {
		if l.replica == "" || r.Replica == l.replica && passes(err) {
			return nil, err
		}
		l.logger.Warn("an intermediate is left out", "replica", r.Replica, "error", err)
		return nil, nil
	}
	is := &issuer{record: r, cert: cert, root: root}
	if r.Replica == l.replica {
		is.signer, err = l.signer(v.state, r, cert)
	}
	return is, err
}

// issuing returns what leaves come from: the active one, or, where a replica has none
// that works yet, one that it was not known to have stopped to issue from.
func (v *view) issuing() *issuer {
	if v.replica == "" {
		return v.certs[v.state.active("").Name]
	}
	if r := v.state.active(v.replica); r != nil {
		if is := v.certs[r.Name]; is != nil && is.signer != nil {
			return is
		}
	}
	for _, r := range slices.Backward(v.state.owned(v.replica)) {
		if is := v.certs[r.Name]; r.Phase == Retiring && !r.Stopped && is != nil && is.signer != nil {
			return is
		}
	}
	return nil
}

// lost returns the intermediates of this replica that it cannot use.
func (v *view) lost(keys Keys) map[string]bool {
	lost := map[string]bool{}
	for _, r := range v.state.owned(v.replica) {
		if is := v.certs[r.Name]; r.Phase == Requested {
			lost[r.Name] = !keys.Has(r.Name)
		} else {
			lost[r.Name] = is == nil || is.signer == nil
		}
	}
	return lost
}

// lastOf returns the intermediate of a retiring root that can still sign.
func (v *view) lastOf(root string) *issuer {
	for _, r := range slices.Backward(v.state.owned(v.replica)) {
		if is := v.certs[r.Name]; r.Root == root && r.Phase == Retiring && is != nil && is.signer != nil {
			return is
		}
	}
	return nil
}

// signer opens the key of an intermediate, if there is a use for it.
func (l *loader) signer(s *state, r *record, cert *x509.Certificate) (crypto.Signer, error) {
	stopped := r.Phase == Retiring && (r.Stopped || l.replica == "")
	if l.prev != nil {
		// A key never changes under its name, and one that is encrypted takes long to open.
		if is := l.prev.certs[r.Name]; is != nil && is.signer != nil && is.cert.Equal(cert) && !stopped {
			return is.signer, nil
		}
	}
	if stopped && s.root(r.Root).Phase != Retiring {
		return nil, nil
	}
	signer, err := l.keys.Open(r.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (r.Phase == Retiring || l.replica != ""):
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("identity: %s is missing: put it back from a backup", l.files.path(keyFile(r.Name)))
	case err != nil:
		return nil, err
	case !matches(cert, signer):
		if l.replica != "" {
			return nil, nil
		}
		return nil, mismatch(l.files, r.Name)
	}
	return signer, nil
}

// publish makes the trust of a view, or keeps the one before when it is the same.
func (l *loader) publish(v *view) error {
	if l.prev != nil && l.prev.state.Generation == v.state.Generation {
		v.trust, v.changed, v.published = l.prev.trust, l.prev.changed, l.prev.published
		return nil
	}
	bundle, err := spiffe.NewBundle(v.state.TrustDomain, v.roots())
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	v.trust = &Trust{Bundle: bundle, RenewBefore: v.state.RenewBefore, Generation: v.state.Generation}
	v.changed, v.published = make(chan struct{}), time.Now()
	return nil
}

// roots returns the root certificates, the active one first.
func (v *view) roots() []*x509.Certificate {
	var roots []*x509.Certificate
	for _, p := range []Phase{Active, Prepared, Retiring} {
		for _, r := range v.state.inPhase(v.state.Roots, p) {
			roots = append(roots, v.certs[r.Name].cert)
		}
	}
	return roots
}

// status describes the certificates of a view: those of this replica before those of
// others, and the active ones first.
func (v *view) status(keys Keys) (roots, intermediates []Certificate) {
	describe := func(of []record, own bool) []Certificate {
		var out []Certificate
		for _, p := range []Phase{Active, Prepared, Retiring, Requested} {
			for _, r := range v.state.inPhase(of, p) {
				if (r.Replica == v.replica || r.Root == "") != own {
					continue
				}
				var c Certificate
				if is := v.certs[r.Name]; is != nil {
					c = describe(is.cert)
				}
				c.Name, c.Phase, c.Since, c.Until, c.Replica = r.Name, r.Phase, r.Since, r.Until, r.Replica
				c.Online = own && keys.Has(r.Name)
				out = append(out, c)
			}
		}
		return out
	}
	return describe(v.state.Roots, true), slices.Concat(describe(v.state.Intermediates, true), describe(v.state.Intermediates, false))
}

func describe(cert *x509.Certificate) Certificate {
	return Certificate{
		Name:      cert.Subject.String(),
		KeyID:     hex.EncodeToString(cert.SubjectKeyId),
		Serial:    cert.SerialNumber.Text(16),
		NotBefore: cert.NotBefore,
		NotAfter:  cert.NotAfter,
	}
}
