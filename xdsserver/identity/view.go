package identity

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// view is a CA's state with its certificates and the keys in use. It is immutable.
type view struct {
	state *state
	// raw is the state as it is stored.
	raw string
	// certs are those of the state, by name.
	certs map[string]*issuer
	// active signs leaves, own xdsserver's certificate.
	active, own *issuer
	// online says whether the key of the active root is here.
	online  bool
	trust   *Trust
	changed chan struct{} // closed when there is another trust
}

// issuer is one CA certificate.
type issuer struct {
	record *record
	cert   *x509.Certificate
	root   *x509.Certificate // itself, for a root
	signer crypto.Signer     // nil for a root, and for one that signs nothing more
}

// loader reads what a state names, and checks that it belongs together.
type loader struct {
	files storage
	keys  Keys
	prev  *view // may be nil
}

func (l *loader) load(s *state, raw string) (*view, error) {
	v := &view{state: s, raw: raw, certs: map[string]*issuer{}}
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
	}
	for i := range s.Intermediates {
		r := &s.Intermediates[i]
		cert, err := readCertificate(l.files, r.Name)
		if err != nil {
			return nil, err
		}
		root := v.certs[r.Root].cert
		if err := cert.CheckSignatureFrom(root); err != nil {
			return nil, fmt.Errorf("identity: %s was not signed by %s: put both back from one backup: %w",
				l.files.path(certFile(r.Name)), r.Root, err)
		}
		is := &issuer{record: r, cert: cert, root: root}
		if is.signer, err = l.signer(s, r, cert); err != nil {
			return nil, err
		}
		v.certs[r.Name] = is
	}
	v.active = v.certs[s.active().Name]
	v.own = v.active
	if old := s.rootIn(Retiring); old != nil {
		if last := v.lastOf(old.Name); last != nil {
			v.own = last
		}
	}
	v.online = l.keys.Has(s.rootIn(Active).Name)
	return v, l.publish(v)
}

// lastOf returns the intermediate of a retiring root that can still sign.
func (v *view) lastOf(root string) *issuer {
	if r := v.state.of(root, Retiring); r != nil && v.certs[r.Name].signer != nil {
		return v.certs[r.Name]
	}
	return nil
}

// signer opens the key of an intermediate, if there is a use for it.
func (l *loader) signer(s *state, r *record, cert *x509.Certificate) (crypto.Signer, error) {
	if l.prev != nil {
		// A key never changes under its name, and one that is encrypted takes long to open.
		if is := l.prev.certs[r.Name]; is != nil && is.signer != nil && is.cert.Equal(cert) && r.Phase != Retiring {
			return is.signer, nil
		}
	}
	if r.Phase == Retiring && s.root(r.Root).Phase != Retiring {
		return nil, nil
	}
	signer, err := l.keys.Open(r.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.Phase == Retiring:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("identity: %s is missing: put it back from a backup", l.files.path(keyFile(r.Name)))
	case err != nil:
		return nil, err
	case !matches(cert, signer):
		return nil, mismatch(l.files, r.Name)
	}
	return signer, nil
}

// publish makes the trust of a view, or keeps the one before when it is the same.
func (l *loader) publish(v *view) error {
	if l.prev != nil && l.prev.state.Generation == v.state.Generation {
		v.trust, v.changed = l.prev.trust, l.prev.changed
		return nil
	}
	bundle, err := spiffe.NewBundle(v.state.TrustDomain, v.roots())
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	v.trust = &Trust{Bundle: bundle, RenewBefore: v.state.RenewBefore, Generation: v.state.Generation}
	v.changed = make(chan struct{})
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

// status describes the certificates of a view, the active ones first.
func (v *view) status(keys Keys) (roots, intermediates []Certificate) {
	describe := func(of []record) []Certificate {
		var out []Certificate
		for _, p := range []Phase{Active, Prepared, Retiring} {
			for _, r := range v.state.inPhase(of, p) {
				c := describe(v.certs[r.Name].cert)
				c.Name, c.Phase, c.Since, c.Until = r.Name, r.Phase, r.Since, r.Until
				c.Online = keys.Has(r.Name)
				out = append(out, c)
			}
		}
		return out
	}
	return describe(v.state.Roots), describe(v.state.Intermediates)
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
