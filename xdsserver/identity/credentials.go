package identity

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// alpn is the one protocol of the mesh port (RFC 9113, section 3.2).
const alpn = "h2"

// serverCredentials are those of the mesh port.
type serverCredentials struct {
	authority Authority
	refusals  *refusals
}

var _ credentials.TransportCredentials = (*serverCredentials)(nil)

// NewCredentials returns the server side's credentials of the mesh port, for TCP
// and unix sockets alike: TLS 1.3 with the authority's own certificate. A client
// need not have a certificate, since it calls to get one; Interceptors see to what
// it may do without. A certificate that is presented must be valid: there is no
// falling back to none. A nil logger means slog.Default(); it is told of refused
// connections, once a second at most.
//
// Each handshake asks the authority anew, and there are no session tickets, so that
// no connection stands on what was true earlier. The server sets the deadline of
// handshakes (grpc.ConnectionTimeout).
func NewCredentials(a Authority, logger *slog.Logger) credentials.TransportCredentials {
	return &serverCredentials{authority: a, refusals: &refusals{logger: cmp.Or(logger, slog.Default())}}
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	caller := &Caller{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		UID:            -1,
		Addr:           raw.RemoteAddr(),
	}
	sys := sysConn(raw)
	if sys != nil {
		caller.UID, caller.Local = peerUser(sys)
	}
	conn := tls.Server(raw, c.config(caller))
	if err := conn.HandshakeContext(context.Background()); err != nil {
		raw.Close()
		err = explain(err)
		c.refusals.note(caller.Addr, err)
		return nil, nil, err
	}
	if sys == nil {
		return conn, caller, nil
	}
	return &sysTLS{Conn: conn, sys: sys}, caller, nil
}

// config is that of one handshake; it notes in caller who calls.
func (c *serverCredentials) config(caller *Caller) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{*c.authority.Certificate()},
		NextProtos:             []string{alpn},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequestClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol != alpn {
				return errors.New("the client offers no ALPN protocol: it must offer h2")
			}
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			var err error
			caller.Peer, err = c.authority.Trust().Bundle.Verify(state.PeerCertificates)
			return err
		},
	}
}

// explain says what happened where crypto/tls does so in its own terms.
func explain(err error) error {
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok && header.Conn != nil {
		return fmt.Errorf("identity: the client speaks no TLS: connect through the mesh, or with mTLS credentials: %w", err)
	}
	return fmt.Errorf("identity: handshake: %w", err)
}

// Info implements credentials.TransportCredentials.
func (c *serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (c *serverCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials; there is none.
func (c *serverCredentials) OverrideServerName(string) error { return nil }

// ClientHandshake implements credentials.TransportCredentials: it refuses.
func (c *serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("identity: these credentials are a server's: a client's are in mesh/identity")
}

// sysConn returns the socket below conn, which may be wrapped; nil when there is none.
func sysConn(conn net.Conn) syscall.Conn {
	for conn != nil {
		if sys, ok := conn.(syscall.Conn); ok {
			return sys
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = wrapper.NetConn()
	}
	return nil
}

// sysTLS is a TLS connection whose socket can be reached, as grpc does to set
// TCP_USER_TIMEOUT.
type sysTLS struct {
	*tls.Conn
	sys syscall.Conn
}

// SyscallConn implements syscall.Conn.
func (c *sysTLS) SyscallConn() (syscall.RawConn, error) { return c.sys.SyscallConn() }

// refusals logs refused connections, which anybody can cause, once a second.
type refusals struct {
	logger *slog.Logger

	mu         sync.Mutex
	next       time.Time
	suppressed int
}

func (r *refusals) note(addr net.Addr, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return // somebody looked whether the port is open
	}
	r.mu.Lock()
	now := time.Now()
	if now.Before(r.next) {
		r.suppressed++
		r.mu.Unlock()
		return
	}
	n := r.suppressed
	r.next, r.suppressed = now.Add(time.Second), 0
	r.mu.Unlock()
	r.logger.Warn("connection refused", "peer", addr.String(), "error", err, "more", n)
}
