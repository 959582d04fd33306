package consul

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// tls is how Consul is verified; nil without https. unproven is called when Consul wants
// to know who asks, and there is no certificate.
func (c Config) tls(unproven func()) (*tls.Config, error) {
	at, err := c.endpoint()
	if err != nil || at.scheme != "https" {
		return nil, err
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("consul: roots: %w", err)
		}
		if secure.RootCAs = x509.NewCertPool(); !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("consul: roots: %s holds no certificate in PEM", c.CAFile)
		}
	}
	secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		unproven()
		return &tls.Certificate{}, nil
	}
	if c.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile); err != nil {
			return nil, fmt.Errorf("consul: certificate: %w", err)
		}
		// Read for each connection: certificates are renewed.
		secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("consul: certificate: %w", err)
			}
			return &pair, nil
		}
	}
	return secure, nil
}
