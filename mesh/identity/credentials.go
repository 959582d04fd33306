package identity

import (
	"context"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// AuthInfo is what the credentials of this package know of a connection.
type AuthInfo struct {
	credentials.CommonAuthInfo
	// Peer is who stands at the other end; nil for a caller in plaintext, which a
	// permissive server lets in.
	Peer *spiffe.Peer
}

// AuthType implements [credentials.AuthInfo].
func (a AuthInfo) AuthType() string {
	if a.Peer == nil {
		return "plaintext"
	}
	return "tls"
}

// PeerFromContext returns who made the call whose context it is, or in a client,
// who answered the call whose grpc.Peer it was taken from. ok is false for a caller
// without an identity, and for connections without credentials of this package.
func PeerFromContext(ctx context.Context) (p *spiffe.Peer, ok bool) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	info, ok := from.AuthInfo.(AuthInfo)
	if !ok || info.Peer == nil {
		return nil, false
	}
	return info.Peer, true
}
