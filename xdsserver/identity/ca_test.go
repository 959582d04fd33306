package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// extension returns an extension's criticality.
func critical(t *testing.T, c *x509.Certificate, id asn1.ObjectIdentifier) bool {
	t.Helper()
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Critical
		}
	}
	t.Errorf("no extension %v", id)
	return false
}

func TestLeafIsAnSVIDAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil)
		time.Sleep(1500 * time.Millisecond)
		chain := issue(t, ca)
		if len(chain) != 2 {
			t.Fatalf("%d certificates, want leaf and intermediate", len(chain))
		}
		leaf, now := chain[0], time.Now()
		must(t, spiffe.CheckSVID(leaf))
		verifies(t, ca.Trust().Bundle, chain)
		if got := leaf.URIs[0].String(); got != voting {
			t.Errorf("identity %s, want %s", got, voting)
		}
		if got, want := leaf.NotBefore, now.Add(-time.Minute).Truncate(time.Second); !got.Equal(want) {
			t.Errorf("valid from %s, want %s", got, want)
		}
		if got, want := leaf.NotAfter, now.Add(24*time.Hour+500*time.Millisecond); !got.Equal(want) {
			t.Errorf("valid until %s, want %s", got, want)
		}
		if leaf.KeyUsage != x509.KeyUsageDigitalSignature || !critical(t, leaf, asn1.ObjectIdentifier{2, 5, 29, 15}) {
			t.Errorf("key usage %v, want digitalSignature, critical", leaf.KeyUsage)
		}
		if want := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}; !slices.Equal(leaf.ExtKeyUsage, want) {
			t.Errorf("extended key usage %v, want %v", leaf.ExtKeyUsage, want)
		}
		if leaf.IsCA || len(leaf.Subject.Names) > 0 {
			t.Errorf("is a CA: %v, subject %q", leaf.IsCA, leaf.Subject)
		}
		if bits := leaf.SerialNumber.BitLen(); bits > 128 || bits < 64 {
			t.Errorf("serial number of %d bits, want 128 random ones", bits)
		}
		if other := issue(t, ca); other[0].SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			t.Error("two leaves have one serial number")
		}
	})
}

func TestIntermediateIsSignedByARootThatSignsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil)
		intermediate, root := issue(t, ca)[1], ca.Trust().Bundle.Roots()[0]
		must(t, intermediate.CheckSignatureFrom(root))
		if root.MaxPathLen != 1 || intermediate.MaxPathLen != 0 || !intermediate.MaxPathLenZero {
			t.Errorf("path lengths %d and %d, want 1 and 0", root.MaxPathLen, intermediate.MaxPathLen)
		}
		if got := time.Until(intermediate.NotAfter); got != 30*24*time.Hour {
			t.Errorf("intermediate lives for %v, want 30 days", got)
		}
		if got := time.Until(root.NotAfter); got != 3652*24*time.Hour {
			t.Errorf("root lives for %v, want 10 years", got)
		}
		for _, c := range []*x509.Certificate{intermediate, root} {
			if !c.IsCA || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || c.URIs[0].String() != "spiffe://tulle.local" {
				t.Errorf("%s: CA %v, key usage %v, names %v", c.Subject, c.IsCA, c.KeyUsage, c.URIs)
			}
			if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
				t.Errorf("%s: key is no P-256", c.Subject)
			}
			if _, err := ca.Trust().Bundle.Verify([]*x509.Certificate{c, root}); err == nil {
				t.Errorf("%s is taken for a service", c.Subject)
			}
		}
	})
}

func TestLeafEndsNoLaterThanItsIntermediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil) // and it does not run: nothing is renewed
		time.Sleep(29*24*time.Hour + 23*time.Hour)
		chain := issue(t, ca)
		if got := time.Until(chain[0].NotAfter); got != time.Hour {
			t.Errorf("leaf lives for %v, want an hour", got)
		}
		verifies(t, ca.Trust().Bundle, chain)
		time.Sleep(time.Hour + time.Second)
		_, err := ca.Issue(context.Background(), Order{ID: voting, Key: &newKey(t).PublicKey})
		wantError(t, err, "intermediate expired at 2000-01-31T00:00:00Z", "import")
	})
}

func TestOrdersThatNoAttestationCanHaveMadeAreRefused(t *testing.T) {
	ca := inMemory(t, nil)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	off := newKey(t).PublicKey
	off.X = new(big.Int).Add(off.X, big.NewInt(1)) //nolint:staticcheck // a key from outside may be off its curve
	good := &newKey(t).PublicKey
	for name, test := range map[string]struct {
		order Order
		want  string
	}{
		"no identity":                      {Order{Key: good}, "order: spiffe id"},
		"an identity of nobody's form":     {Order{ID: "spiffe://tulle.local/ns/default/svc/Voting%2e", Key: good}, "order: spiffe id"},
		"another trust domain":             {Order{ID: "spiffe://other.org/ns/default/svc/voting", Key: good}, "is of trust domain other.org, want tulle.local"},
		"xdsserver's own identity":         {Order{ID: spiffe.ServerID(domain), Key: good}, "is the identity of no service"},
		"the trust domain's own":           {Order{ID: "spiffe://tulle.local", Key: good}, "is the identity of no service"},
		"no key":                           {Order{ID: voting}, "the key is no ECDSA P-256"},
		"a key of another curve":           {Order{ID: voting, Key: &p384.PublicKey}, "the key is no ECDSA P-256"},
		"a key that is not on its curve":   {Order{ID: voting, Key: &off}, "the key is no point of its curve"},
		"an identity that is far too long": {Order{ID: voting + strings.Repeat("x", 4000), Key: good}, "order: spiffe id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ca.Issue(context.Background(), test.order)
			wantError(t, err, test.want)
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ca.Issue(ctx, Order{ID: voting, Key: good}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if got := ca.Status().Issued; got != 0 {
		t.Errorf("%d issued, want none", got)
	}
}

func TestOwnCertificateIsXdsserversAndNamesItsHosts(t *testing.T) {
	ca := inMemory(t, func(c *Config) {
		c.Hosts = []string{"Mesh.example.org", "192.0.2.1", "localhost", "fe80::1%eth0", "my_machine"}
	})
	own := ca.Certificate()
	chain := parse(t, own.Certificate)
	if len(chain) != 3 || !chain[2].Equal(ca.Trust().Bundle.Roots()[0]) {
		t.Fatalf("%d certificates, want leaf, intermediate and root", len(chain))
	}
	peer, err := ca.Trust().Bundle.Verify(chain)
	must(t, err)
	if peer.URI != "spiffe://tulle.local/xdsserver" || !peer.IsServer() {
		t.Errorf("identity %s", peer.URI)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "mesh.example.org", "192.0.2.1", "fe80::1"} {
		if err := chain[0].VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if got := len(chain[0].DNSNames) + len(chain[0].IPAddresses); got != 7 {
		t.Errorf("%d hosts, want 7", got)
	}
	if want := sha256.Sum256(chain[2].RawSubjectPublicKeyInfo); TokenPin(ca) != want {
		t.Error("pin is not of the root's key")
	}
}

func TestOwnCertificateIsRenewedAtHalfOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil)
		run(t, ca)
		first := ca.Certificate()
		time.Sleep(12*time.Hour - time.Second)
		synctest.Wait()
		if ca.Certificate() != first {
			t.Error("renewed before half of its life")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		second := ca.Certificate()
		if second == first || bytes.Equal(second.Certificate[0], first.Certificate[0]) {
			t.Error("not renewed at half of its life")
		}
		if second.Leaf.PublicKey.(*ecdsa.PublicKey).Equal(first.Leaf.PublicKey) {
			t.Error("the key stayed")
		}
	})
}

func TestConfigIsRefusedWithTheNameOfTheField(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"a trust domain that is none":              {Config{TrustDomain: "Example.org"}, "Config.TrustDomain"},
		"a leaf of less than a second":             {Config{LeafTTL: time.Millisecond}, "Config.LeafTTL is 1ms, want a second"},
		"a negative leaf":                          {Config{LeafTTL: -time.Hour}, "Config.LeafTTL is -1h0m0s"},
		"leaves that outlive half an intermediate": {Config{LeafTTL: 20 * 24 * time.Hour}, "want half of IntermediateTTL at most: 360h"},
		"intermediates that outlive half a root":   {Config{RootTTL: 24 * time.Hour}, "Config.IntermediateTTL is 720h"},
		"a host with a port":                       {Config{Hosts: []string{"example.org:443"}}, `host "example.org:443" is neither`},
		"a passphrase file that is not there":      {Config{PassphraseFile: "/nowhere"}, "passphrase"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewCA(test.config)
			wantError(t, err, test.want)
		})
	}
}

func TestStatusOfAQuietCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := inMemory(t, nil)
		issue(t, ca)
		got := ca.Status()
		if len(got.Roots) != 1 || len(got.Intermediates) != 1 {
			t.Fatalf("got %d roots and %d intermediates", len(got.Roots), len(got.Intermediates))
		}
		for _, c := range append(got.Roots, got.Intermediates...) {
			if c.Phase != Active || !c.Online || len(c.KeyID) != 40 || c.Serial == "" || c.NotAfter.IsZero() || c.Since.IsZero() {
				t.Errorf("got %+v", c)
			}
		}
		got.Roots, got.Intermediates = nil, nil
		want := Status{Kind: "built-in", TrustDomain: domain, Generation: 1, LeafTTL: 24 * time.Hour, Issued: 1, RootOnline: true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
