package enrol

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/peer"

	"github.com/tulle-mesh/tulle/mesh/api"
	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

const domain = "tulle.local"

func newCA(tb testing.TB) *identity.CA {
	tb.Helper()
	ca, err := identity.NewCA(identity.Config{TrustDomain: domain, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return ca
}

// newServer makes a server that takes everything, unless changed.
func newServer(tb testing.TB, change ...func(*Config)) *Server {
	tb.Helper()
	c := Config{Authority: newCA(tb), Socket: true, TokensAllowed: true, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&c)
	}
	s, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// csr makes a request, of nothing but the key unless the template says more.
func csr(tb testing.TB, key any, template x509.CertificateRequest) []byte {
	tb.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// from is the context of a call by somebody.
func from(tb testing.TB, c *identity.Caller) context.Context {
	tb.Helper()
	if c.Addr == nil {
		c.Addr = &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 4711}
	}
	if c.UID == 0 && !c.Local {
		c.UID = -1
	}
	return peer.NewContext(tb.Context(), &peer.Peer{Addr: c.Addr, AuthInfo: c})
}

// remote is a caller elsewhere, without a certificate.
func remote() *identity.Caller { return &identity.Caller{UID: -1} }

// local is one over the socket.
func local() *identity.Caller {
	return &identity.Caller{Local: true, UID: os.Getuid(), Addr: &net.UnixAddr{Net: "unix", Name: "@"}}
}

// verified returns who the answer makes its holder, and fails on a certificate that
// the authority should never have issued.
func verified(tb testing.TB, s *Server, answer *identityv1.SignResponse) *spiffe.Peer {
	tb.Helper()
	var chain []*x509.Certificate
	for _, der := range answer.GetChain() {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			tb.Fatal(err)
		}
		chain = append(chain, c)
	}
	bundle, err := spiffe.ParseBundle(answer.GetBundle().GetTrustDomain(), answer.GetBundle().GetAuthorities())
	if err != nil {
		tb.Fatal(err)
	}
	if !bundle.Equal(s.config.Authority.Trust().Bundle) {
		tb.Error("the bundle is not the authority's")
	}
	p, err := bundle.Verify(chain)
	if err != nil {
		tb.Fatal(err)
	}
	if err := spiffe.CheckSVID(chain[0]); err != nil {
		tb.Error(err)
	}
	return p
}

// token creates a token of the service and returns its text.
func token(tb testing.TB, s *Server, request TokenRequest) (string, api.JoinToken) {
	tb.Helper()
	request.Address = "10.0.0.5:18000"
	join, _, err := s.CreateToken(tb.Context(), request)
	if err != nil {
		tb.Fatal(err)
	}
	return join.Reveal(), join
}

func byToken(text, service string, csr []byte) *identityv1.SignRequest {
	return &identityv1.SignRequest{Csr: csr, Service: service, Instance: "one", Attestation: &identityv1.SignRequest_Token{Token: text}}
}

// holder is a caller with a certificate of the service.
func holder(tb testing.TB, s *Server, service string) *identity.Caller {
	tb.Helper()
	answer, err := s.Sign(from(tb, local()), &identityv1.SignRequest{Service: service, Csr: csr(tb, newKey(tb), x509.CertificateRequest{})})
	if err != nil {
		tb.Fatal(err)
	}
	return &identity.Caller{Peer: verified(tb, s, answer), UID: -1}
}

const minute = time.Minute
