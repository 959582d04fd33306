package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// material is what the files of a Files authority hold, and belongs together. It
// is immutable.
type material struct {
	// raw is all three files.
	raw    string
	cert   *x509.Certificate
	signer crypto.Signer
	// intermediates are cert and those above it, without the root; empty when cert
	// is the root.
	intermediates []*x509.Certificate
	root          *x509.Certificate
	bundle        *spiffe.Bundle
}

// readMaterial reads the files, and says what is wrong with which. When they hold
// what prev came from, it is prev.
func readMaterial(c FilesConfig, prev *material) (*material, error) {
	chainText, err := os.ReadFile(c.Certificate)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	keyText, err := readKeyFile(c.Key)
	if err != nil {
		return nil, err
	}
	bundleText, err := os.ReadFile(c.Bundle)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	raw := string(chainText) + string(keyText) + string(bundleText)
	if prev != nil && prev.raw == raw {
		return prev, nil
	}
	chain, err := decodeCertificates(chainText)
	if err != nil {
		return nil, fmt.Errorf("identity: %s %w", c.Certificate, err)
	}
	signer, err := decodeSigner(keyText)
	if err != nil {
		return nil, fmt.Errorf("identity: %s %w", c.Key, err)
	}
	roots, err := decodeCertificates(bundleText)
	if err != nil {
		return nil, fmt.Errorf("identity: %s %w", c.Bundle, err)
	}
	m := &material{cert: chain[0], signer: signer, raw: raw}
	pub, ok := m.cert.PublicKey.(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !pub.Equal(signer.Public()) {
		return nil, fmt.Errorf("identity: %s is not the key of the certificate in %s", c.Key, c.Certificate)
	}
	if m.bundle, err = spiffe.NewBundle(c.TrustDomain, roots); err != nil {
		return nil, fmt.Errorf("identity: %s: %w", c.Bundle, err)
	}
	if err := m.lead(chain, roots, time.Now()); err != nil {
		return nil, fmt.Errorf("identity: %s %w", c.Certificate, err)
	}
	return m, nil
}

// lead finds the way from the issuing certificate to a root. Its error continues a
// sentence that begins with the file's name.
func (m *material) lead(chain, roots []*x509.Certificate, now time.Time) error {
	if !m.cert.IsCA || m.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("holds a certificate that may not sign others: ask for a CA's (isCA: true in cert-manager)")
	}
	options := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range roots {
		options.Roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	paths, err := m.cert.Verify(options)
	if err != nil {
		return fmt.Errorf("does not lead to a root in the bundle: %w", err)
	}
	path := paths[0]
	if len(path) > 3 {
		return errChain
	}
	m.intermediates, m.root = path[:len(path)-1], path[len(path)-1]
	return nil
}

// own signs xdsserver's certificate and verifies it as a peer would.
func (m *material) own(c FilesConfig) (*tls.Certificate, error) {
	chain := slices.Concat(m.intermediates, []*x509.Certificate{m.root})
	own, err := ownCertificate(c.TrustDomain, c.Hosts, c.LeafTTL, &issuer{cert: m.cert, signer: m.signer}, chain...)
	if err != nil {
		return nil, err
	}
	if _, err := m.bundle.Verify(append([]*x509.Certificate{own.Leaf}, m.intermediates...)); err != nil {
		return nil, fmt.Errorf("identity: %s holds a CA whose certificates nobody would accept: %w", c.Certificate, err)
	}
	return own, nil
}

// readKeyFile reads a key that somebody else keeps. Links are followed, since
// Kubernetes' secrets are, and a group may read it.
func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("identity: every user has access to %s (mode %04o): run chmod 600 %s, or set defaultMode: 0400 in a Kubernetes volume",
			path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return data, nil
}

// minRSA is the shortest RSA key that may issue, in bits (NIST SP 800-57).
const minRSA = 2048

// decodeSigner reads the first private key in data, of any kind that others can
// verify. Its error continues a sentence that begins with the file's name.
func decodeSigner(data []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("holds no whole private key, it may be truncated")
		}
		data = rest
		var parsed any
		var err error
		switch block.Type {
		case pemKey:
			parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			parsed, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case pemEncryptedKey:
			return nil, errors.New("is encrypted, and nobody says with which passphrase: store it in the clear, protected by its mode")
		default:
			continue
		}
		if err != nil {
			return nil, errors.New("holds no private key that can be read, it may be damaged")
		}
		switch key := parsed.(type) {
		case *ecdsa.PrivateKey:
			if key.Curve.Params().BitSize >= 256 {
				return key, nil
			}
		case *rsa.PrivateKey:
			if key.N.BitLen() >= minRSA {
				return key, nil
			}
		case ed25519.PrivateKey:
			return key, nil
		}
		return nil, fmt.Errorf("holds a private key that is too weak, or of an unknown kind: want ECDSA P-256, RSA of %d bits, or Ed25519", minRSA)
	}
}
