package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const pemRequest = "CERTIFICATE REQUEST"

// encodeRequest makes a request (PKCS#10, RFC 2986) that holds a public key, the proof
// that its private one is there, and nothing else.
func encodeRequest(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("identity: request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemRequest, Bytes: der}), nil
}

// decodeRequest returns the public key of a request. One that asks for anything else is
// refused: what an intermediate may be, its signer decides alone. The error continues a
// sentence that begins with the file's name.
func decodeRequest(data []byte) (*ecdsa.PublicKey, error) {
	if len(data) > maxRequest {
		return nil, fmt.Errorf("has %d bytes, want %d at most", len(data), maxRequest)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemRequest || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("is not one request for a certificate in PEM")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	key, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("is for a key of another kind than ECDSA P-256")
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("does not prove that its sender has the key: %w", err)
	}
	if len(r.Subject.Names) > 0 || len(r.Extensions) > 0 || len(r.Attributes) > 0 { //nolint:staticcheck // Attributes hold what is no extension
		return nil, errors.New("asks for names or extensions of its own")
	}
	return key, nil
}

// request asks whoever has the key of a root for an intermediate.
func (c *change) request(root *record) error {
	name := c.name(Intermediate)
	key, err := c.makeKey(name)
	if err != nil {
		return err
	}
	data, err := encodeRequest(key)
	if err != nil {
		return err
	}
	if err := c.files.write(requestFile(name), data); err != nil {
		return err
	}
	c.putIntermediate(record{Name: name, Root: root.Name, Phase: Requested, Since: c.now.UTC(), Made: c.now.UTC()})
	return nil
}

// signRequests answers what can be answered with the keys that are here. A request that
// is refused does not stop the others; its sender sees that it is gone, and asks again.
func (c *change) signRequests(m moment) error {
	refused := map[string]bool{}
	for _, r := range c.state.signable(m) {
		cert, err := c.answer(r)
		var no *refusedError
		switch {
		case errors.As(err, &no):
			c.logger.Warn("a request for an intermediate is refused", "request", c.files.path(requestFile(r.Name)), "replica", r.Replica, "error", err)
			refused[r.Name] = true
			continue
		case err != nil:
			return err
		}
		r.Made, r.NotAfter = cert.NotBefore.Add(backDate), cert.NotAfter
		c.begin(r, c.state.root(r.Root))
		c.answered = append(c.answered, r.Name)
	}
	c.drop(func(r *record) bool { return refused[r.Name] })
	return nil
}

// refusedError is that of a request, and not of who answers it.
type refusedError struct{ reason error }

// Error says why.
func (e *refusedError) Error() string { return e.reason.Error() }

// answer signs the intermediate that was asked for, or returns the one that was signed
// by somebody who did not come to say so.
func (c *change) answer(r *record) (*x509.Certificate, error) {
	data, err := c.files.read(requestFile(r.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &refusedError{err}
	}
	if passes(err) {
		return nil, err
	}
	if err != nil {
		return nil, &refusedError{err}
	}
	key, err := decodeRequest(data)
	if err != nil {
		return nil, &refusedError{err}
	}
	issuer, signer, err := c.issuer(r.Root)
	if err != nil {
		return nil, err
	}
	there, err := readCertificate(c.files, r.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case passes(err):
		return nil, err
	case err != nil:
		return nil, &refusedError{err}
	case !key.Equal(there.PublicKey):
		return nil, &refusedError{errors.New("there is a certificate of another key already")}
	default:
		if err := checkIntermediate(there, issuer, c.now); err != nil {
			return nil, &refusedError{fmt.Errorf("the certificate that is there %w", err)}
		}
		return there, nil
	}
	cert, err := signing{now: c.now, ttl: c.pace.intermediate, key: key, issuer: issuer, signer: signer}.authority(c.state.TrustDomain)
	if err != nil {
		return nil, err
	}
	return cert, c.files.write(certFile(r.Name), encodeCertificate(cert))
}

// begin puts an intermediate that has just been signed into its first phase. Under a root
// that retires it issues to nobody: it signs the certificate of its xdsserver.
func (c *change) begin(r, root *record) {
	r.Phase, r.Since = Prepared, c.now.UTC()
	if root.Phase == Retiring {
		r.Phase, r.Stopped, r.Until = Retiring, true, c.now.UTC()
	}
	c.dirty = true
}

// signable returns the requests that this replica answers: its own, and those of others
// where it leads.
func (s *state) signable(m moment) []*record {
	var can []*record
	for _, r := range s.inPhase(s.Intermediates, Requested) {
		if root := s.root(r.Root); m.holds[r.Root] && m.now.Before(root.NotAfter) && (m.leads || r.Replica == m.replica) {
			can = append(can, r)
		}
	}
	return can
}

// halfway is when what was made is replaced: at half of its life.
func (r *record) halfway() time.Time { return r.Made.Add(r.NotAfter.Sub(r.Made) / 2) }
