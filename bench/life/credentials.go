package life

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tulle-mesh/tulle/mesh/identity"
)

// The files of an identity.
const (
	certFile, keyFile, bundleFile = "svid.pem", "key.pem", "bundle.pem"
)

// peerID is the SPIFFE id of the client, which in package life's own connections is the
// server's, too.
func (b *bed) peerID() (string, error) {
	svid, err := x509svid.Load(file(b.identity, certFile), file(b.identity, keyFile))
	if err != nil {
		return "", err
	}
	return svid.ID.String(), nil
}

// links are the ways to secure a connection, all with the client's identity at both ends.
// What runs for them ends with ctx, and wait waits for it.
func (b *bed) links(ctx context.Context, wait *sync.WaitGroup) ([]*link, error) {
	config, err := b.tlsConfig()
	if err != nil {
		return nil, err
	}
	svid, err := x509svid.Load(file(b.identity, certFile), file(b.identity, keyFile))
	if err != nil {
		return nil, err
	}
	bundle, err := x509bundle.Load(svid.ID.TrustDomain(), file(b.identity, bundleFile))
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	source, err := identity.New(identity.Config{Service: caller, Provider: identity.NewFiles(b.identity, quiet), Logger: quiet})
	if err != nil {
		return nil, err
	}
	wait.Go(func() { _ = source.Run(ctx, nil) })
	if _, err := source.Wait(ctx); err != nil {
		return nil, err
	}
	return []*link{
		{name: insecureLink, client: insecure.NewCredentials(), server: insecure.NewCredentials()},
		{name: plainLink, client: credentials.NewTLS(config), server: credentials.NewTLS(config)},
		{
			name:   spiffeLink,
			client: grpccredentials.MTLSClientCredentials(svid, bundle, tlsconfig.AuthorizeID(svid.ID)),
			server: grpccredentials.MTLSServerCredentials(svid, bundle, tlsconfig.AuthorizeAny()),
		},
		{name: tulleLink, client: source.ClientCredentials(), server: source.ServerCredentials(nil)},
	}, nil
}

// tlsConfig is the least that is mutual TLS with the mesh's certificates: as the plain
// service has it.
func (b *bed) tlsConfig() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(file(b.identity, certFile), file(b.identity, keyFile))
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(file(b.identity, bundleFile))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the bundle holds no certificate")
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAnyClientCert,
		// Identities are URIs, where the standard library would want a host's name:
		// VerifyConnection verifies them.
		InsecureSkipVerify: true, //nolint:forbidigo,gosec // for that reason
		VerifyConnection: func(s tls.ConnectionState) error {
			intermediates := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				intermediates.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
			})
			return err
		},
	}, nil
}
