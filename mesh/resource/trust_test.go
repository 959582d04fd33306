package resource_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// root makes a certificate that signs itself.
func root(t testing.TB, change func(*x509.Certificate)) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func uris(texts ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, text := range texts {
			u, err := url.Parse(text)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

func unchanged(*x509.Certificate) {}

func TestTrustBundlesAreDecoded(t *testing.T) {
	first, second := root(t, unchanged), root(t, uris("spiffe://tulle.local"))
	moment := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got, err := resource.Decode(resource.TrustBundleType, encode(t, &identityv1.TrustBundle{
		TrustDomain: "tulle.local", Authorities: [][]byte{first, second}, RenewBefore: timestamppb.New(moment),
	}))
	if err != nil {
		t.Fatal(err)
	}
	bundle := got.(*resource.TrustBundle)
	if got.ResourceName() != "tulle.local" || !bundle.RenewBefore.Equal(moment) || len(bundle.Authorities) != 2 ||
		!slices.Equal(bundle.Authorities[0].Raw, first) || !slices.Equal(bundle.Authorities[1].Raw, second) {
		t.Errorf("got %+v", bundle)
	}
	bundle, err = resource.DecodeTrustBundle(encode(t, &identityv1.TrustBundle{TrustDomain: "a_b-1.c", Authorities: [][]byte{first}}))
	if err != nil || !bundle.RenewBefore.IsZero() {
		t.Errorf("got %+v and %v", bundle, err)
	}
}

func TestTrustBundlesAreRefused(t *testing.T) {
	der := root(t, unchanged)
	for _, tt := range []struct {
		name        string
		domain      string
		authorities [][]byte
		renewBefore *timestamppb.Timestamp
		want        string
	}{
		{"without a trust domain", "", [][]byte{der}, nil, `TrustBundle: trust_domain: "" is no trust domain`},
		{"of an upper-case trust domain", "Tulle", [][]byte{der}, nil, `"Tulle" is no trust domain`},
		{"of a trust domain with a path", "tulle.local/x", [][]byte{der}, nil, "is no trust domain"},
		{"of a trust domain of 256 letters", strings.Repeat("a", 256), [][]byte{der}, nil, "is no trust domain"},
		{"without authorities", "tulle.local", nil, nil, `TrustBundle "tulle.local": authorities: are none`},
		{"with 17 authorities", "tulle.local", slices.Repeat([][]byte{der}, 17), nil, "authorities: are 17, at most 16 are accepted"},
		{"with what is no certificate", "tulle.local", [][]byte{der, []byte("x")}, nil, "authorities[1]: is no certificate"},
		{"with a certificate of 9 KiB", "tulle.local", [][]byte{make([]byte, 9<<10)}, nil, "authorities[0]: has 9216 bytes"},
		{"with a leaf", "tulle.local", [][]byte{root(t, func(c *x509.Certificate) { c.IsCA = false })}, nil, "authorities[0]: is no CA's"},
		{"with a CA that may sign no certificate", "tulle.local", [][]byte{root(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })}, nil, "authorities[0]: is no CA's"},
		{"with a CA without constraints", "tulle.local", [][]byte{root(t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false })}, nil, "authorities[0]: is no CA's"},
		{"with a CA of another trust domain", "tulle.local", [][]byte{root(t, uris("spiffe://other.org"))}, nil, `authorities[0]: is of the trust domain "other.org"`},
		{"with a time that is none", "tulle.local", [][]byte{der}, &timestamppb.Timestamp{Nanos: -1}, "renew_before: is no valid time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.TrustBundleType, &identityv1.TrustBundle{
				TrustDomain: tt.domain, Authorities: tt.authorities, RenewBefore: tt.renewBefore,
			}, tt.want)
		})
	}
}
