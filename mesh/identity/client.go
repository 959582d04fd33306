package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// ControlCredentials returns credentials for connections to xdsserver: mutual TLS
// with a peer that is xdsserver of the process's own trust domain, which no service
// can be. Handshakes wait for the first identity.
func (s *Source) ControlCredentials() credentials.TransportCredentials {
	return &clientCredentials{source: s, control: true}
}

// ClientCredentials returns credentials for connections to endpoints: mutual TLS
// with a peer that is one of those the address's attributes name, see
// [resource.WithPeerIDs]. An address that names nobody is refused. Handshakes wait
// for the first identity.
func (s *Source) ClientCredentials() credentials.TransportCredentials {
	return &clientCredentials{source: s}
}

// clientCredentials are stateless, and safe for concurrent use.
type clientCredentials struct {
	source  *Source
	control bool
}

var (
	_         credentials.TransportCredentials = (*clientCredentials)(nil)
	errNobody                                  = errors.New("the configuration names no identity for this endpoint, so nothing can prove that it is the right one")
)

// ClientHandshake implements [credentials.TransportCredentials].
func (c *clientCredentials) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	var want []string
	if !c.control {
		want = resource.PeerIDsFrom(credentials.ClientHandshakeInfoFromContext(ctx).Attributes)
		if len(want) == 0 {
			_ = raw.Close()
			return nil, nil, errNobody
		}
	}
	own, err := c.source.usable(ctx)
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	name := "endpoint"
	if c.control {
		name = "xdsserver"
		want = []string{own.ID.Domain().ServerID()}
	}
	distrust := false
	conn, peer, err := clientTLS(ctx, raw, own, func(chain []*x509.Certificate) (*spiffe.Peer, error) {
		peer, err := own.Bundle.Verify(chain)
		if err != nil {
			distrust = true
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if !slices.Contains(want, peer.URI) {
			return nil, fmt.Errorf("%s presented %s, want %s", name, peer.URI, strings.Join(want, " or "))
		}
		return peer, nil
	})
	if err != nil {
		if c.control && distrust {
			wake(c.source.suspect)
		}
		return nil, nil, err
	}
	if c.control {
		c.source.touch()
	}
	return &clientConn{Conn: conn, credentials: c, own: own}, secured(peer), nil
}

// ServerHandshake implements [credentials.TransportCredentials].
func (c *clientCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	_ = raw.Close()
	return nil, nil, errClientOnly
}

// Info implements [credentials.TransportCredentials].
func (c *clientCredentials) Info() credentials.ProtocolInfo { return protocolInfo() }

// Clone implements [credentials.TransportCredentials].
func (c *clientCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements [credentials.TransportCredentials].
func (c *clientCredentials) OverrideServerName(string) error { return errNoServerName }

// usable returns the identity of the moment, if peers would accept it.
func (s *Source) usable(ctx context.Context) (*Identity, error) {
	i, err := s.Wait(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.checkOwn(i, time.Now()); err != nil {
		return nil, err
	}
	return i, nil
}

// A clientConn says whose certificate it was that the server refused. With TLS 1.3
// a client's handshake is over before the server has looked at its certificate, so
// that the refusal is the first thing it reads.
type clientConn struct {
	*tls.Conn

	credentials *clientCredentials
	own         *Identity
}

// Read implements [net.Conn].
func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		return n, nil
	}
	alert, ok := errors.AsType[*net.OpError](err)
	// The alerts about certificates (RFC 8446, section 6.2) all say so.
	if !ok || alert.Op != "remote error" || !strings.Contains(alert.Err.Error(), "certificate") {
		return n, err
	}
	if c.credentials.control {
		wake(c.credentials.source.suspect)
	}
	return n, fmt.Errorf("%s refused this process's certificate of %s: %w; its log says why", c.RemoteAddr(), c.own.URI, alert.Err)
}
