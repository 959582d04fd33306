package identity

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// A verifier says who presented a chain, or why it is not to be trusted.
type verifier func(chain []*x509.Certificate) (*spiffe.Peer, error)

// joining are the credentials of a process that has no certificate yet: TLS that
// only the server proves itself in. It serves one attempt to enrol, and keeps its
// outcome.
type joining struct {
	source *Source
	verify verifier
	// kernel asks the kernel, first, whose process the server is.
	kernel bool

	mu     sync.Mutex
	domain string
	err    error
}

var _ credentials.TransportCredentials = (*joining)(nil)

// outcome returns the server's trust domain, or why the last handshake failed.
func (j *joining) outcome() (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.domain, j.err
}

// ClientHandshake implements [credentials.TransportCredentials].
func (j *joining) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := j.handshake(ctx, raw)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err = err; err != nil {
		return nil, nil, err
	}
	j.domain = info.Peer.TrustDomain
	return conn, info, nil
}

func (j *joining) handshake(ctx context.Context, raw net.Conn) (net.Conn, AuthInfo, error) {
	if j.kernel {
		uid, err := serverUser(raw)
		if err == nil && !local(uid) {
			err = fmt.Errorf("the unix socket is that of a process of user %d, which is neither this process's user nor root", uid)
		}
		if err != nil {
			_ = raw.Close()
			return nil, AuthInfo{}, err
		}
	}
	conn, peer, err := clientTLS(ctx, raw, nil, func(chain []*x509.Certificate) (*spiffe.Peer, error) {
		peer, err := j.verify(chain)
		if err == nil && !peer.IsServer() {
			err = fmt.Errorf("presented %s, want %s", peer.URI, peer.Domain().ServerID())
		}
		return peer, err
	})
	if err != nil {
		return nil, AuthInfo{}, fmt.Errorf("handshake: %w", err)
	}
	j.source.touch()
	return conn, secured(peer), nil
}

// ServerHandshake implements [credentials.TransportCredentials].
func (j *joining) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errClientOnly
}

// Info implements [credentials.TransportCredentials].
func (j *joining) Info() credentials.ProtocolInfo { return protocolInfo() }

// Clone implements [credentials.TransportCredentials].
func (j *joining) Clone() credentials.TransportCredentials { return j }

// OverrideServerName implements [credentials.TransportCredentials].
func (j *joining) OverrideServerName(string) error { return errNoServerName }

// pinned verifies a chain against the one CA in it that has the key a join token
// names. Who only copies that CA's certificate cannot have a leaf signed by it.
func pinned(pin [api.TokenPinSize]byte) verifier {
	return func(chain []*x509.Certificate) (*spiffe.Peer, error) {
		for _, c := range chain {
			if c.IsCA && sha256.Sum256(c.RawSubjectPublicKeyInfo) == pin {
				return anyDomain([]*x509.Certificate{c})(chain)
			}
		}
		return nil, errors.New("none of its certificates has the key that the join token names: the token is of another xdsserver, or this is none")
	}
}

// consistent verifies a chain against the CA at its own end. Alone it proves
// nothing: the kernel has said before whose process the server is.
func consistent(chain []*x509.Certificate) (*spiffe.Peer, error) {
	if len(chain) < 2 || !chain[len(chain)-1].IsCA {
		return nil, errors.New("its certificate chain does not end in a CA")
	}
	return anyDomain(chain[len(chain)-1:])(chain)
}

// anyDomain verifies chains against roots, whatever their trust domain is: a
// process learns its trust domain by enrolling.
func anyDomain(roots []*x509.Certificate) verifier {
	return func(chain []*x509.Certificate) (*spiffe.Peer, error) {
		if len(chain) == 0 || len(chain[0].URIs) != 1 {
			return nil, errors.New("its certificate names no SPIFFE identity, or more than one")
		}
		id, err := spiffe.ParseID(chain[0].URIs[0].String())
		if err != nil {
			return nil, err
		}
		bundle, err := spiffe.NewBundle(id.TrustDomain, roots)
		if err != nil {
			return nil, err
		}
		return bundle.Verify(chain)
	}
}

// parseCertificates reads PEM that holds certificates only; at least one.
func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != typeCertificate {
			return nil, fmt.Errorf("holds a %.40q, want certificates", block.Type)
		}
		if len(certificates) == maxBlocks {
			return nil, fmt.Errorf("holds more than %d certificates", maxBlocks)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certificates = append(certificates, c)
	}
	if len(certificates) == 0 {
		return nil, errors.New("holds no certificate in PEM")
	}
	return certificates, nil
}

// clientTLS makes the client's side of a connection. own is what it presents, nil
// for nothing. The server is whoever verify says; there is no other check, since
// identities are not host names.
func clientTLS(ctx context.Context, raw net.Conn, own *Identity, verify verifier) (*tls.Conn, *spiffe.Peer, error) {
	var peer *spiffe.Peer
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocolHTTP2},
		SessionTicketsDisabled: true,
		//nolint:forbidigo,gosec // it turns off the check of host names, which SVIDs do not have; VerifyConnection below checks every chain
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) (err error) {
			if state.NegotiatedProtocol != protocolHTTP2 {
				return errNoHTTP2
			}
			peer, err = verify(state.PeerCertificates)
			return err
		},
	}
	if own != nil {
		// Whatever CAs the server says it would like: this is the one there is.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own.Certificate, nil }
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, plainly(err)
	}
	if peer == nil { // crypto/tls would have to skip VerifyConnection
		_ = raw.Close()
		return nil, nil, errUnverified
	}
	return conn, peer, nil
}

// plainly says what is behind an error of crypto/tls that readers misread.
func plainly(err error) error {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("what answers speaks no TLS: %w", err)
	}
	return err
}
