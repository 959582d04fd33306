package serve

import (
	"bytes"
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

func (c *Client) expired(now time.Time) bool { return !c.NotAfter.IsZero() && !now.Before(c.NotAfter) }

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
	return status.Errorf(codes.PermissionDenied, "ads: %s may not ask for %s %s: it belongs to the service %q", st.client.ID, k, quote(name), clip(owner))
}
