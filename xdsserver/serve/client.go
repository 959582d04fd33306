package serve

import (
	"bytes"
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Client is who stands behind a connection, as its certificate says.
type Client struct {
	// Service is its service, "name" or "name.namespace": whose resources it may
	// see beside those for everybody. Empty is no service.
	Service string
	// ID is its SPIFFE id.
	ID string
	// NotBefore and NotAfter bound the certificate; its streams end at NotAfter,
	// unless that is zero.
	NotBefore, NotAfter time.Time
	// Serial and Issuer are the certificate's, for operators.
	Serial, Issuer string
}

// check returns the end of a stream whose client's certificate has expired. The
// connection is as old as the certificate, which it was made with: a client that
// has a newer one must connect anew, and Config.MaxConnectionAge sees to it that
// it did long before.
func (c *Client) check(protocol string, now time.Time) error {
	if c.NotAfter.IsZero() || now.Before(c.NotAfter) {
		return nil
	}
	return status.Errorf(codes.Unauthenticated, "%s: the certificate of %s expired at %s: renew it, and come back over a new connection",
		protocol, c.ID, c.NotAfter.UTC().Format(time.RFC3339))
}

// maxExpiryWait is the longest time between two looks at a certificate. Timers
// stand still while a machine sleeps, and do not hear of a clock that was set.
const maxExpiryWait = time.Minute

// untilExpiry is when to look next, from now.
func (c *Client) untilExpiry(now time.Time) time.Duration {
	return min(c.NotAfter.Sub(now), maxExpiryWait)
}

// identify says who a call comes from, and refuses who has expired.
func (s *Server) identify(ctx context.Context, protocol string) (Client, error) {
	if s.config.Identify == nil {
		return Client{}, nil
	}
	client, err := s.config.Identify(ctx)
	if err != nil {
		return Client{}, err
	}
	return client, client.check(protocol, time.Now())
}

// sees reports whether a name is for everybody, or the client's own.
func (c *Client) sees(s *Server, name string) bool {
	if s.config.Identify == nil {
		return true
	}
	owner, owned := resource.Owner(name)
	return !owned || owner == c.Service
}

// serverNames begins the names that have an owner.
var serverNames = []byte(resource.ServerListener(""))

// foreign reports whether a name that is asked for belongs to another service.
func (st *stream) foreign(name []byte) bool {
	// Most names have no owner: they are not copied to find that out.
	return bytes.HasPrefix(name, serverNames) && !st.client.sees(st.server, string(name))
}

// turnAway is the end of a stream that asked for what is another's.
func (st *stream) turnAway(k kind, name []byte) error {
	owner, _ := resource.Owner(string(name))
	if log, more := st.server.intruders.note(time.Now()); log {
		st.server.log.Warn("a client asked for what is another's", "identity", st.client.ID, "node", st.node.id,
			"peer", st.peer, "type", k.url(), "name", clip(string(name)), "owner", clip(owner), "more", more)
	}
	return status.Errorf(codes.PermissionDenied, "ads: %s may not ask for %s %s: it belongs to the service %q", st.client.ID, k, quote(name), clip(owner))
}

// intruders says when to log that a client asked for what is another's: once a
// second, since whoever does may do so without end.
type intruders struct {
	mu   sync.Mutex
	next time.Time
	more int
}

// note reports whether to log now, and how many were not logged before.
func (i *intruders) note(now time.Time) (log bool, more int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now.Before(i.next) {
		i.more++
		return false, 0
	}
	more = i.more
	i.next, i.more = now.Add(time.Second), 0
	return true, more
}
