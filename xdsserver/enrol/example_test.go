package enrol_test

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

func Example() {
	quiet := slog.New(slog.DiscardHandler)
	ca, err := identity.NewCA(identity.Config{TrustDomain: "example.org", Logger: quiet})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := enrol.New(enrol.Config{Authority: ca, Tokens: enrol.NewMemoryTokens(), TokensAllowed: true, Logger: quiet})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := grpc.NewServer(grpc.Creds(identity.NewCredentials(ca, quiet)))
	identityv1.RegisterIdentityServiceServer(server, s)

	join, token, err := s.CreateToken(context.Background(), enrol.TokenRequest{Service: "payments", Address: "10.0.0.5:18000"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = join.Reveal() // the line for the process; its secret is kept nowhere
	fmt.Println(token.Service, token.Uses, token.Expires.Sub(token.Created))
	// Output: payments 1 1h0m0s
}

// Service accounts of Kubernetes name a service each.
func ExampleParseIssuer() {
	issuer, err := enrol.ParseIssuer(`issuer=https://kubernetes.example.org,audience=tulle,` +
		`identity=ns/{"kubernetes.io".namespace}/svc/{"kubernetes.io".serviceaccount.name}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(issuer.URL())

	_, err = enrol.ParseIssuer("issuer=https://ci.example.org,audience=tulle,identity=ns/ci/svc/runner")
	fmt.Println(err)
	// Output:
	// https://kubernetes.example.org
	// oidc: identity "ns/ci/svc/runner": names no claim, so that every token of the issuer would be this service: want for example identity=ns/{namespace}/svc/{service}
}
