package identity

import (
	"context"
	"errors"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// protocolHTTP2 is what both sides must agree on by ALPN: bytes of another
// protocol cannot be made to look like calls.
const protocolHTTP2 = "h2"

var (
	errClientOnly   = errors.New("identity: these credentials are a client's: a server takes ServerCredentials")
	errServerOnly   = errors.New("identity: these credentials are a server's: a client takes ClientCredentials")
	errNoServerName = errors.New("identity: peers are known by their SPIFFE identity, not by a host name")
	errNoHTTP2      = errors.New("the other side did not agree on HTTP/2 (ALPN h2)")
	errUnverified   = errors.New("the other side was not verified")
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

func secured(p *spiffe.Peer) AuthInfo {
	return AuthInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, Peer: p}
}

func unsecured() AuthInfo {
	return AuthInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
}

func protocolInfo() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// PeerFromContext returns who made the call whose context it is. ok is false for a
// caller without an identity, which only a permissive server lets in, and for
// connections without credentials of this package.
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
