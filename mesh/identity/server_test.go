package identity

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// provide runs a Source that has an identity from the start.
func provide(tb testing.TB, i *Identity) (*Source, *logs) {
	tb.Helper()
	p := start(tb, nil, Config{Service: "client", Provider: fixed{i}})
	p.must()
	return p.Source, p.logs
}

// A pipe is a connection over the loopback, whose closing behaves as real ones do.
func pipe(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	_ = client.SetDeadline(deadline)
	_ = server.SetDeadline(deadline)
	tb.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// hostile is a client that does not check the server, and is refused by it.
func hostile(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: certificates, NextProtos: []string{"h2"}, InsecureSkipVerify: true}
}

func TestAServerRefusesWhoIsNobodyAndSaysWhy(t *testing.T) {
	a, other, impostor := newAuthority(t, domain), newAuthority(t, "other.org"), newAuthority(t, domain)
	later, earlier, both, ca, host := service(t, domain, "web"), service(t, domain, "web"), named(t, spiffe.ServiceID(domain, "web"), spiffe.ServiceID(domain, "voting")), service(t, domain, "web"), named(t)
	later.NotBefore = time.Now().Add(10*time.Minute + 30*time.Second)
	earlier.NotAfter = time.Now().Add(-10 * time.Minute)
	ca.IsCA, ca.BasicConstraintsValid = true, true
	host.DNSNames = []string{"web"}
	old, mute, spdy := hostile(a.certificate(service(t, domain, "web"))), hostile(a.certificate(service(t, domain, "web"))), hostile(a.certificate(service(t, domain, "web")))
	old.MaxVersion = tls.VersionTLS12
	mute.NextProtos = nil
	spdy.NextProtos = []string{"spdy/3"}
	for name, test := range map[string]struct {
		client      *tls.Config
		want, reads string
	}{
		"no certificate":                                  {hostile(), "client: tls: client didn't provide a certificate", "certificate required"},
		"another trust domain":                            {hostile(other.certificate(service(t, "other.org", "web"))), "client: certificate of spiffe://other.org/ns/default/svc/web is of trust domain other.org, want example.org", "bad certificate"},
		"an id of ours by another authority":              {hostile(impostor.certificate(service(t, domain, "web"))), "client: certificate of spiffe://example.org/ns/default/svc/web is not valid", "bad certificate"},
		"an id of ours by an authority of another domain": {hostile(other.certificate(service(t, domain, "web"))), "signed by unknown authority", "bad certificate"},
		"expired":          {hostile(a.certificate(earlier)), " ago", "bad certificate"},
		"not yet valid":    {hostile(a.certificate(later)), "check the clocks of both machines", "bad certificate"},
		"a CA as leaf":     {hostile(a.certificate(ca)), "is a CA's, which proves no service", "bad certificate"},
		"two identities":   {hostile(a.certificate(both)), "names 2 identities, want one", "bad certificate"},
		"a host name only": {hostile(a.certificate(host)), `names the host "web" and no SPIFFE identity`, "bad certificate"},
		"TLS 1.2":          {old, "client offered only unsupported versions", "protocol version not supported"},
		"no ALPN":          {mute, "did not agree on HTTP/2", "bad certificate"},
		"another protocol": {spdy, "client requested unsupported application protocols", "no application protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := provide(t, a.identity("voting"))
			client, server := pipe(t)
			from := client.LocalAddr().String()
			done := make(chan error, 1)
			go func() {
				_, _, err := s.ServerCredentials(nil).ServerHandshake(server)
				done <- err
			}()
			conn := tls.Client(client, test.client)
			_, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
			if err == nil { // TLS 1.3: the client does not know yet
				_, err = conn.Read(make([]byte, 1))
			}
			if !contains(err, test.reads) {
				t.Errorf("client: got %v, want %q", err, test.reads)
			}
			_ = client.Close() // the server waits for that, a little
			if err := <-done; !contains(err, test.want) {
				t.Errorf("server: got %v, want %q", err, test.want)
			}
			quoted := strings.ReplaceAll(test.want, `"`, `\"`)
			if !strings.Contains(log.String(), quoted) || !strings.Contains(log.String(), "from="+from) {
				t.Errorf("server's log lacks the address or %q:\n%s", quoted, log)
			}
		})
	}
}

func TestAServerRefusesPlaintextUnlessItIsPermissive(t *testing.T) {
	a := newAuthority(t, domain)
	for name, test := range map[string]struct {
		until func() time.Time
		let   bool
	}{
		"strict":                 {nil, false},
		"without a date":         {func() time.Time { return time.Time{} }, false},
		"permissive in the past": {func() time.Time { return time.Now().Add(-time.Millisecond) }, false},
		"permissive":             {func() time.Time { return time.Now().Add(time.Minute) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := provide(t, a.identity("voting"))
			creds := s.ServerCredentials(test.until)
			for range 3 {
				client, server := pipe(t)
				const said = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				if _, err := client.Write([]byte(said)); err != nil {
					t.Fatal(err)
				}
				if err := client.(*net.TCPConn).CloseWrite(); err != nil { // a refusal waits for that, a little
					t.Fatal(err)
				}
				conn, info, err := creds.ServerHandshake(server)
				if !test.let {
					if !contains(err, "plaintext is refused: give the caller an identity") {
						t.Errorf("got %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if auth := info.(AuthInfo); auth.Peer != nil || auth.AuthType() != "plaintext" || auth.SecurityLevel.String() != "NoSecurity" {
					t.Errorf("got %+v", auth)
				}
				b := make([]byte, len(said))
				if _, err := readFull(conn, b); err != nil || string(b) != said {
					t.Errorf("read %q, %v, want every byte the client sent", b, err)
				}
			}
			callers := s.Status().Plaintext
			if test.let && (len(callers) != 1 || callers[0].Host != "127.0.0.1" || callers[0].Connections != 3 || callers[0].Last.IsZero()) {
				t.Errorf("callers %+v", callers)
			}
			if !test.let && (len(callers) != 0 || log.count("connection in plaintext refused") != 1) {
				t.Errorf("callers %+v, want one line in the log:\n%s", callers, log)
			}
		})
	}
}

func readFull(c net.Conn, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		m, err := c.Read(b[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func TestAPermissiveServerStillKnowsWhoHasAnIdentity(t *testing.T) {
	a := newAuthority(t, domain)
	s, _ := provide(t, a.identity("voting"))
	client, server := pipe(t)
	go func() { _ = tls.Client(client, hostile(a.certificate(service(t, domain, "web")))).Handshake() }()
	_, info, err := s.ServerCredentials(func() time.Time { return time.Now().Add(time.Hour) }).ServerHandshake(server)
	if err != nil {
		t.Fatal(err)
	}
	auth := info.(AuthInfo)
	if auth.Peer.URI != spiffe.ServiceID(domain, "web") || auth.AuthType() != "tls" || auth.SecurityLevel.String() != "PrivacyAndIntegrity" {
		t.Errorf("got %+v", auth)
	}
}

func TestAProbeOfThePortIsNotLogged(t *testing.T) {
	a := newAuthority(t, domain)
	s, log := provide(t, a.identity("voting"))
	client, server := pipe(t)
	_ = client.Close()
	if _, _, err := s.ServerCredentials(nil).ServerHandshake(server); err == nil {
		t.Error("accepted")
	}
	if strings.Contains(log.String(), "refused") {
		t.Errorf("log:\n%s", log)
	}
}

func TestCallersInPlaintextAreBounded(t *testing.T) {
	var c callers
	now := time.Now()
	for i := range 2 * maxCallers {
		c.add(&net.TCPAddr{IP: net.IPv4(10, 0, byte(i>>8), byte(i)), Port: i}, now.Add(time.Duration(i)))
	}
	now = now.Add(time.Second)
	c.add(nil, now)
	c.add(&net.UnixAddr{Name: "/x", Net: "unix"}, now)
	list := c.list()
	if len(list) != maxCallers+1 || list[0].Host != otherCaller || list[0].Connections != maxCallers+2 {
		t.Errorf("%d callers, the latest %+v", len(list), list[0])
	}
}

func TestCredentialsAreOfOneSide(t *testing.T) {
	s, err := New(Config{Servers: []string{xds}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	client, server := s.ClientCredentials(), s.ServerCredentials(nil)
	c, d := net.Pipe()
	defer c.Close()
	defer d.Close()
	if _, _, err := client.ServerHandshake(c); !contains(err, "are a client's") {
		t.Errorf("got %v", err)
	}
	if _, _, err := server.ClientHandshake(context.Background(), "", d); !contains(err, "are a server's") {
		t.Errorf("got %v", err)
	}
	if client.OverrideServerName("x") == nil || server.OverrideServerName("x") == nil { //nolint:staticcheck // the method is part of the interface
		t.Error("a server name is taken, and means nothing")
	}
	if client.Clone().Info().SecurityProtocol != "tls" || server.Clone().Info().SecurityProtocol != "tls" {
		t.Error("want tls")
	}
}
