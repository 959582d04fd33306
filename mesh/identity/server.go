package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const (
	// handshakeTimeout bounds a connection that has not proved anything yet.
	handshakeTimeout = 10 * time.Second
	// lingerFor and lingerBytes bound what is still read from a client that was
	// refused, so that it gets to read why.
	lingerFor   = 250 * time.Millisecond
	lingerBytes = 64 << 10
	// recordHandshake is how a TLS connection begins (RFC 8446, section 5.1).
	// HTTP/2 in plaintext begins with 'P'.
	recordHandshake = 0x16
)

// ServerCredentials returns credentials for servers of the mesh: mutual TLS with
// any peer of the process's trust domain. Who may call what is decided per call.
//
// While the present is before what permissiveUntil returns, connections in plaintext
// are let in, too: their AuthInfo has no Peer, and Status lists where they come from.
// It is asked at each connection, concurrently; nil never lets one in. Handshakes
// wait for the first identity.
//
// Refused connections are logged, once a second at most: a client of TLS 1.3 learns
// late and little of why.
func (s *Source) ServerCredentials(permissiveUntil func() time.Time) credentials.TransportCredentials {
	return &serverCredentials{source: s, permissiveUntil: permissiveUntil}
}

// serverCredentials are stateless, and safe for concurrent use.
type serverCredentials struct {
	source          *Source
	permissiveUntil func() time.Time
}

var (
	_ credentials.TransportCredentials = (*serverCredentials)(nil)
	// errPlaintext names both ways out.
	errPlaintext = errors.New("plaintext is refused: give the caller an identity, " +
		"or set mtls mode permissive, with an end date, for the service until it has one")
)

// ServerHandshake implements [credentials.TransportCredentials].
func (c *serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	conn, info, err := c.handshake(ctx, raw)
	if err == nil {
		return conn, info, nil
	}
	if !errors.Is(err, io.EOF) { // probes of ports connect and leave
		c.log(raw.RemoteAddr(), err)
		linger(raw)
	}
	_ = raw.Close()
	return nil, nil, err
}

func (c *serverCredentials) handshake(ctx context.Context, raw net.Conn) (net.Conn, AuthInfo, error) {
	first, err := firstByte(ctx, raw)
	if err != nil {
		return nil, AuthInfo{}, err
	}
	raw = &peekedConn{Conn: raw, first: first, unread: true}
	if first != recordHandshake {
		if now := time.Now(); c.permissiveUntil != nil && now.Before(c.permissiveUntil()) {
			c.source.plaintext.add(raw.RemoteAddr(), now)
			return raw, unsecured(), nil
		}
		return nil, AuthInfo{}, errPlaintext
	}
	own, err := c.source.usable(ctx)
	if err != nil {
		return nil, AuthInfo{}, err
	}
	conn, peer, err := serverTLS(ctx, raw, own)
	if err != nil {
		return nil, AuthInfo{}, err
	}
	return conn, secured(peer), nil
}

// serverTLS makes the server's side of a connection.
func serverTLS(ctx context.Context, raw net.Conn, own *Identity) (*tls.Conn, *spiffe.Peer, error) {
	var peer *spiffe.Peer
	conn := tls.Server(raw, &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocolHTTP2},
		SessionTicketsDisabled: true,
		Certificates:           []tls.Certificate{own.Certificate},
		// Any, since crypto/tls knows nothing of SPIFFE: VerifyConnection does.
		ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(state tls.ConnectionState) (err error) {
			if state.NegotiatedProtocol != protocolHTTP2 {
				return errNoHTTP2
			}
			peer, err = own.Bundle.Verify(state.PeerCertificates)
			return err
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, fmt.Errorf("client: %w", err)
	}
	if peer == nil { // crypto/tls would have to skip VerifyConnection
		return nil, nil, errUnverified
	}
	return conn, peer, nil
}

// log says who was refused and why.
func (c *serverCredentials) log(addr net.Addr, err error) {
	now := time.Now()
	if errors.Is(err, errPlaintext) {
		if missed, ok := c.source.plain.allow(now); ok {
			c.source.logger.Info("connection in plaintext refused", "from", addr.String(), "error", err, "more", missed)
		}
	} else if missed, ok := c.source.refusals.allow(now); ok {
		c.source.logger.Info("connection refused", "from", addr.String(), "error", err, "more", missed)
	}
}

// ClientHandshake implements [credentials.TransportCredentials].
func (c *serverCredentials) ClientHandshake(_ context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	_ = raw.Close()
	return nil, nil, errServerOnly
}

// Info implements [credentials.TransportCredentials].
func (c *serverCredentials) Info() credentials.ProtocolInfo { return protocolInfo() }

// Clone implements [credentials.TransportCredentials].
func (c *serverCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements [credentials.TransportCredentials].
func (c *serverCredentials) OverrideServerName(string) error { return errNoServerName }

// firstByte reads one byte, until ctx ends. Then the connection is closed.
func firstByte(ctx context.Context, raw net.Conn) (byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	var b [1]byte
	if _, err := io.ReadFull(raw, b[:]); err != nil {
		if ctx.Err() != nil {
			return 0, fmt.Errorf("client sent nothing for %v", handshakeTimeout)
		}
		return 0, err
	}
	return b[0], nil
}

// A peekedConn gives back the byte that was read from it. It is read by one
// goroutine at a time, as every connection of grpc is.
type peekedConn struct {
	net.Conn

	first  byte
	unread bool
}

// Read implements [net.Conn].
func (c *peekedConn) Read(b []byte) (int, error) {
	if !c.unread || len(b) == 0 {
		return c.Conn.Read(b)
	}
	c.unread = false
	b[0] = c.first
	return 1, nil
}

// linger ends a connection so that its last words arrive: a socket that is closed
// with bytes unread is reset, and the client's kernel then forgets the alert that
// says why.
func linger(raw net.Conn) {
	if half, ok := raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	if raw.SetReadDeadline(time.Now().Add(lingerFor)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(raw, lingerBytes)) // whatever it says changes nothing
	}
}
