package identity

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// The state file is PEM, so that a person can look into it with openssl: the key,
// the SVID, the certificates above it, and the roots, each with a header that
// says which it is.
const (
	typeKey         = "PRIVATE KEY"
	typeCertificate = "CERTIFICATE"

	headerUse    = "Tulle-Use"
	headerDomain = "Tulle-Trust-Domain"
	headerIssued = "Tulle-Issued"

	useSVID         = "svid"
	useIntermediate = "intermediate"
	useRoot         = "root"
)

const (
	// maxState is far above what a chain of 4 and 16 roots need, in bytes.
	maxState  = 256 << 10
	maxBlocks = 32
)

// A state is what a process finds of its predecessor.
type state struct {
	// identity is nil where the certificate has expired.
	identity *Identity
	bundle   *spiffe.Bundle
}

// encodeState writes what parseState reads.
func encodeState(i *Identity) ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(i.Certificate.PrivateKey)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	write := func(kind string, der []byte, headers map[string]string) {
		if err == nil {
			err = pem.Encode(&b, &pem.Block{Type: kind, Headers: headers, Bytes: der})
		}
	}
	write(typeKey, key, nil)
	for n, der := range i.Certificate.Certificate {
		headers := map[string]string{headerUse: useIntermediate}
		if n == 0 {
			headers = map[string]string{headerUse: useSVID, headerIssued: i.issued.UTC().Format(time.RFC3339Nano)}
		}
		write(typeCertificate, der, headers)
	}
	for _, der := range i.Bundle.DER() {
		write(typeCertificate, der, map[string]string{headerUse: useRoot, headerDomain: i.Bundle.TrustDomain()})
	}
	return b.Bytes(), err
}

// parseState reads a state file for a service. With an error there may still be a
// bundle: that of an identity that has expired.
func parseState(b []byte, service string, now time.Time) (state, error) {
	f, err := splitState(b)
	if err != nil {
		return state{}, err
	}
	bundle, err := spiffe.NewBundle(f.domain, f.roots)
	if err != nil {
		return state{}, err
	}
	leaf := f.chain[0]
	// Whose it is before whether it is still good: another service's is not even
	// to be trusted for its bundle.
	if _, err := bundle.VerifyAt(f.chain, clamp(now, leaf.NotBefore, leaf.NotAfter)); err != nil {
		return state{}, err
	}
	id, err := spiffe.ParseID(leaf.URIs[0].String())
	if err != nil {
		return state{}, err
	}
	if id.Service != service {
		return state{}, fmt.Errorf("it is of %s, not of service %s", id, service)
	}
	i, err := newIdentity(f.chain, f.key, bundle)
	if err != nil {
		if now.After(leaf.NotAfter) {
			return state{bundle: bundle}, err
		}
		return state{}, err
	}
	i.issued = i.NotBefore
	if f.issued.After(i.NotBefore) && !f.issued.After(now) {
		i.issued = f.issued
	}
	return state{identity: i, bundle: bundle}, nil
}

// stateBlocks are a state file taken apart; chain has at least one certificate.
type stateBlocks struct {
	key    crypto.Signer
	chain  []*x509.Certificate
	issued time.Time
	roots  []*x509.Certificate
	domain string
}

// splitState takes a state file apart, and refuses whatever encodeState does not
// write: the file is this program's own, so that anything else is damage.
func splitState(b []byte) (stateBlocks, error) {
	var f stateBlocks
	if len(b) > maxState {
		return f, fmt.Errorf("it has %d bytes, %d are the most", len(b), maxState)
	}
	for n := 0; len(bytes.TrimSpace(b)) > 0; n++ {
		block, rest := pem.Decode(b)
		if block == nil || n >= maxBlocks {
			return f, fmt.Errorf("it is damaged after block %d", n)
		}
		b = rest
		if err := f.add(block); err != nil {
			return f, fmt.Errorf("it is damaged: block %d: %w", n+1, err)
		}
	}
	if f.key == nil || len(f.chain) == 0 || len(f.roots) == 0 {
		return f, errors.New("it is damaged: it lacks the key, the certificate or the roots")
	}
	return f, nil
}

func (f *stateBlocks) add(block *pem.Block) error {
	if block.Type == typeKey {
		if f.key != nil {
			return errors.New("a second key")
		}
		key, err := parseKey(block.Bytes)
		f.key = key
		return err
	}
	if block.Type != typeCertificate {
		return fmt.Errorf("a %.40q", block.Type)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	use := block.Headers[headerUse]
	switch {
	case use == useSVID && len(f.chain) == 0:
		f.chain = append(f.chain, certificate)
		// Without it the certificate's own time does.
		f.issued, _ = time.Parse(time.RFC3339Nano, block.Headers[headerIssued])
	case use == useIntermediate && len(f.chain) > 0:
		f.chain = append(f.chain, certificate)
	case use == useRoot && (len(f.roots) == 0 || f.domain == block.Headers[headerDomain]):
		f.domain = block.Headers[headerDomain]
		f.roots = append(f.roots, certificate)
	default:
		return fmt.Errorf("a certificate for %.40q where none is expected", use)
	}
	return nil
}

// parseKey reads a private key as PKCS#8, or as the older forms that tools write.
// Its error never holds the key.
func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if key, err = x509.ParseECPrivateKey(der); err != nil {
			if key, err = x509.ParsePKCS1PrivateKey(der); err != nil {
				return nil, errors.New("no private key in PKCS#8, SEC 1 or PKCS#1")
			}
		}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key of type %T, which cannot sign", key)
	}
	return signer, nil
}

// clamp returns the moment between from and to that is nearest to t.
func clamp(t, from, to time.Time) time.Time {
	switch {
	case t.Before(from):
		return from
	case t.After(to):
		return to
	}
	return t
}
