package spiffe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// What a peer may make the process verify. A handshake costs a signature check for
// each certificate, before anything is known of who sent them.
const (
	maxChain       = 4
	maxCertificate = 8 << 10 // bytes
)

// A Bundle is the roots that identities of one trust domain are verified
// against. It is immutable.
type Bundle struct {
	domain string
	x509   *x509bundle.Bundle
	roots  []*x509.Certificate
}

// NewBundle makes a bundle of CA certificates; at least one.
func NewBundle(domain string, roots []*x509.Certificate) (*Bundle, error) {
	td, err := trustDomain(domain)
	if err != nil {
		return nil, fmt.Errorf("bundle of trust domain %.80q: %w", domain, err)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("bundle of trust domain %s: holds no certificate", domain)
	}
	for i, root := range roots {
		if !root.IsCA || !root.BasicConstraintsValid {
			return nil, fmt.Errorf("bundle of trust domain %s: certificate %d is no CA", domain, i)
		}
	}
	return &Bundle{domain: domain, x509: x509bundle.FromX509Authorities(td, roots), roots: slices.Clone(roots)}, nil
}

// ParseBundle makes a bundle of DER encoded CA certificates.
func ParseBundle(domain string, ders [][]byte) (*Bundle, error) {
	roots := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("bundle of trust domain %.80q: certificate %d: %w", domain, i, err)
		}
		roots[i] = root
	}
	return NewBundle(domain, roots)
}

// TrustDomain returns the name of the trust domain.
func (b *Bundle) TrustDomain() string { return b.domain }

// Roots returns the CA certificates. The slice is the caller's.
func (b *Bundle) Roots() []*x509.Certificate { return slices.Clone(b.roots) }

// DER returns the CA certificates, encoded.
func (b *Bundle) DER() [][]byte {
	ders := make([][]byte, len(b.roots))
	for i, root := range b.roots {
		ders[i] = root.Raw
	}
	return ders
}

// Equal reports whether both hold the same certificates of the same trust domain,
// in any order.
func (b *Bundle) Equal(o *Bundle) bool {
	if b == nil || o == nil || b.domain != o.domain || len(b.roots) != len(o.roots) {
		return false
	}
	for _, root := range b.roots {
		if !slices.ContainsFunc(o.roots, root.Equal) {
			return false
		}
	}
	return true
}

// A Peer is who stands at the other end of a verified connection. It is immutable.
type Peer struct {
	ID
	// URI is ID as text, made once.
	URI string
	// Certificate is the leaf that proved it.
	Certificate *x509.Certificate
}

// NotAfter is when the proof ends.
func (p *Peer) NotAfter() time.Time { return p.Certificate.NotAfter }

// Verify returns who presented the chain, leaf first. The error says in one
// sentence what is wrong with the certificate, with its identity where it has one.
//
// Beside what the X.509-SVID standard asks for (exactly one URI SAN, no CA, a path
// to a root of the trust domain, within its time) it refuses chains of more than 4
// certificates, certificates of more than 8 KiB, and P-224 keys. It checks neither
// CRL nor OCSP: certificates are short-lived instead.
func (b *Bundle) Verify(chain []*x509.Certificate) (*Peer, error) {
	return b.VerifyAt(chain, time.Now())
}

// VerifyAt is Verify at another time.
func (b *Bundle) VerifyAt(chain []*x509.Certificate, now time.Time) (*Peer, error) {
	if len(chain) == 0 {
		return nil, errors.New("no certificate was presented")
	}
	if len(chain) > maxChain {
		return nil, fmt.Errorf("%d certificates were presented, %d are the most", len(chain), maxChain)
	}
	leaf := chain[0]
	id, err := leafID(leaf)
	if err != nil {
		return nil, err
	}
	if id.TrustDomain != b.domain {
		return nil, fmt.Errorf("certificate of %s is of trust domain %s, want %s", id, id.TrustDomain, b.domain)
	}
	for _, c := range chain {
		if len(c.Raw) > maxCertificate {
			return nil, fmt.Errorf("certificate of %s: one in its chain has %d bytes, %d are the most", id, len(c.Raw), maxCertificate)
		}
	}
	if err := checkTime(leaf, id, now); err != nil {
		return nil, err
	}
	if _, _, err := x509svid.Verify(chain, b.x509, x509svid.WithTime(now)); err != nil {
		return nil, fmt.Errorf("certificate of %s is not valid: %w", id, err)
	}
	return &Peer{ID: id, URI: id.String(), Certificate: leaf}, nil
}

// leafID reads the one identity of a leaf.
func leafID(leaf *x509.Certificate) (ID, error) {
	switch {
	case len(leaf.URIs) == 0 && len(leaf.DNSNames) > 0:
		return ID{}, fmt.Errorf("certificate names the host %.80q and no SPIFFE identity", leaf.DNSNames[0])
	case len(leaf.URIs) == 0:
		return ID{}, errors.New("certificate names no SPIFFE identity")
	case len(leaf.URIs) > 1:
		return ID{}, fmt.Errorf("certificate names %d identities, want one", len(leaf.URIs))
	}
	parsed, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return ID{}, fmt.Errorf("certificate names %.200q: %w", leaf.URIs[0], err)
	}
	id := idOf(parsed)
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return ID{}, fmt.Errorf("certificate of %s is a CA's, which proves no service", id)
	}
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok && key.Curve == elliptic.P224() {
		return ID{}, fmt.Errorf("certificate of %s has a P-224 key", id)
	}
	return id, nil
}

// checkTime says why a certificate is out of its time better than crypto/x509
// does: a reader wants to know by how much, since a clock is the usual culprit.
func checkTime(leaf *x509.Certificate, id ID, now time.Time) error {
	const form = time.RFC3339
	if now.Before(leaf.NotBefore) {
		return fmt.Errorf("certificate of %s is not valid before %s, in %v: check the clocks of both machines",
			id, leaf.NotBefore.UTC().Format(form), leaf.NotBefore.Sub(now).Round(time.Second))
	}
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("certificate of %s expired at %s, %v ago",
			id, leaf.NotAfter.UTC().Format(form), now.Sub(leaf.NotAfter).Round(time.Second))
	}
	return nil
}

// oidSubjectAltName is RFC 5280, section 4.2.1.6.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// CheckSVID reports why a certificate is not what an authority of the mesh issues:
// one URI SAN that is critical, no other SAN, no subject.
func CheckSVID(leaf *x509.Certificate) error {
	id, err := leafID(leaf)
	if err != nil {
		return err
	}
	if n := len(leaf.DNSNames) + len(leaf.EmailAddresses) + len(leaf.IPAddresses); n > 0 {
		return fmt.Errorf("certificate of %s has %d names beside its identity", id, n)
	}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(oidSubjectAltName) && !e.Critical {
			return fmt.Errorf("certificate of %s: its subject alternative name is not critical", id)
		}
	}
	return nil
}
