package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// An endpoint serves health checks, and remembers who called last.
type endpoint struct {
	*health.Server

	mu     sync.Mutex
	caller *spiffe.Peer
}

func (e *endpoint) note(ctx context.Context, r any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	e.mu.Lock()
	e.caller, _ = PeerFromContext(ctx)
	e.mu.Unlock()
	return next(ctx, r)
}

func (e *endpoint) last() *spiffe.Peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.caller
}

const endpointAddr = "10.0.0.7:5000"

func serveEndpoint(tb testing.TB, n *network, creds credentials.TransportCredentials) *endpoint {
	tb.Helper()
	e := &endpoint{Server: health.NewServer()}
	server := grpc.NewServer(grpc.Creds(creds), grpc.UnaryInterceptor(e.note))
	healthpb.RegisterHealthServer(server, e)
	l := n.listen(endpointAddr)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	tb.Cleanup(func() {
		server.Stop()
		wg.Wait()
	})
	return e
}

// connect is a client whose address names those peers.
func connect(tb testing.TB, n *network, creds credentials.TransportCredentials, peers ...string) *grpc.ClientConn {
	tb.Helper()
	r := manual.NewBuilderWithScheme("mesh")
	address := resolver.Address{Addr: endpointAddr}
	if len(peers) > 0 {
		address.Attributes = resource.WithPeerIDs(nil, peers)
	}
	r.InitialState(resolver.State{Endpoints: []resolver.Endpoint{{Addresses: []resolver.Address{address}}}})
	conn, err := grpc.NewClient("mesh:///voting", grpc.WithResolvers(r), grpc.WithTransportCredentials(creds), grpc.WithContextDialer(n.dial))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return conn
}

func call(conn *grpc.ClientConn, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
	return err
}

func TestBothSidesKnowWhoTheOtherIs(t *testing.T) {
	a, n := newAuthority(t, domain), newNetwork()
	server, _ := provide(t, a.identity("voting"))
	client, _ := provide(t, a.identity("web.shop"))
	e := serveEndpoint(t, n, server.ServerCredentials(nil))
	conn := connect(t, n, client.ClientCredentials(), spiffe.ServiceID(domain, "emoji"), spiffe.ServiceID(domain, "voting"))
	var there peer.Peer
	if err := call(conn, grpc.Peer(&there)); err != nil {
		t.Fatal(err)
	}
	if got := e.last(); got == nil || got.URI != "spiffe://example.org/ns/shop/svc/web" || got.Service != "web.shop" {
		t.Errorf("the server was called by %+v", got)
	}
	if got, ok := PeerFromContext(peer.NewContext(t.Context(), &there)); !ok || got.Service != "voting" {
		t.Errorf("the client was answered by %+v", got)
	}
	if _, ok := PeerFromContext(t.Context()); ok {
		t.Error("a context without a call has a peer")
	}
}

// silent accepts and answers each connection by answer.
func silent(tb testing.TB, n *network, answer func(net.Conn)) {
	l := n.listen(endpointAddr)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				answer(conn)
			})
		}
	})
	tb.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
}

func TestAClientRefusesWhoIsNotTheServiceAndSaysWhy(t *testing.T) {
	a, other, impostor := newAuthority(t, domain), newAuthority(t, "other.org"), newAuthority(t, domain)
	later, earlier, ca, host := service(t, domain, "voting"), service(t, domain, "voting"), service(t, domain, "voting"), named(t)
	both := named(t, spiffe.ServiceID(domain, "web"), spiffe.ServiceID(domain, "voting"))
	later.NotBefore = time.Now().Add(10*time.Minute + 30*time.Second)
	earlier.NotAfter = time.Now().Add(-10 * time.Minute)
	ca.IsCA, ca.BasicConstraintsValid = true, true
	host.DNSNames = []string{"voting"}
	serving := func(c tls.Certificate) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c}}
	}
	old := serving(a.certificate(service(t, domain, "voting")))
	old.MaxVersion = tls.VersionTLS12
	voting := spiffe.ServiceID(domain, "voting")
	for name, test := range map[string]struct {
		server credentials.TransportCredentials
		peers  []string
		want   string
	}{
		"another service":                    {credentials.NewTLS(serving(a.certificate(service(t, domain, "emoji")))), []string{voting}, "endpoint presented spiffe://example.org/ns/default/svc/emoji, want spiffe://example.org/ns/default/svc/voting"},
		"a service whose name begins so":     {credentials.NewTLS(serving(a.certificate(service(t, domain, "voting-x")))), []string{voting}, "endpoint presented"},
		"the same name elsewhere":            {credentials.NewTLS(serving(a.certificate(service(t, domain, "voting.shop")))), []string{voting}, "endpoint presented spiffe://example.org/ns/shop/svc/voting"},
		"another trust domain":               {credentials.NewTLS(serving(other.certificate(service(t, "other.org", "voting")))), []string{spiffe.ServiceID("other.org", "voting")}, "endpoint: certificate of spiffe://other.org/ns/default/svc/voting is of trust domain other.org, want example.org"},
		"an id of ours by another authority": {credentials.NewTLS(serving(impostor.certificate(service(t, domain, "voting")))), []string{voting}, "signed by unknown authority"},
		"expired":                            {credentials.NewTLS(serving(a.certificate(earlier))), []string{voting}, " ago"},
		"not yet valid":                      {credentials.NewTLS(serving(a.certificate(later))), []string{voting}, "check the clocks of both machines"},
		"a CA as leaf":                       {credentials.NewTLS(serving(a.certificate(ca))), []string{voting}, "is a CA's, which proves no service"},
		"two identities":                     {credentials.NewTLS(serving(a.certificate(both))), []string{voting}, "names 2 identities, want one"},
		"a host name only":                   {credentials.NewTLS(serving(a.certificate(host))), []string{voting}, "and no SPIFFE identity"},
		"TLS 1.2":                            {credentials.NewTLS(old), []string{voting}, "protocol version"},
		"plaintext":                          {insecure.NewCredentials(), []string{voting}, "what answers speaks no TLS"},
		"nobody is named":                    {credentials.NewTLS(serving(a.certificate(service(t, domain, "voting")))), nil, "the configuration names no identity for this endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork()
			serveEndpoint(t, n, test.server)
			client, _ := provide(t, a.identity("web"))
			err := call(connect(t, n, client.ClientCredentials(), test.peers...))
			if status.Code(err) != codes.Unavailable || !contains(err, test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	t.Run("no ALPN", func(t *testing.T) {
		n := newNetwork()
		silent(t, n, func(c net.Conn) {
			_ = tls.Server(c, serving(a.certificate(service(t, domain, "voting")))).Handshake()
		})
		client, _ := provide(t, a.identity("web"))
		if err := call(connect(t, n, client.ClientCredentials(), voting)); !contains(err, "did not agree on HTTP/2") {
			t.Errorf("got %v", err)
		}
	})
}

// Only xdsserver is xdsserver: a service with a certificate of the same authority
// that stands in its place is refused.
func TestTheControlConnectionIsToXdsserverOnly(t *testing.T) {
	a := newAuthority(t, domain)
	for name, test := range map[string]struct {
		template *x509Certificate
		want     string
	}{
		"xdsserver":          {named(t, spiffe.ServerID(domain)), ""},
		"a service":          {service(t, domain, "web"), "xdsserver presented spiffe://example.org/ns/default/svc/web, want spiffe://example.org/xdsserver"},
		"a service so named": {service(t, domain, "xdsserver"), "want spiffe://example.org/xdsserver"},
		"of another domain":  {named(t, spiffe.ServerID("other.org")), "xdsserver: certificate of spiffe://other.org/xdsserver is of trust domain other.org"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork()
			serveEndpoint(t, n, credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.certificate(test.template)}}))
			client, _ := provide(t, a.identity("web"))
			err := call(connect(t, n, client.ControlCredentials()))
			if test.want == "" && err != nil || test.want != "" && !contains(err, test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// The client trusts the server's authority, the server not the client's.
func TestAClientThatIsRefusedLearnsThatItsCertificateIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, n := newAuthority(t, domain), newAuthority(t, domain), newNetwork()
		server, log := provide(t, a.identity("voting"))
		client, _ := provide(t, b.identity("web").withBundle(a.bundle()))
		serveEndpoint(t, n, server.ServerCredentials(nil))
		conn := connect(t, n, client.ClientCredentials(), spiffe.ServiceID(domain, "voting"))
		want := "refused this process's certificate of spiffe://example.org/ns/default/svc/web: tls: bad certificate; its log says why"
		err := call(conn)
		if !contains(err, want) {
			t.Errorf("got %v, want %q", err, want)
		}
		synctest.Wait()
		if !strings.Contains(log.String(), "signed by unknown authority") {
			t.Errorf("log:\n%s", log)
		}
	})
}

func TestAHandshakeWaitsForTheFirstIdentityOrSaysWhyThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, n := newAuthority(t, domain), newNetwork()
		p := start(t, n, Config{Service: "web", Token: a.token(xds).Reveal()})
		server, _ := provide(t, a.identity("voting"))
		serveEndpoint(t, n, server.ServerCredentials(nil))
		conn := connect(t, n, p.ClientCredentials(), spiffe.ServiceID(domain, "voting"))
		if err := call(conn); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("without an identity: %v", err)
		}
		time.Sleep(time.Minute)
		err := call(conn)
		want := "identity: service web has none yet (context deadline exceeded): enrolment: 10.0.0.5:18000: "
		for !contains(err, want) && time.Since(time.Unix(946684800, 0)) < time.Hour {
			err = call(conn)
		}
		if !contains(err, want) {
			t.Errorf("got %v, want %q", err, want)
		}
		defer a.serve(n.listen(xds))()
		if err := call2(conn, grpc.WaitForReady(true)); err != nil {
			t.Error(err)
		}
		conn.Close()
		_ = p.stop()
	})
}

func call2(conn *grpc.ClientConn, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
	return err
}

func TestAServerWithoutAnIdentityRefusesAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Service: "voting", Servers: []string{xds}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct{ said, want string }{
			"a handshake is begun": {"\x16\x03\x01", "identity: service voting has none yet: context deadline exceeded"},
			"nothing is said":      {"", "client sent nothing for 10s"},
		} {
			client, server := net.Pipe()
			go func() { _, _ = client.Write([]byte(test.said)[:min(1, len(test.said))]) }()
			began := time.Now()
			_, _, err = s.ServerCredentials(nil).ServerHandshake(server)
			if took := time.Since(began); !contains(err, test.want) || took < handshakeTimeout || took > handshakeTimeout+lingerFor {
				t.Errorf("%s: got %v after %v", name, err, time.Since(began))
			}
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("%s: the connection is left open: %v", name, err)
			}
		}
	})
}

// An open connection keeps the identity it was made with; the next has the new one.
func TestANewConnectionHasTheNewIdentity(t *testing.T) {
	a, n := newAuthority(t, domain), newNetwork()
	server, _ := provide(t, a.identity("voting"))
	client, _ := provide(t, a.identity("web"))
	e := serveEndpoint(t, n, server.ServerCredentials(nil))
	voting := spiffe.ServiceID(domain, "voting")
	conn := connect(t, n, client.ClientCredentials(), voting)
	if err := call(conn); err != nil {
		t.Fatal(err)
	}
	before := e.last().Certificate
	client.provided(a.identity("web"))
	if err := call(conn); err != nil || !e.last().Certificate.Equal(before) {
		t.Errorf("the open connection: %v", err)
	}
	if err := call(connect(t, n, client.ClientCredentials(), voting)); err != nil || e.last().Certificate.Equal(before) {
		t.Errorf("the next connection: %v", err)
	}
}
