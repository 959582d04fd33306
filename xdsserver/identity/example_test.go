package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"

	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

func ExampleNewCA() {
	ca, err := identity.NewCA(identity.Config{TrustDomain: "example.org"}) // in memory, without a Dir
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	chain, err := ca.Issue(context.Background(), identity.Order{
		ID:  "spiffe://example.org/ns/default/svc/voting",
		Key: &key.PublicKey,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(leaf.URIs[0], len(chain))
	// Output:
	// spiffe://example.org/ns/default/svc/voting 2
}
