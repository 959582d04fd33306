package enrol

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

func TestSignGivesTheAttestedIdentityAndNoOther(t *testing.T) {
	s := newServer(t)
	plain := func() []byte { return csr(t, newKey(t), x509.CertificateRequest{}) }
	voting, _ := token(t, s, TokenRequest{Service: "voting"})
	shop, _ := token(t, s, TokenRequest{Service: "voting.shop"})
	for name, test := range map[string]struct {
		caller *identity.Caller
		req    *identityv1.SignRequest
		want   string
	}{
		"over the socket, what it says": {local(), &identityv1.SignRequest{Service: "web", Csr: plain()}, "spiffe://tulle.local/ns/default/svc/web"},
		"by a token, what that says":    {remote(), byToken(voting, "", plain()), "spiffe://tulle.local/ns/default/svc/voting"},
		"by a token, in another namespace": {remote(), func() *identityv1.SignRequest {
			r := byToken(shop, "voting", plain())
			r.Namespace = "shop"
			return r
		}(), "spiffe://tulle.local/ns/shop/svc/voting"},
		"by its certificate, what it was":   {holder(t, s, "web"), &identityv1.SignRequest{Csr: plain()}, "spiffe://tulle.local/ns/default/svc/web"},
		"by its certificate before a token": {holder(t, s, "web"), byToken("nonsense", "web", plain()), "spiffe://tulle.local/ns/default/svc/web"},
		"a service named as the server":     {local(), &identityv1.SignRequest{Service: "xdsserver", Csr: plain()}, "spiffe://tulle.local/ns/default/svc/xdsserver"},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := s.Sign(from(t, test.caller), test.req)
			if err != nil {
				t.Fatal(err)
			}
			if got := verified(t, s, answer); got.URI != test.want || got.IsServer() {
				t.Errorf("got %s, want %s", got.URI, test.want)
			}
		})
	}
}

func TestSignRefusesAndSaysWhatToDo(t *testing.T) {
	s := newServer(t)
	plain := csr(t, newKey(t), x509.CertificateRequest{})
	voting, _ := token(t, s, TokenRequest{Service: "voting"})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(der []byte) []byte {
		der = slices.Clone(der)
		der[len(der)-1] ^= 1
		return der
	}
	stranger := &identity.Caller{UID: 4711, Addr: &net.UnixAddr{Net: "unix", Name: "@"}}
	for name, test := range map[string]struct {
		caller *identity.Caller
		req    *identityv1.SignRequest
		code   codes.Code
		want   string
	}{
		"nothing that says who it is":        {remote(), &identityv1.SignRequest{Service: "voting", Csr: plain}, codes.Unauthenticated, "xdsserver token create"},
		"another user over the socket":       {stranger, &identityv1.SignRequest{Service: "voting", Csr: plain}, codes.Unauthenticated, "runs as uid 4711"},
		"no service over the socket":         {local(), &identityv1.SignRequest{Csr: plain}, codes.InvalidArgument, "names no service"},
		"a name that is none":                {local(), &identityv1.SignRequest{Service: "Voting/../web", Csr: plain}, codes.InvalidArgument, "want DNS labels"},
		"a name with a namespace in it":      {local(), &identityv1.SignRequest{Service: "voting.shop", Csr: plain}, codes.InvalidArgument, "want DNS labels"},
		"another service by its certificate": {holder(t, s, "web"), &identityv1.SignRequest{Service: "voting", Csr: plain}, codes.PermissionDenied, `asks to be "voting" and is attested as "web"`},
		"another service by its token":       {remote(), byToken(voting, "web", plain), codes.PermissionDenied, `is for the service "voting"`},
		"a token that was never made":        {remote(), byToken(strings.Replace(voting, "tulle1.", "tulle1.A", 1), "voting", plain), codes.InvalidArgument, "token: its id is damaged"},
		"a JWT where none is trusted": {
			remote(), &identityv1.SignRequest{Csr: plain, Attestation: &identityv1.SignRequest_Jwt{Jwt: "a.b.c"}},
			codes.Unauthenticated, "--oidc",
		},
		"no request":                 {local(), &identityv1.SignRequest{Service: "web"}, codes.InvalidArgument, "csr: is missing"},
		"a request that is none":     {local(), &identityv1.SignRequest{Service: "web", Csr: []byte("no")}, codes.InvalidArgument, "is no certificate request"},
		"a huge request":             {local(), &identityv1.SignRequest{Service: "web", Csr: make([]byte, 4097)}, codes.InvalidArgument, "4096 are the most"},
		"a request of another's key": {local(), &identityv1.SignRequest{Service: "web", Csr: cut(plain)}, codes.InvalidArgument, "not signed by its own key"},
		"an RSA key":                 {local(), &identityv1.SignRequest{Service: "web", Csr: csr(t, rsaKey, x509.CertificateRequest{})}, codes.InvalidArgument, "its key is RSA, want ECDSA P-256"},
		"an RSA key, whatever its signature is": {
			local(), &identityv1.SignRequest{Service: "web", Csr: cut(csr(t, rsaKey, x509.CertificateRequest{}))},
			codes.InvalidArgument, "its key is RSA",
		},
		"a P-384 key":    {local(), &identityv1.SignRequest{Service: "web", Csr: csr(t, p384, x509.CertificateRequest{})}, codes.InvalidArgument, "its key is ECDSA P-384"},
		"an Ed25519 key": {local(), &identityv1.SignRequest{Service: "web", Csr: csr(t, edKey, x509.CertificateRequest{})}, codes.InvalidArgument, "its key is Ed25519"},
		"an instance that cannot be shown": {
			local(), &identityv1.SignRequest{Service: "web", Csr: plain, Instance: "a\nb"},
			codes.InvalidArgument, "instance",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Sign(from(t, test.caller), test.req)
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %v with %q", err, test.code, test.want)
			}
		})
	}
}

func TestSignRefusesWaysThatAreNotOpen(t *testing.T) {
	plain := csr(t, newKey(t), x509.CertificateRequest{})
	open := newServer(t)
	voting, _ := token(t, open, TokenRequest{Service: "voting"})
	closed := newServer(t, func(c *Config) { c.Socket, c.TokensAllowed = false, false })
	if _, err := closed.Sign(from(t, local()), &identityv1.SignRequest{Service: "web", Csr: plain}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("over the socket: %v, want UNAUTHENTICATED", err)
	}
	if _, err := closed.Sign(from(t, remote()), byToken(voting, "voting", plain)); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "--enrol token, or") {
		t.Errorf("by token: %v, want UNAUTHENTICATED", err)
	}
	if _, _, err := closed.CreateToken(t.Context(), TokenRequest{Service: "voting", Address: "h:1"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a token: %v, want FAILED_PRECONDITION", err)
	}
}

// What a request names is nobody's business but the audit log's.
func TestRequestForAnothersIdentityIsIgnoredAndAudited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	audit, err := OpenAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	defer audit.Close()
	s := newServer(t, func(c *Config) { c.Audit = audit })
	admin, err := url.Parse("spiffe://tulle.local/ns/default/svc/admin")
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse("spiffe://tulle.local/xdsserver")
	if err != nil {
		t.Fatal(err)
	}
	greedy := csr(t, newKey(t), x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin"}, URIs: []*url.URL{admin, server}, DNSNames: []string{"admin.example.org"},
		EmailAddresses: []string{"admin@example.org"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}},
	})
	answer, err := s.Sign(from(t, local()), &identityv1.SignRequest{Service: "web", Csr: greedy})
	if err != nil {
		t.Fatal(err)
	}
	got := verified(t, s, answer)
	if got.URI != "spiffe://tulle.local/ns/default/svc/web" || got.Certificate.IsCA || got.Certificate.Subject.String() != "" {
		t.Errorf("got %s, CA %v, subject %q", got.URI, got.Certificate.IsCA, got.Certificate.Subject)
	}
	log := readAudit(t, path)
	if len(log) != 3 || !strings.Contains(log[0].Reason, `extension "2.5.29.19"`) || log[0].Event != eventAskedForMore || !strings.Contains(log[0].Reason, "svc/admin") || !strings.Contains(log[0].Reason, "/xdsserver") ||
		log[1].Event != eventAttested || log[2].Event != eventEnrolled || log[2].Serial == "" {
		t.Errorf("audit log: %+v", log)
	}
}

func TestNamesThatAreNotReadAreAskedForToo(t *testing.T) {
	// An otherName (RFC 5280, section 4.2.1.6), which crypto/x509 leaves out.
	other, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{6, 1, 42}}})
	if err != nil {
		t.Fatal(err)
	}
	der := csr(t, newKey(t), x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: subjectAltName, Value: other}}})
	r, err := parseRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.names("spiffe://tulle.local/ns/default/svc/web"); got != "names of unknown kinds" {
		t.Errorf("got %q", got)
	}
	// What it gets anyway is nothing more.
	own, err := url.Parse("spiffe://tulle.local/ns/default/svc/web")
	if err != nil {
		t.Fatal(err)
	}
	r, err = parseRequest(csr(t, newKey(t), x509.CertificateRequest{URIs: []*url.URL{own}}))
	if err != nil || r.names(own.String()) != "" {
		t.Errorf("its own name: %q, %v, want nothing", r.names(own.String()), err)
	}
}

func TestExpiredCertificateRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		web := holder(t, s, "web")
		ask := func() error {
			_, err := s.Sign(from(t, web), &identityv1.SignRequest{Csr: csr(t, newKey(t), x509.CertificateRequest{})})
			return err
		}
		time.Sleep(24*time.Hour - time.Second)
		if err := ask(); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := ask(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "expired at 2000-01-02T00:00:00Z") {
			t.Errorf("a second after its end: %v, want UNAUTHENTICATED", err)
		}
	})
}

// Nobody new joins without a line on disk; who is in the mesh stays.
func TestAuditThatFailsKeepsTheNewOutAndTheOldIn(t *testing.T) {
	for name, test := range map[string]struct {
		ask  func(s *Server) error
		code codes.Code
	}{
		"over the socket": {func(s *Server) error {
			_, err := s.Sign(from(t, local()), &identityv1.SignRequest{Service: "web", Csr: csr(t, newKey(t), x509.CertificateRequest{})})
			return err
		}, codes.Unavailable},
		"a token is made": {func(s *Server) error {
			_, _, err := s.CreateToken(t.Context(), TokenRequest{Service: "web", Address: "h:1"})
			return err
		}, codes.Unavailable},
		"a renewal": {func(s *Server) error {
			web := holder(t, newServer(t, func(c *Config) { c.Authority = s.config.Authority }), "web")
			_, err := s.Sign(from(t, web), &identityv1.SignRequest{Csr: csr(t, newKey(t), x509.CertificateRequest{})})
			return err
		}, codes.OK},
		"a token is revoked": {func(s *Server) error {
			_, join := token(t, newServer(t, func(c *Config) { c.Tokens = s.config.Tokens }), TokenRequest{Service: "web"})
			return s.RevokeToken(join.IDText())
		}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "audit")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			audit := openAudit(t, filepath.Join(dir, "audit.log"))
			var log strings.Builder
			s := newServer(t, func(c *Config) {
				c.Audit, c.Logger = audit, slog.New(slog.NewTextHandler(&log, nil))
			})
			audit.file.Close()
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := test.ask(s); status.Code(err) != test.code {
				t.Errorf("got %v, want %v", err, test.code)
			}
			if test.code == codes.OK && !strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("the log does not say so loudly: %s", log.String())
			}
		})
	}
}

func TestReplayIsAuditedByTheTokensID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	audit := openAudit(t, path)
	s := newServer(t, func(c *Config) { c.Audit = audit })
	text, join := token(t, s, TokenRequest{Service: "voting"})
	for range 2 {
		_, _ = s.Sign(from(t, remote()), byToken(text, "", csr(t, newKey(t), x509.CertificateRequest{})))
	}
	var events []string
	for _, e := range readAudit(t, path) {
		events = append(events, e.Event)
		if e.Token != join.IDText() {
			t.Errorf("%s is of token %q", e.Event, e.Token)
		}
	}
	if diff := cmp.Diff([]string{eventCreated, eventRedeemed, eventAttested, eventEnrolled, eventRefused}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if secret := strings.Split(text, ".")[2]; strings.Contains(string(b), secret) {
		t.Error("the audit log holds the secret")
	}
}

// Whatever is sent as a request, the certificate that comes of it is that of the
// attested identity.
func FuzzCSR(f *testing.F) {
	s := newServer(f)
	s.limits = unlimited()
	const want = "spiffe://tulle.local/ns/default/svc/web"
	f.Add(csr(f, newKey(f), x509.CertificateRequest{}))
	f.Add(csr(f, newKey(f), x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"a"}}))
	f.Add(csr(f, newKey(f), x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: subjectAltName, Value: []byte{0x30, 0}}}}))
	f.Fuzz(func(t *testing.T, der []byte) {
		answer, err := s.Sign(from(t, local()), &identityv1.SignRequest{Service: "web", Csr: der})
		if err != nil {
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v, want INVALID_ARGUMENT", err)
			}
			return
		}
		p := verified(t, s, answer)
		asked, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		if leaf := p.Certificate; p.URI != want || leaf.IsCA || leaf.Subject.String() != "" ||
			len(leaf.URIs)+len(leaf.DNSNames)+len(leaf.EmailAddresses)+len(leaf.IPAddresses) != 1 ||
			!leaf.PublicKey.(*ecdsa.PublicKey).Equal(asked.PublicKey) {
			t.Errorf("issued %s with %v", p.URI, leaf.Subject)
		}
	})
}
