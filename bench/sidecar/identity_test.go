package sidecar

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
)

const (
	clientID   = "spiffe://mesh.test/ns/default/svc/client"
	serverID   = "spiffe://mesh.test/ns/default/svc/server"
	intruderID = "spiffe://mesh.test/ns/default/svc/client-of-another-name"
)

// An authority signs identities.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.sign(t, "ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// identity is one of a SPIFFE id.
func (a *authority) identity(t *testing.T, id string) Identity {
	t.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(id)
	a.sign(t, name, &x509.Certificate{
		URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return Identity{Cert: a.file(name + ".pem"), Key: a.file(name + ".key"), CA: a.file("ca.pem")}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign writes NAME.pem and NAME.key; what nobody else signs signs itself.
func (a *authority) sign(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der},
		name + ".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// credentials are those of a client that trusts any server; the zero identity shows no
// certificate.
func (i Identity) credentials(t *testing.T) credentials.TransportCredentials {
	t.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	if i.Cert != "" {
		cert, err := tls.LoadX509KeyPair(i.Cert, i.Key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return credentials.NewTLS(config)
}

func TestIdentitiesOfPeersAreReadFromTheirCertificates(t *testing.T) {
	a := newAuthority(t)
	c := Config{Client: a.identity(t, clientID), Server: a.identity(t, serverID), Upstreams: []string{"127.0.0.1:1"}}
	client, server, err := c.settings()
	if err != nil || client.Peer != serverID || server.Peer != clientID || server.TrustDomain != "mesh.test" {
		t.Errorf("peers are %q and %q of %q, %v", client.Peer, server.Peer, server.TrustDomain, err)
	}
	c.Client.ServerID, c.Server.ClientID = intruderID, intruderID
	client, server, err = c.settings()
	if err != nil || client.Peer != intruderID || server.Peer != intruderID {
		t.Errorf("peers are %q and %q, and not as said, %v", client.Peer, server.Peer, err)
	}
	c.Client.Cert, c.Server.ClientID = a.file("ca.pem"), ""
	if _, _, err := c.settings(); err == nil {
		t.Error("a certificate without a SPIFFE id is nobody's, and was taken")
	}
}
