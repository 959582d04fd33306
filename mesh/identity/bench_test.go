package identity

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"google.golang.org/grpc/test/bufconn"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// A pair of credentials and crypto/tls alone, with the same certificates, so that
// the difference is what this package adds to a handshake: taking the identity,
// checking it as an SVID, the first byte.
func BenchmarkHandshake(b *testing.B) {
	a := newAuthority(b, domain)
	server := a.certificate(named(b, spiffe.ServerID(domain)))
	serverIdentity, err := NewIdentity([]*x509.Certificate{server.Leaf, a.middle.cert}, server.PrivateKey.(crypto.Signer), a.bundle())
	if err != nil {
		b.Fatal(err)
	}
	clientIdentity := a.identity("web")
	b.Run("tulle", func(b *testing.B) {
		to, _ := provide(b, serverIdentity)
		from, _ := provide(b, clientIdentity)
		// The control credentials differ from a client's in whom they want only, and
		// need no address.
		client, accept := from.ControlCredentials(), to.ServerCredentials(nil)
		handshakes(b, func(raw net.Conn) error {
			_, _, err := client.ClientHandshake(context.Background(), "", raw)
			return err
		}, func(raw net.Conn) error {
			_, _, err := accept.ServerHandshake(raw)
			return err
		})
	})
	b.Run("crypto-tls", func(b *testing.B) {
		pool := x509.NewCertPool()
		pool.AddCert(a.root.cert)
		verify := func(state tls.ConnectionState) error {
			middle := x509.NewCertPool()
			middle.AddCert(state.PeerCertificates[1])
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		}
		config := func(c tls.Certificate) *tls.Config {
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"h2"},
				SessionTicketsDisabled: true, VerifyConnection: verify,
				InsecureSkipVerify: true,
			}
		}
		clientConfig, serverConfig := config(clientIdentity.Certificate), config(serverIdentity.Certificate)
		handshakes(b,
			func(raw net.Conn) error { return tls.Client(raw, clientConfig).Handshake() },
			func(raw net.Conn) error { return tls.Server(raw, serverConfig).Handshake() })
	})
}

// handshakes measures both sides of a handshake, one after the other.
func handshakes(b *testing.B, client, server func(net.Conn) error) {
	b.Helper()
	l := bufconn.Listen(64 << 10)
	defer l.Close()
	failed := make(chan error, 1)
	b.ReportAllocs()
	for b.Loop() {
		go func() {
			raw, err := l.Accept()
			if err == nil {
				err = server(raw)
				defer raw.Close()
			}
			failed <- err
		}()
		raw, err := l.Dial()
		if err != nil {
			b.Fatal(err)
		}
		if err := client(raw); err != nil {
			b.Fatal(err)
		}
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
		_ = raw.Close()
	}
}
