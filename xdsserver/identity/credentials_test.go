package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// holder is a certificate with its key, as a client presents it.
func holder(t testing.TB, a Authority, id string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	chain, err := a.Issue(context.Background(), Order{ID: id, Key: &key.PublicKey})
	must(t, err)
	return tls.Certificate{Certificate: chain, PrivateKey: key}
}

// forged is a leaf of the CA's intermediate which it would never sign itself.
func forged(t testing.TB, ca *CA, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, is := newKey(t), ca.view.Load().active
	uri, err := url.Parse(voting)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial(),
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		URIs:         []*url.URL{uri},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(template)
	cert, err := sign(template, is.cert, key.Public(), is.signer)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{cert.Raw, is.cert.Raw}, PrivateKey: key}
}

// clientConfig verifies xdsserver as its clients do.
func clientConfig(ca Authority, cert *tls.Certificate) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2"},
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := ca.Trust().Bundle.Verify(s.PeerCertificates)
			return err
		},
	}
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

// shake does one handshake and returns what both sides saw of it.
func shake(t testing.TB, creds credentials.TransportCredentials, client func(net.Conn) error) (caller *Caller, server, clientErr error) {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		err := client(near)
		near.Close()
		done <- err
	}()
	must(t, far.SetDeadline(time.Now().Add(10*time.Second)))
	conn, info, err := creds.ServerHandshake(far)
	if err == nil {
		_, err = conn.Write([]byte("x"))
		must(t, err)
		caller = info.(*Caller)
		conn.Close()
	}
	far.Close()
	return caller, err, <-done
}

// overTLS is a client that reads one byte.
func overTLS(config *tls.Config) func(net.Conn) error {
	return func(raw net.Conn) error {
		conn := tls.Client(raw, config)
		if err := conn.Handshake(); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 1)) // TLS 1.3 tells of a refused certificate here
		return err
	}
}

func TestHandshakeRefusesEveryCertificateThatIsNotOneOfAService(t *testing.T) {
	ca, other := inMemory(t, nil), inMemory(t, func(c *Config) { c.TrustDomain = "other.org" })
	stranger := inMemory(t, nil) // of the same name, and another root
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		must(t, err)
		return u
	}
	self := func(is *issuer) tls.Certificate {
		return tls.Certificate{Certificate: [][]byte{is.cert.Raw}, PrivateKey: is.signer}
	}
	for name, test := range map[string]struct {
		cert tls.Certificate
		want string
	}{
		"another trust domain": {
			holder(t, other, "spiffe://other.org/ns/default/svc/voting"), "is of trust domain other.org, want tulle.local",
		},
		"our trust domain's name, under another root": {holder(t, stranger, voting), "is not valid: "},
		"expired": {
			forged(t, ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-30 * time.Second) }),
			"expired at",
		},
		"not yet valid": {
			forged(t, ca, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(10 * time.Minute) }),
			"check the clocks of both machines",
		},
		"two identities": {
			forged(t, ca, func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("spiffe://tulle.local/ns/default/svc/web")) }),
			"names 2 identities, want one",
		},
		"a host name only": {
			forged(t, ca, func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"voting.example.org"} }),
			`names the host "voting.example.org" and no SPIFFE identity`,
		},
		"no name at all": {
			forged(t, ca, func(c *x509.Certificate) { c.URIs = nil }),
			"names no SPIFFE identity",
		},
		"the intermediate itself as a leaf": {self(ca.view.Load().active), "is a CA's, which proves no service"},
		"a leaf that may sign": {
			forged(t, ca, func(c *x509.Certificate) {
				c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
			}),
			"is a CA's, which proves no service",
		},
		"an identity of a form that is none": {
			forged(t, ca, func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://tulle.local/ns//svc/voting")} }),
			"names \"spiffe://tulle.local/ns//svc/voting\"",
		},
		"a web address": {
			forged(t, ca, func(c *x509.Certificate) { c.URIs = []*url.URL{uri("https://tulle.local/ns/default/svc/voting")} }),
			"names \"https://tulle.local",
		},
		"a chain without its intermediate": {
			func() tls.Certificate { c := holder(t, ca, voting); c.Certificate = c.Certificate[:1]; return c }(),
			"is not valid: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := &logged{}
			creds := NewCredentials(ca, log.logger())
			_, server, client := shake(t, creds, overTLS(clientConfig(ca, &test.cert)))
			wantError(t, server, "identity: handshake: ", test.want)
			if client == nil {
				t.Error("the client was not told")
			}
			if !strings.Contains(log.String(), "connection refused") {
				t.Errorf("logged %q", log)
			}
		})
	}
}

func TestHandshakeTellsWhoCalls(t *testing.T) {
	ca := inMemory(t, nil)
	creds := NewCredentials(ca, quiet)
	cert := holder(t, ca, voting)
	caller, server, client := shake(t, creds, overTLS(clientConfig(ca, &cert)))
	must(t, errors.Join(server, client))
	if caller.Peer == nil || caller.Peer.URI != voting || caller.Peer.Service != "voting" {
		t.Errorf("peer %+v, want %s", caller.Peer, voting)
	}
	if caller.Local || caller.UID != -1 {
		t.Errorf("a pipe is local, of user %d", caller.UID)
	}
	if caller.SecurityLevel != credentials.PrivacyAndIntegrity || caller.AuthType() != "tls" {
		t.Errorf("security level %v, type %s", caller.SecurityLevel, caller.AuthType())
	}

	caller, server, client = shake(t, creds, overTLS(clientConfig(ca, nil)))
	must(t, errors.Join(server, client))
	if caller.Peer != nil {
		t.Errorf("peer %+v without a certificate", caller.Peer)
	}
}

func TestHandshakeIsOfOneKindOnly(t *testing.T) {
	ca := inMemory(t, nil)
	cert := holder(t, ca, voting)
	with := func(change func(*tls.Config)) func(net.Conn) error {
		c := clientConfig(ca, &cert)
		change(c)
		return overTLS(c)
	}
	for name, test := range map[string]struct {
		client func(net.Conn) error
		want   string
	}{
		"TLS 1.2":                {with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "unsupported versions"},
		"no protocol":            {with(func(c *tls.Config) { c.NextProtos = nil }), "the client offers no ALPN protocol: it must offer h2"},
		"another protocol":       {with(func(c *tls.Config) { c.NextProtos = []string{"mqtt"} }), "unsupported application protocols"},
		"HTTP/1.1 in TLS":        {with(func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }), "it must offer h2"},
		"HTTP/2 in plain text":   {func(c net.Conn) error { return plain(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") }, "the client speaks no TLS"},
		"HTTP/1.1 in plain text": {func(c net.Conn) error { return plain(c, "GET / HTTP/1.1\r\n\r\n") }, "the client speaks no TLS"},
		"nothing":                {func(net.Conn) error { return nil }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, server, _ := shake(t, NewCredentials(ca, quiet), test.client)
			wantError(t, server, test.want)
		})
	}
}

// plain writes text, and reads until the other end closes.
func plain(c net.Conn, text string) error {
	go c.Write([]byte(text)) // the other end may close before it has read all
	_, err := c.Read(make([]byte, 100))
	return err
}

func TestNoConnectionIsResumed(t *testing.T) {
	ca := inMemory(t, nil)
	cert := holder(t, ca, voting)
	config := clientConfig(ca, &cert)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	creds := NewCredentials(ca, quiet)
	for range 3 {
		_, server, client := shake(t, creds, func(raw net.Conn) error {
			conn := tls.Client(raw, config)
			if err := conn.Handshake(); err != nil {
				return err
			}
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				return err
			}
			if conn.ConnectionState().DidResume {
				t.Error("resumed")
			}
			return nil
		})
		must(t, errors.Join(server, client))
	}
}

func TestEachHandshakeAsksTheAuthorityAnew(t *testing.T) {
	a := &switching{CA: inMemory(t, nil)}
	creds := NewCredentials(a, quiet)
	cert := holder(t, a.CA, voting)
	_, server, client := shake(t, creds, overTLS(clientConfig(a, &cert)))
	must(t, errors.Join(server, client))
	a.CA = inMemory(t, nil)
	_, server, _ = shake(t, creds, overTLS(clientConfig(a, &cert)))
	wantError(t, server, "is not valid")
}

// switching is an authority that becomes another.
type switching struct{ *CA }

func TestRefusalsAreLoggedOnceASecond(t *testing.T) {
	log := &logged{}
	creds := NewCredentials(inMemory(t, nil), log.logger())
	for range 5 {
		_, _, _ = shake(t, creds, func(c net.Conn) error { return plain(c, "GET / HTTP/1.1\r\n\r\n") })
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

func TestServerCredentialsAreNoClients(t *testing.T) {
	creds := NewCredentials(inMemory(t, nil), nil).Clone()
	_, _, err := creds.ClientHandshake(context.Background(), "", nil)
	wantError(t, err, "these credentials are a server's")
	must(t, creds.OverrideServerName("x")) //nolint:staticcheck // part of the interface
	if got := creds.Info().SecurityProtocol; got != "tls" {
		t.Errorf("protocol %s", got)
	}
}

// wrapped hides a connection's type, as proxies and limiters of connections do.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestKernelSaysWhoIsAtTheOtherEndOfAUnixSocket(t *testing.T) {
	if peerUserUnknown {
		t.Skip("this system does not tell")
	}
	ca := inMemory(t, nil)
	creds := NewCredentials(ca, quiet)
	for name, test := range map[string]struct {
		network, address string
		wrap             func(net.Conn) net.Conn
		local            bool
		uid              int
	}{
		"a unix socket":         {"unix", filepath.Join(t.TempDir(), "s"), func(c net.Conn) net.Conn { return c }, os.Geteuid() != overflowUID, os.Geteuid()},
		"a wrapped unix socket": {"unix", filepath.Join(t.TempDir(), "s"), func(c net.Conn) net.Conn { return wrapped{c} }, os.Geteuid() != overflowUID, os.Geteuid()},
		"a connection over TCP": {"tcp", "127.0.0.1:0", func(c net.Conn) net.Conn { return c }, false, -1},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen(test.network, test.address)
			must(t, err)
			defer l.Close()
			done := make(chan error, 1)
			go func() {
				conn, err := net.Dial(test.network, l.Addr().String())
				if err == nil {
					err = overTLS(clientConfig(ca, nil))(conn)
					conn.Close()
				}
				done <- err
			}()
			raw, err := l.Accept()
			must(t, err)
			conn, info, err := creds.ServerHandshake(test.wrap(raw))
			must(t, err)
			defer conn.Close()
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			must(t, <-done)
			caller := info.(*Caller)
			if caller.Local != test.local || caller.UID != test.uid {
				t.Errorf("local %v, user %d", caller.Local, caller.UID)
			}
			if sysConn(conn) == nil {
				t.Error("the socket cannot be reached through the connection")
			}
		})
	}
}

func TestOnlyOwnUserAndRootAreLocal(t *testing.T) {
	for name, test := range map[string]struct {
		uid, own int
		want     bool
	}{
		"own user":                            {1000, 1000, true},
		"root":                                {0, 1000, true},
		"another user":                        {1001, 1000, false},
		"another user, and we are root":       {1000, 0, false},
		"a user the namespace does not know":  {65534, 65534, false},
		"nobody known":                        {-1, -1, false},
		"the kernel's answer to a TCP socket": {4294967295, 1000, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isLocal(test.uid, test.own); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestInterceptorsAdmitOnlyWhoIsKnown(t *testing.T) {
	ca := inMemory(t, nil)
	leaf := issue(t, ca)
	p, err := ca.Trust().Bundle.Verify(leaf)
	must(t, err)
	known := &Caller{Peer: p}
	old := *p
	old.Certificate = &x509.Certificate{NotAfter: time.Now().Add(-time.Minute)}
	expired := &Caller{Peer: &old}
	const sign, stream = identityv1.IdentityService_Sign_FullMethodName, "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	for name, test := range map[string]struct {
		info   credentials.AuthInfo
		method string
		want   string
	}{
		"Sign without a certificate":                 {&Caller{}, sign, ""},
		"Sign with one":                              {known, sign, ""},
		"a stream with one":                          {known, stream, ""},
		"a stream without a certificate":             {&Caller{}, stream, "needs a client certificate"},
		"a stream of this machine without one":       {&Caller{Local: true}, stream, "needs a client certificate"},
		"a method nobody knows":                      {&Caller{}, "/tulle.identity.v1.IdentityService/sign", "needs a client certificate"},
		"health without a certificate":               {&Caller{}, "/grpc.health.v1.Health/Check", "needs a client certificate"},
		"no credentials at all":                      {nil, stream, "needs a client certificate"},
		"credentials of another kind":                {credentials.TLSInfo{}, stream, "needs a client certificate"},
		"a certificate that has expired meanwhile":   {expired, stream, "expired at"},
		"Sign by one that has expired meanwhile":     {expired, sign, "renew it and connect again"},
		"Sign over a connection without credentials": {nil, sign, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: test.info})
			unary, streaming := Interceptors()
			called := 0
			_, err := unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: test.method}, func(context.Context, any) (any, error) {
				called++
				return nil, nil
			})
			serr := streaming(nil, &contextStream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: test.method}, func(any, grpc.ServerStream) error {
				called++
				return nil
			})
			if test.want == "" {
				must(t, errors.Join(err, serr))
				if called != 2 {
					t.Errorf("called %d times", called)
				}
				return
			}
			for _, err := range []error{err, serr} {
				wantError(t, err, test.want)
				if status.Code(err) != codes.Unauthenticated {
					t.Errorf("code %v", status.Code(err))
				}
			}
			if called != 0 {
				t.Error("called nevertheless")
			}
		})
	}
	if _, ok := CallerFromContext(context.Background()); ok {
		t.Error("a caller from nowhere")
	}
}

type contextStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *contextStream) Context() context.Context { return s.ctx }

func BenchmarkIssue(b *testing.B) {
	ca := inMemory(b, nil)
	order := Order{ID: voting, Key: &newKey(b).PublicKey}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ca.Issue(context.Background(), order); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHandshake is both sides of one mutual handshake, over a pipe.
func BenchmarkHandshake(b *testing.B) {
	ca := inMemory(b, nil)
	cert := holder(b, ca, spiffe.ServiceID(domain, "voting"))
	creds, client := NewCredentials(ca, quiet), overTLS(clientConfig(ca, &cert))
	b.ReportAllocs()
	for b.Loop() {
		if _, server, client := shake(b, creds, client); server != nil || client != nil {
			b.Fatal(server, client)
		}
	}
}
