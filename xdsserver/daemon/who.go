package daemon

import (
	"context"
	"encoding/hex"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
)

// sourceIdentity is the name of the authority as a source.
const sourceIdentity = "identity"

// errNobody answers who has no certificate, where an interceptor should have.
var errNobody = status.Error(codes.Unauthenticated, "xdsserver: the connection has no client certificate: join first (IdentityService.Sign)")

// whoCalls is the service that the caller's certificate names.
func whoCalls(ctx context.Context) (*spiffe.Peer, error) {
	caller, ok := identity.CallerFromContext(ctx)
	if !ok || caller.Peer == nil {
		return nil, errNobody
	}
	return caller.Peer, nil
}

// subscriber says whose an ADS stream is: the certificate does, never the node.
func subscriber(ctx context.Context) (serve.Client, error) {
	peer, err := whoCalls(ctx)
	if err != nil {
		return serve.Client{}, err
	}
	c := peer.Certificate
	return serve.Client{
		Service:   peer.Service,
		ID:        peer.URI,
		NotBefore: c.NotBefore,
		NotAfter:  c.NotAfter,
		Serial:    hex.EncodeToString(c.SerialNumber.Bytes()), // as the audit log has it
		Issuer:    hex.EncodeToString(c.AuthorityKeyId),
	}, nil
}

// registrant says which service a process may register endpoints of.
func registrant(ctx context.Context) (service string, err error) {
	peer, err := whoCalls(ctx)
	if err != nil {
		return "", err
	}
	if peer.Service == "" {
		return "", status.Errorf(codes.PermissionDenied, "xdsserver: %s is no service of the mesh, and has no endpoints", peer.URI)
	}
	return peer.Service, nil
}

// reporter says whose calls a process reports.
func reporter(ctx context.Context) (service, id string, err error) {
	peer, err := whoCalls(ctx)
	if err != nil {
		return "", "", err
	}
	return peer.Service, peer.URI, nil
}
