package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// ownCertificate makes a key and signs xdsserver's certificate with it. The chain
// is that of the issuer, the root at its end.
func ownCertificate(domain string, hosts []string, ttl time.Duration, is *issuer, chain ...*x509.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("identity: own key: %w", err)
	}
	leaf, err := signing{now: time.Now(), ttl: ttl, key: key.Public(), issuer: is.cert, signer: is.signer}.leaf(spiffe.ServerID(domain), allHosts(hosts)...)
	if err != nil {
		return nil, err
	}
	own := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, c := range chain {
		own.Certificate = append(own.Certificate, c.Raw)
	}
	return own, nil
}

// halfLife is when a certificate that was back-dated is to be renewed.
func halfLife(cert *x509.Certificate) time.Time {
	made := cert.NotBefore.Add(backDate)
	return made.Add(cert.NotAfter.Sub(made) / 2)
}

// ownIssuer returns what signs xdsserver's certificate now.
func (v *view) ownIssuer(p pace) *issuer {
	if v.replica != "" && v.own != v.active && v.active != nil && !time.Now().Before(v.state.turn(p)) {
		return v.active
	}
	return v.own
}

// signOwn replaces xdsserver's own certificate with one of a view's.
func (c *CA) signOwn(v *view) error {
	is := v.ownIssuer(c.pace)
	if is == nil {
		return c.usableIn(v)
	}
	own, err := ownCertificate(v.state.TrustDomain, c.config.Hosts, c.pace.leaf, is, is.cert, is.root)
	if err != nil && is != v.active && v.active != nil {
		// The old root's last intermediate has expired before its last leaf.
		own, err = ownCertificate(v.state.TrustDomain, c.config.Hosts, c.pace.leaf, v.active, v.active.cert, v.active.root)
	}
	if err != nil {
		return err
	}
	c.own.Store(own)
	return nil
}

// renewOwn does so at half of its life, or when there is none yet.
func (c *CA) renewOwn() error {
	c.turn.Lock() // so that show does not sign another at the same time
	defer c.turn.Unlock()
	v, own := c.view.Load(), c.own.Load()
	if own != nil && time.Now().Before(halfLife(own.Leaf)) && !c.turned(v, own) {
		return nil
	}
	return c.signOwn(v)
}

// turned reports whether the certificate is to leave a root that retires.
func (c *CA) turned(v *view, own *tls.Certificate) bool {
	is := v.ownIssuer(c.pace)
	return v.replica != "" && is != nil && !bytes.Equal(own.Certificate[len(own.Certificate)-1], is.root.Raw)
}

// ownRenewal is when renewOwn has something to do; zero when it could not do it in time,
// and is to be called again after a while.
func (c *CA) ownRenewal() time.Time {
	own, v := c.own.Load(), c.view.Load()
	if own == nil {
		return time.Time{}
	}
	at := halfLife(own.Leaf)
	if v.replica != "" && v.own != v.active && v.state.rootIn(Retiring) != nil {
		if turn := v.state.turn(c.pace); time.Now().Before(turn) {
			at = earlier(at, turn)
		}
	}
	if !time.Now().Before(at) {
		return time.Time{}
	}
	return at
}
