// Package access decides whether a server takes one call, says why not, and keeps
// count of who calls what.
//
//	caller := access.CallerOf(ctx)
//	verdict := access.Decide(ctx, inbound.Current(), &caller, "/voting.v1.Voting/Vote", time.Now())
//	ledger.Count(&caller, "/voting.v1.Voting/Vote", &verdict)
//	if !verdict.Allowed {
//		return access.Denied("voting", &caller, "/voting.v1.Voting/Vote", &verdict)
//	}
//
// The rules themselves are resource.Access, which the control plane sends; here
// stands what they cannot know: how the caller is known and until when, and what a
// refused caller is told. A call that is allowed costs no allocation and no lock,
// unless some rule looks at metadata.
//
// A [Ledger] holds the counts, which are told with the other metrics. The package stops
// no call by itself, see interceptors, and knows nothing of connections, see
// mesh/identity.
package access

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// A Caller is who makes a call, by what the connection proved in its handshake.
type Caller struct {
	// Peer is nil for a caller without an identity.
	Peer *spiffe.Peer
	// Addr is the other end of the connection; nil where it is not known.
	Addr net.Addr
}

// CallerOf returns who made the call whose context it is.
func CallerOf(ctx context.Context) Caller {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}
	}
	info, _ := p.AuthInfo.(identity.AuthInfo) // of other credentials: nobody that we know
	return Caller{Peer: info.Peer, Addr: p.Addr}
}

// id is the caller's SPIFFE id, empty without one.
func (c *Caller) id() string {
	if c.Peer == nil {
		return ""
	}
	return c.Peer.URI
}

// host is the caller's address without its port.
func (c *Caller) host() string {
	if c.Addr == nil {
		return ""
	}
	text := c.Addr.String()
	if host, _, err := net.SplitHostPort(text); err == nil {
		return host
	}
	return text
}

// A Verdict is what becomes of a call.
type Verdict struct {
	resource.Decision
	// Cause is why the call is not allowed, where the rules were not even asked.
	Cause Cause
}

// A Cause says what stands before the rules.
type Cause int

// The causes.
const (
	// Rules: the decision is that of the rules.
	Rules Cause = iota
	// Expired: the caller's certificate has expired since its handshake.
	Expired
	// Plaintext: the caller has no identity, and the time in which this server
	// takes such callers is over.
	Plaintext
)

// Decide decides a call of method, as in "/package.Service/Method", whose incoming
// metadata is that of ctx. in is what the server enforces; nil denies all.
func Decide(ctx context.Context, in *resource.Inbound, c *Caller, method string, now time.Time) Verdict {
	if end := Until(in, c); !end.IsZero() && !now.Before(end) {
		if c.Peer == nil {
			return Verdict{Cause: Plaintext}
		}
		return Verdict{Cause: Expired}
	}
	rules := in.Access(method)
	var md metadata.MD
	if rules.ReadsMetadata() {
		md, _ = metadata.FromIncomingContext(ctx) // a copy
	}
	return Verdict{Decision: rules.Decide(&resource.Caller{ID: c.id()}, method, md)}
}

// Until returns until when the caller is who its handshake made it: to the end of
// its certificate, or of the time in which the server takes callers without one.
func Until(in *resource.Inbound, c *Caller) time.Time {
	if c.Peer != nil {
		return c.Peer.NotAfter()
	}
	if in == nil || in.Listener == nil || in.Listener.Server == nil || in.Listener.Server.PermissiveUntil.IsZero() {
		return time.Unix(0, 0) // never: zero would be for ever
	}
	return in.Listener.Server.PermissiveUntil
}
