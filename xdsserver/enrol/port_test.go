package enrol

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// A port is the mesh port with nothing but enrolment on it.
type port struct {
	*Server

	tcp, unix string
}

func openPort(t *testing.T) *port {
	t.Helper()
	s := newServer(t)
	unary, stream := identity.Interceptors()
	server := grpc.NewServer(grpc.Creds(identity.NewCredentials(s.config.Authority, slog.New(slog.DiscardHandler))),
		grpc.ChainUnaryInterceptor(unary), grpc.ChainStreamInterceptor(stream))
	identityv1.RegisterIdentityServiceServer(server, s)
	t.Cleanup(server.Stop)
	p := &port{Server: s, unix: filepath.Join(t.TempDir(), "s")}
	for _, network := range []string{"tcp", "unix"} {
		lis, err := net.Listen(network, map[string]string{"tcp": "127.0.0.1:0", "unix": p.unix}[network])
		if err != nil {
			t.Fatal(err)
		}
		if network == "tcp" {
			p.tcp = lis.Addr().String()
		}
		go func() { _ = server.Serve(lis) }()
	}
	return p
}

// dial connects with the certificates of one identity, or none.
func (p *port) dial(t *testing.T, target string, certificates ...tls.Certificate) identityv1.IdentityServiceClient {
	t.Helper()
	roots := x509.NewCertPool()
	for _, root := range p.config.Authority.Trust().Bundle.Roots() {
		roots.AddCert(root)
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: roots, ServerName: "localhost", Certificates: certificates, MinVersion: tls.VersionTLS13,
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return identityv1.NewIdentityServiceClient(conn)
}

func certificateOf(answer *identityv1.SignResponse, key *ecdsa.PrivateKey) tls.Certificate {
	return tls.Certificate{Certificate: answer.GetChain(), PrivateKey: key}
}

func TestProcessesEnrolAndRenewOverTheMeshPort(t *testing.T) {
	p := openPort(t)
	text, _ := token(t, p.Server, TokenRequest{Service: "voting"})
	key := newKey(t)
	plain := csr(t, key, x509.CertificateRequest{})

	answer, err := p.dial(t, p.tcp).Sign(t.Context(), byToken(text, "voting", plain))
	if err != nil {
		t.Fatal(err)
	}
	if got := verified(t, p.Server, answer).Service; got != "voting" {
		t.Errorf("by token: got %q, want voting", got)
	}

	renewing := p.dial(t, p.tcp, certificateOf(answer, key))
	again, err := renewing.Sign(t.Context(), &identityv1.SignRequest{Csr: csr(t, newKey(t), x509.CertificateRequest{})})
	if err != nil {
		t.Fatal(err)
	}
	if got := verified(t, p.Server, again).Service; got != "voting" {
		t.Errorf("by its certificate: got %q, want voting", got)
	}
	_, err = renewing.Sign(t.Context(), &identityv1.SignRequest{Service: "web", Csr: plain})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), `attested as "voting"`) {
		t.Errorf("as another service: got %v, want PERMISSION_DENIED", err)
	}
	// The kernel's word is for the socket only, and a certificate comes before it.
	_, err = p.dial(t, p.tcp).Sign(t.Context(), &identityv1.SignRequest{Service: "web", Csr: plain})
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("with nothing, over TCP: got %v, want UNAUTHENTICATED", err)
	}
	local, err := p.dial(t, "unix:"+p.unix).Sign(t.Context(), &identityv1.SignRequest{Service: "web", Csr: plain})
	if err != nil {
		t.Fatal(err)
	}
	if got := verified(t, p.Server, local).Service; got != "web" {
		t.Errorf("over the socket: got %q, want web", got)
	}
	_, err = p.dial(t, "unix:"+p.unix, certificateOf(answer, key)).Sign(t.Context(), &identityv1.SignRequest{Service: "web", Csr: plain})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("over the socket with the certificate of another: got %v, want PERMISSION_DENIED", err)
	}
}
