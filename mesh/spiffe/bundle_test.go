package spiffe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

const domain = "example.org"

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue signs what the template says; by the key itself where signer is nil.
func issue(tb testing.TB, signer *pair, template *x509.Certificate, curve elliptic.Curve) *pair {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(1)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = now.Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = now.Add(time.Hour)
	}
	parent, by := template, key
	if signer != nil {
		parent, by = signer.cert, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &pair{cert, key}
}

func ca(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		SubjectKeyId: []byte(name),
	}
}

func uri(tb testing.TB, text string) *url.URL {
	tb.Helper()
	u, err := url.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func TestVerifyAcceptsAnSVIDAndSaysWhoItIs(t *testing.T) {
	root := issue(t, nil, ca("root"), elliptic.P256())
	middle := issue(t, root, ca("intermediate"), elliptic.P256())
	leaf := issue(t, middle, &x509.Certificate{
		URIs: []*url.URL{uri(t, ServiceID(domain, "voting.shop"))}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, elliptic.P256())
	bundle, err := NewBundle(domain, []*x509.Certificate{root.cert})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := bundle.VerifyAt([]*x509.Certificate{leaf.cert, middle.cert}, now)
	if err != nil {
		t.Fatal(err)
	}
	if peer.Service != "voting.shop" || peer.URI != ServiceID(domain, "voting.shop") || !peer.NotAfter().Equal(leaf.cert.NotAfter) {
		t.Errorf("got %+v", peer)
	}
	// Without a subject the SAN is critical, as the authority makes it.
	if err := CheckSVID(leaf.cert); err != nil {
		t.Error(err)
	}
}

func TestVerifyRefusesAndSaysWhy(t *testing.T) {
	root := issue(t, nil, ca("root"), elliptic.P256())
	foreign := issue(t, nil, ca("foreign"), elliptic.P256())
	bundle, err := NewBundle(domain, []*x509.Certificate{root.cert})
	if err != nil {
		t.Fatal(err)
	}
	voting := []*url.URL{uri(t, ServiceID(domain, "voting"))}
	for name, test := range map[string]struct {
		signer   *pair
		template x509.Certificate
		curve    elliptic.Curve
		want     string
	}{
		"another root under the same name": {foreign, x509.Certificate{URIs: voting}, nil, "signed by unknown authority"},
		"another trust domain":             {root, x509.Certificate{URIs: []*url.URL{uri(t, ServiceID("evil.org", "voting"))}}, nil, "of trust domain evil.org, want example.org"},
		"expired":                          {root, x509.Certificate{URIs: voting, NotAfter: now.Add(-10 * time.Minute)}, nil, "expired at 2026-03-01T11:50:00Z, 10m0s ago"},
		"not yet valid":                    {root, x509.Certificate{URIs: voting, NotBefore: now.Add(10 * time.Minute)}, nil, "in 10m0s: check the clocks"},
		"a CA":                             {root, x509.Certificate{URIs: voting, IsCA: true, BasicConstraintsValid: true}, nil, "is a CA's, which proves no service"},
		"a leaf that may sign":             {root, x509.Certificate{URIs: voting, KeyUsage: x509.KeyUsageCertSign}, nil, "is a CA's"},
		"two identities":                   {root, x509.Certificate{URIs: append(voting, uri(t, ServiceID(domain, "web")))}, nil, "names 2 identities, want one"},
		"a host name only":                 {root, x509.Certificate{DNSNames: []string{"voting"}}, nil, `names the host "voting" and no SPIFFE identity`},
		"no name":                          {root, x509.Certificate{Subject: pkix.Name{CommonName: "voting"}}, nil, "names no SPIFFE identity"},
		"a URI that is no SPIFFE":          {root, x509.Certificate{URIs: []*url.URL{uri(t, "https://example.org/voting")}}, nil, "https://example.org/voting"},
		"a P-224 key":                      {root, x509.Certificate{URIs: voting}, elliptic.P224(), "P-224"},
		"a huge certificate":               {root, x509.Certificate{URIs: voting, DNSNames: []string{strings.Repeat("a", 9<<10)}}, nil, "are the most"},
	} {
		t.Run(name, func(t *testing.T) {
			curve := test.curve
			if curve == nil {
				curve = elliptic.P256()
			}
			leaf := issue(t, test.signer, &test.template, curve)
			if _, err := bundle.VerifyAt([]*x509.Certificate{leaf.cert}, now); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	if _, err := bundle.Verify(nil); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("no certificate: %v", err)
	}
	if _, err := bundle.Verify(make([]*x509.Certificate, 5)); err == nil || !strings.Contains(err.Error(), "4 are the most") {
		t.Errorf("five certificates: %v", err)
	}
}

func TestCheckSVIDRefusesWhatTheAuthorityNeverIssues(t *testing.T) {
	root := issue(t, nil, ca("root"), elliptic.P256())
	voting := []*url.URL{uri(t, ServiceID(domain, "voting"))}
	for name, test := range map[string]struct {
		template x509.Certificate
		want     string
	}{
		"a host name beside": {x509.Certificate{URIs: voting, DNSNames: []string{"voting"}}, "1 names beside"},
		"an address beside":  {x509.Certificate{URIs: voting, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 7)}}, "1 names beside"},
		"a subject":          {x509.Certificate{URIs: voting, Subject: pkix.Name{CommonName: "voting"}}, "not critical"},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := issue(t, root, &test.template, elliptic.P256())
			if err := CheckSVID(leaf.cert); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestBundleIsMadeOfCAsOnly(t *testing.T) {
	root := issue(t, nil, ca("root"), elliptic.P256())
	leaf := issue(t, root, &x509.Certificate{URIs: []*url.URL{uri(t, ServiceID(domain, "web"))}}, elliptic.P256())
	for name, test := range map[string]struct {
		domain string
		ders   [][]byte
		want   string
	}{
		"nothing":         {domain, nil, "holds no certificate"},
		"a leaf":          {domain, [][]byte{leaf.cert.Raw}, "certificate 0 is no CA"},
		"no certificate":  {domain, [][]byte{root.cert.Raw, []byte("no")}, "certificate 1"},
		"no trust domain": {"Example.org", [][]byte{root.cert.Raw}, "trust domain"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseBundle(test.domain, test.ders); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	other := issue(t, nil, ca("other"), elliptic.P256())
	a, err := ParseBundle(domain, [][]byte{root.cert.Raw, other.cert.Raw})
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBundle(domain, []*x509.Certificate{other.cert, root.cert})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewBundle(domain, a.Roots()[:1])
	if err != nil {
		t.Fatal(err)
	}
	if !a.Equal(b) || a.Equal(c) || a.Equal(nil) || len(a.DER()) != 2 || a.TrustDomain() != domain {
		t.Error("bundles are equal by their roots, in any order, and by nothing else")
	}
}

// What verification costs a handshake.
func BenchmarkVerify(b *testing.B) {
	root := issue(b, nil, ca("root"), elliptic.P256())
	middle := issue(b, root, ca("intermediate"), elliptic.P256())
	leaf := issue(b, middle, &x509.Certificate{URIs: []*url.URL{uri(b, ServiceID(domain, "voting"))}}, elliptic.P256())
	bundle, err := NewBundle(domain, []*x509.Certificate{root.cert})
	if err != nil {
		b.Fatal(err)
	}
	chain := []*x509.Certificate{leaf.cert, middle.cert}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bundle.VerifyAt(chain, now); err != nil {
			b.Fatal(err)
		}
	}
}
