package meshtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc/test/bufconn"
)

// bufferSize is how much one direction of a connection holds before a writer
// waits, as a socket's buffer would.
const bufferSize = 64 << 10

// A Network is loopback TCP in memory: listeners have addresses of 127.0.0.1,
// and connections can be cut. It is safe for concurrent use, and works inside a
// testing/synctest bubble, where real sockets do not.
type Network struct {
	mu        sync.Mutex
	port      int
	listeners map[string]*listener
}

// NewNetwork returns a network without listeners.
func NewNetwork() *Network {
	return &Network{port: 10000, listeners: map[string]*listener{}}
}

// Listen opens a listener on addr, "127.0.0.1:port", or on a free port where
// addr is empty.
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if addr == "" {
		n.port++
		addr = fmt.Sprintf("127.0.0.1:%d", n.port)
	}
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	if n.listeners[addr] != nil {
		return nil, fmt.Errorf("listen %s: address already in use", addr)
	}
	l := &listener{Listener: bufconn.Listen(bufferSize), network: n, addr: tcp, conns: map[net.Conn]struct{}{}}
	n.listeners[addr] = l
	return l, nil
}

// Dial connects to a listener; it is what [mesh.Config.DialContext] takes.
func (n *Network) Dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	conn, err := l.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	return l.track(conn), nil
}

// Cut closes the listener at addr and every connection to it at once, as if its
// process had been killed.
func (n *Network) Cut(addr string) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return
	}
	_ = l.Close() // it never fails
	l.mu.Lock()
	conns := l.conns
	l.conns = map[net.Conn]struct{}{}
	l.mu.Unlock()
	for c := range conns {
		c.Close()
	}
}

type listener struct {
	*bufconn.Listener
	network *Network
	addr    *net.TCPAddr

	mu    sync.Mutex
	conns map[net.Conn]struct{} // the clients' ends
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, fmt.Errorf("accept %s: %w", l.addr, net.ErrClosed) // its only error
	}
	return c, nil
}

func (l *listener) Close() error {
	l.network.mu.Lock()
	if l.network.listeners[l.addr.String()] == l {
		delete(l.network.listeners, l.addr.String())
	}
	l.network.mu.Unlock()
	return l.Listener.Close()
}

func (l *listener) track(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &conn{Conn: c, listener: l}
	l.conns[t] = struct{}{}
	return t
}

type conn struct {
	net.Conn
	listener *listener
}

func (c *conn) RemoteAddr() net.Addr { return c.listener.addr }

func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// A dialer is the connections that one process opened, so that it can die with
// all of them.
type dialer struct {
	network *Network

	mu    sync.Mutex
	dead  bool
	conns map[net.Conn]struct{}
}

var errKilled = errors.New("the instance was killed")

func (d *dialer) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := d.network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		c.Close()
		return nil, errKilled
	}
	d.conns[c] = struct{}{}
	return c, nil
}

func (d *dialer) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	for c := range d.conns {
		c.Close()
	}
}
