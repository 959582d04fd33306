package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/api"
	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const domain = "example.org"

// x509Certificate keeps tables short.
type x509Certificate = x509.Certificate

// A pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serials = big.NewInt(0x1000)

// sign makes what the template says; by the key itself where signer is nil.
func sign(tb testing.TB, signer *pair, template *x509.Certificate, public crypto.PublicKey, own *ecdsa.PrivateKey) *x509.Certificate {
	tb.Helper()
	serials.Add(serials, big.NewInt(1))
	template.SerialNumber = new(big.Int).Set(serials)
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Minute)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	parent, by := template, own
	if signer != nil {
		parent, by = signer.cert, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newCA(tb testing.TB, signer *pair, name string) *pair {
	tb.Helper()
	key := newKey(tb)
	return &pair{sign(tb, signer, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte(name), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().AddDate(10, 0, 0),
	}, &key.PublicKey, key), key}
}

// service is the template of a service's SVID.
func service(tb testing.TB, domain, service string) *x509.Certificate {
	return named(tb, spiffe.ServiceID(domain, service))
}

func named(tb testing.TB, uris ...string) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			tb.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	return template
}

// An authority is a tiny xdsserver: a CA, and the service that enrols. It attests
// nobody but by tokens and certificates, and what it says can be set.
type authority struct {
	identityv1.UnimplementedIdentityServiceServer

	tb     testing.TB
	domain string
	root   *pair
	middle *pair
	server tls.Certificate

	mu sync.Mutex
	// life is how long its SVIDs live; they are back-dated by a minute.
	life time.Duration
	// deny is what Sign answers instead, denyRenewal to who has a certificate.
	deny, denyRenewal error
	// lose drops that many answers, after signing.
	lose int
	// roots are the bundle.
	roots []*x509.Certificate
	// tokens are the keys that tokens were redeemed for, nil before.
	tokens map[string]*ecdsa.PublicKey
	jwt    string
	local  bool
	// signed are the requests that were answered with a certificate.
	signed []*identityv1.SignRequest
	times  []time.Time
	keys   []*ecdsa.PublicKey
	// forge changes the template that is signed.
	forge func(*x509.Certificate)
}

func newAuthority(tb testing.TB, domain string) *authority {
	tb.Helper()
	a := &authority{tb: tb, domain: domain, life: 24 * time.Hour, tokens: map[string]*ecdsa.PublicKey{}}
	a.root = newCA(tb, nil, "root of "+domain)
	a.middle = newCA(tb, a.root, "intermediate of "+domain)
	a.roots = []*x509.Certificate{a.root.cert}
	key := newKey(tb)
	template := named(tb, spiffe.ServerID(domain))
	template.DNSNames = []string{"localhost"}
	template.NotAfter = time.Now().AddDate(1, 0, 0)
	leaf := sign(tb, a.middle, template, &key.PublicKey, nil)
	a.server = tls.Certificate{Certificate: [][]byte{leaf.Raw, a.middle.cert.Raw, a.root.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return a
}

// set changes what the authority does.
func (a *authority) set(change func(*authority)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// token makes one for this authority.
func (a *authority) token(addr string) api.JoinToken {
	t := api.JoinToken{Pin: sha256.Sum256(a.root.cert.RawSubjectPublicKeyInfo), Address: addr}
	_, _ = rand.Read(t.ID[:])
	_, _ = rand.Read(t.Secret[:])
	a.set(func(a *authority) { a.tokens[t.Reveal()] = nil })
	return t
}

func (a *authority) bundle() *spiffe.Bundle {
	b, err := spiffe.NewBundle(a.domain, a.roots)
	if err != nil {
		a.tb.Fatal(err)
	}
	return b
}

// certificate is one of the authority's leaves with its chain, without the root.
func (a *authority) certificate(template *x509.Certificate) tls.Certificate {
	key := newKey(a.tb)
	leaf := sign(a.tb, a.middle, template, &key.PublicKey, nil)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.middle.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

// identity is that of a service.
func (a *authority) identity(name string) *Identity {
	a.tb.Helper()
	c := a.certificate(service(a.tb, a.domain, name))
	i, err := NewIdentity([]*x509.Certificate{c.Leaf, a.middle.cert}, c.PrivateKey.(crypto.Signer), a.bundle())
	if err != nil {
		a.tb.Fatal(err)
	}
	return i
}

// Sign implements identityv1.IdentityServiceServer.
func (a *authority) Sign(ctx context.Context, r *identityv1.SignRequest) (*identityv1.SignResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.deny != nil {
		return nil, a.deny
	}
	csr, err := x509.ParseCertificateRequest(r.GetCsr())
	if err != nil || csr.CheckSignature() != nil || len(csr.Subject.Names) > 0 || len(csr.URIs) > 0 {
		return nil, status.Error(codes.InvalidArgument, "bad csr")
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "bad key")
	}
	name := r.GetService()
	if r.GetNamespace() != spiffe.DefaultNamespace {
		name += "." + r.GetNamespace()
	}
	if err := a.attest(ctx, r, key, name); err != nil {
		return nil, err
	}
	template := service(a.tb, a.domain, name)
	template.NotAfter = time.Now().Add(a.life)
	if a.forge != nil {
		a.forge(template)
	}
	leaf := sign(a.tb, a.middle, template, key, nil)
	a.signed = append(a.signed, r)
	a.times = append(a.times, time.Now())
	a.keys = append(a.keys, key)
	if a.lose > 0 {
		a.lose--
		return nil, status.Error(codes.Unavailable, "the answer is lost")
	}
	return &identityv1.SignResponse{
		Chain: [][]byte{leaf.Raw, a.middle.cert.Raw}, Bundle: &identityv1.TrustBundle{TrustDomain: a.domain, Authorities: a.bundle().DER()},
	}, nil
}

// attest is who the caller is. a.mu is held.
func (a *authority) attest(ctx context.Context, r *identityv1.SignRequest, key *ecdsa.PublicKey, name string) error {
	from, _ := peer.FromContext(ctx)
	if info, ok := from.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
		if a.denyRenewal != nil {
			return a.denyRenewal
		}
		if got := info.State.PeerCertificates[0].URIs[0].String(); got != spiffe.ServiceID(a.domain, name) {
			return status.Errorf(codes.PermissionDenied, "%s asks to be %s", got, name)
		}
		return nil
	}
	switch {
	case r.GetToken() != "":
		before, ok := a.tokens[r.GetToken()]
		switch {
		case !ok:
			return status.Error(codes.PermissionDenied, "token is unknown")
		case before != nil && !before.Equal(key):
			return status.Error(codes.PermissionDenied, "token is used up")
		}
		a.tokens[r.GetToken()] = key
		return nil
	case r.GetJwt() != "" && r.GetJwt() == a.jwt, a.local:
		return nil
	}
	return status.Error(codes.Unauthenticated, "nothing attests the caller")
}

func (a *authority) requests() []*identityv1.SignRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.signed
}
