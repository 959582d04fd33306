package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/grpc/credentials"
)

// mutualTLS is TLS 1.3 in which both sides show a certificate of the same authority with a
// SPIFFE id, by the standard library alone.
func mutualTLS(dir string) (client, server credentials.TransportCredentials, err error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "svid.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, nil, err
	}
	pem, err := os.ReadFile(filepath.Join(dir, "bundle.pem"))
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s holds no certificate", dir)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAnyClientCert,
		// Identities are URIs, where the standard library would want a host's name:
		// VerifyConnection verifies them.
		InsecureSkipVerify: true, //nolint:gosec,forbidigo // for that reason
		VerifyConnection:   func(s tls.ConnectionState) error { return verify(s.PeerCertificates, roots) },
	}
	return credentials.NewTLS(config), credentials.NewTLS(config), nil
}

func verify(chain []*x509.Certificate, roots *x509.CertPool) error {
	if len(chain) == 0 || len(chain[0].URIs) != 1 || chain[0].URIs[0].Scheme != "spiffe" {
		return errors.New("the peer has no SPIFFE id")
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}
