package connect_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/identity/connect"
)

const management = "4a1d1b1e-52c2-4a0c-bd7b-8a5a4f3f7a10"

// open makes the authority of an agent, which runs until the test ends.
func open(t *testing.T, agent *consultest.Agent, token string) *connect.CA {
	t.Helper()
	client, err := consul.New(consul.Config{Address: agent.Address(), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ca, err := connect.New(ctx, connect.Config{Client: client, Hosts: []string{"mesh.test"}})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ca.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, ca.Close(), client.Close()); err != nil {
			t.Error(err)
		}
	})
	return ca
}

// request makes a request as a process does, which names an identity or nothing.
func request(t *testing.T, names ...string) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{}
	for _, name := range names {
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// issue has a certificate signed for voting, and verifies it.
func issue(t *testing.T, ca *connect.CA) []*x509.Certificate {
	t.Helper()
	id := ca.Trust().Domain().ServiceID("voting")
	key, csr := request(t, id)
	ders, err := ca.Issue(t.Context(), identity.Order{ID: id, Key: &key.PublicKey, Request: csr})
	if err != nil {
		t.Fatal(err)
	}
	chain := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	peer, err := ca.Trust().Bundle.Verify(chain)
	if err != nil {
		t.Fatal(err)
	}
	if peer.Service != "voting" || peer.URI != id {
		t.Errorf("signed for %s, service %q", peer.URI, peer.Service)
	}
	return chain
}

func TestConsulSignsForTheKeyOfTheProcess(t *testing.T) {
	ca := open(t, consultest.Start(t), "")
	domain := ca.Trust().Domain()
	if !strings.HasSuffix(domain.Name, ".consul") || domain.Datacenter != "dc1" {
		t.Errorf("domain: got %+v", domain)
	}
	issue(t, ca)

	id := domain.ServiceID("voting")
	for name, uris := range map[string][]string{
		"nothing":         nil,
		"another service": {domain.ServiceID("billing")},
		"two identities":  {id, domain.ServiceID("billing")},
		"xdsserver":       {domain.ServerID()},
	} {
		key, csr := request(t, uris...)
		if _, err := ca.Issue(t.Context(), identity.Order{ID: id, Key: &key.PublicKey, Request: csr}); !errors.Is(err, identity.ErrUnnamed) {
			t.Errorf("a request that names %s: got %v", name, err)
		}
	}
	for _, id := range []string{domain.ServerID(), spiffe.ServiceID(domain.Name, "voting"), "spiffe://other.consul/ns/default/dc/dc1/svc/voting"} {
		key, csr := request(t, id)
		if _, err := ca.Issue(t.Context(), identity.Order{ID: id, Key: &key.PublicKey, Request: csr}); err == nil {
			t.Errorf("signed for %s", id)
		}
	}

	own, err := ca.Trust().Bundle.Verify(parse(t, ca.Certificate().Certificate))
	if err != nil || !own.IsServer() {
		t.Errorf("own certificate: got %+v, %v", own, err)
	}
	if err := ca.Certificate().Leaf.VerifyHostname("mesh.test"); err != nil {
		t.Error(err)
	}
	if pin := identity.TokenPin(ca); pin == [32]byte{} {
		t.Error("no pin for tokens")
	}
	s := ca.Status()
	if s.Kind != "consul" || len(s.Roots) != 1 || s.LeafTTL != 72*time.Hour || s.Issued != 1 || s.Problem != "" {
		t.Errorf("status: got %+v", s)
	}
}

func parse(t *testing.T, ders [][]byte) []*x509.Certificate {
	t.Helper()
	chain := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}

func TestRotationOfConsulsRootIsFollowed(t *testing.T) {
	agent := consultest.Start(t)
	ca := open(t, agent, "")
	before := ca.Trust()
	pin := identity.TokenPin(ca)
	old := issue(t, ca)
	changed := ca.Changed()
	rotate(t, agent)
	select {
	case <-changed:
	case <-time.After(15 * time.Second):
		t.Fatal("the rotation is not known after 15 s")
	}
	now := ca.Trust()
	if now.Generation <= before.Generation || len(now.Bundle.Roots()) != 2 {
		t.Errorf("generation %d after %d, %d roots", now.Generation, before.Generation, len(now.Bundle.Roots()))
	}
	if since := time.Since(now.RenewBefore); since < 0 || since > 2*time.Minute {
		t.Errorf("renewal is asked for certificates before %v", now.RenewBefore)
	}
	if identity.TokenPin(ca) == pin {
		t.Error("xdsserver still proves itself by the old root")
	}
	fresh := issue(t, ca)
	// Who has not heard of the new root yet takes the new certificate, and the other way.
	if _, err := before.Bundle.Verify(fresh); err != nil {
		t.Errorf("new certificate, old bundle: %v", err)
	}
	if _, err := now.Bundle.Verify(old); err != nil {
		t.Errorf("old certificate, new bundle: %v", err)
	}
}

// rotate has Consul make another root, of another kind of key.
func rotate(t *testing.T, agent *consultest.Agent) {
	t.Helper()
	_, err := agent.Client(t).Connect().CASetConfig(&api.CAConfig{
		Provider: "consul", Config: map[string]any{"PrivateKeyType": "ec", "PrivateKeyBits": 384},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func TestRefusalSaysWhichRightIsMissing(t *testing.T) {
	agent := consultest.Start(t, consultest.ACLs(management))
	client, err := consul.New(consul.Config{Address: agent.Address()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = connect.New(ctx, connect.Config{Client: client})
	if err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("got %v", err)
	}
	issue(t, open(t, agent, management))
}
