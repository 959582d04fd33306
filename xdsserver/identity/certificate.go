package identity

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// backDate is how far before now a certificate begins to be valid, for peers whose
// clocks are behind.
const backDate = time.Minute

// serial returns a random serial number of 128 bits.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return new(big.Int).SetBytes(b)
}

// ceilSecond rounds up: certificates know whole seconds, and one of 2 seconds
// should not be worth 1.
func ceilSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second)
	}
	return t
}

// validity returns the time of a certificate, within its issuer's, if it has one.
func validity(now time.Time, ttl time.Duration, issuer *x509.Certificate) (notBefore, notAfter time.Time) {
	notBefore, notAfter = now.Add(-backDate).UTC().Truncate(time.Second), ceilSecond(now.UTC().Add(ttl))
	if issuer != nil && issuer.NotAfter.Before(notAfter) {
		notAfter = issuer.NotAfter
	}
	return notBefore, notAfter
}

// A signing is a certificate to be made.
type signing struct {
	now time.Time
	ttl time.Duration
	key crypto.PublicKey
	// issuer is nil for a root, which signs itself.
	issuer *x509.Certificate
	signer crypto.Signer
}

// authority signs a CA certificate: an intermediate's by its root, or, without
// an issuer, a root's by itself. The trust domain's own identity names it (X.509-SVID
// standard, section 4.1); the common name only tells people one from another.
func (s signing) authority(domain string) (*x509.Certificate, error) {
	number := serial()
	level := Intermediate
	if s.issuer == nil {
		level = Root
	}
	t := &x509.Certificate{
		SerialNumber:          number,
		Subject:               pkix.Name{Organization: []string{"Tulle"}, CommonName: fmt.Sprintf("%s %x", level, number.FillBytes(make([]byte, 16))[:4])},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: domain}},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        level == Intermediate,
	}
	t.NotBefore, t.NotAfter = validity(s.now, s.ttl, s.issuer)
	if level == Root {
		t.MaxPathLen = 1
		s.issuer = t
	}
	return sign(t, s.issuer, s.key, s.signer)
}

// leaf signs a leaf: no subject, so that its SAN is critical (RFC 5280, section
// 4.2.1.6), and no name but its identity. Hosts are for xdsserver's own only.
func (s signing) leaf(id string, hosts ...string) (*x509.Certificate, error) {
	uri, err := url.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber:          serial(),
		URIs:                  []*url.URL{uri},
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	t.NotBefore, t.NotAfter = validity(s.now, s.ttl, s.issuer)
	if !t.NotAfter.After(s.now) {
		return nil, fmt.Errorf("identity: the issuing certificate expired at %s", s.issuer.NotAfter.UTC().Format(time.RFC3339))
	}
	return sign(t, s.issuer, s.key, s.signer)
}

func sign(template, issuer *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key, signer)
	if err != nil {
		return nil, fmt.Errorf("identity: sign: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("identity: sign: %w", err)
	}
	return cert, nil
}

func encodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw})
}

// decodeCertificates reads all certificates in data; at least one. Its error
// continues a sentence that begins with the file's name.
func decodeCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != pemCertificate {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a certificate that cannot be read: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("holds no whole certificate, it may be truncated: put it back from a backup")
	}
	// What follows the last block is no comment when it begins another.
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, errors.New("ends within a certificate, it may be truncated: put it back from a backup")
	}
	return certs, nil
}
