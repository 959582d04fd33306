package identity

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// A Caller is who stands at the other end of a connection to the mesh port. It is
// immutable.
type Caller struct {
	credentials.CommonAuthInfo
	// Peer is who the client's certificate says it is; nil without one. Whether
	// that has expired since the handshake, Interceptors check.
	Peer *spiffe.Peer
	// Local says that the connection came over a unix socket, and that the kernel
	// says of its other end that it runs as xdsserver's own user, or as root.
	Local bool
	// UID is the user at the other end of a unix socket; -1 where it is not known.
	UID int
	// Addr is the other end's address.
	Addr net.Addr
}

var _ credentials.AuthInfo = (*Caller)(nil)

// AuthType is "tls".
func (c *Caller) AuthType() string { return "tls" }

// CallerFromContext returns who calls, from the context of a call to a server
// with NewCredentials.
func CallerFromContext(ctx context.Context) (*Caller, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	c, ok := p.AuthInfo.(*Caller)
	return c, ok
}

// overflowUID is what the kernel says of a user that is not mapped in this user
// namespace (user_namespaces(7)): it stands for many.
const overflowUID = 65534

// isLocal reports whether a user may speak for this process's.
func isLocal(uid, own int) bool { return uid == 0 || uid == own && uid != overflowUID && uid >= 0 }
