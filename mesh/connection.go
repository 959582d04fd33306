package mesh

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/credentials"

	"github.com/tulle-mesh/tulle/balancer"
)

// counted are credentials that count the connections which they secured and which are
// open.
type counted struct {
	credentials.TransportCredentials

	open *atomic.Int64
}

var (
	_ credentials.TransportCredentials = counted{}
	_ balancer.MutualTLS               = counted{}
)

// ClientHandshake implements [credentials.TransportCredentials].
func (c counted) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	return c.count(conn, err), info, err
}

// ServerHandshake implements [credentials.TransportCredentials].
func (c counted) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	return c.count(conn, err), info, err
}

func (c counted) count(conn net.Conn, err error) net.Conn {
	if err != nil || conn == nil {
		return conn
	}
	c.open.Add(1)
	return &countedConn{Conn: conn, open: c.open}
}

// Clone implements [credentials.TransportCredentials].
func (c counted) Clone() credentials.TransportCredentials {
	return counted{TransportCredentials: c.TransportCredentials.Clone(), open: c.open}
}

// MutualTLS says that connections made with these credentials are mutual TLS: a client
// of the mesh makes no others.
func (counted) MutualTLS() bool { return true }

// A countedConn is a connection that is counted until it is closed.
type countedConn struct {
	net.Conn

	open *atomic.Int64
	once sync.Once
}

// Close implements [net.Conn].
func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
