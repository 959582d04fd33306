package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

const (
	// maxDelay is the longest pause between two attempts to reach a server that
	// refuses. Stock gRPC waits up to two minutes, and then needs as long to
	// notice that a server is back.
	maxDelay = 3 * time.Second
	// connectTimeout bounds one attempt. It is well above a TLS handshake with
	// a server that many clients return to at once.
	connectTimeout = 10 * time.Second
)

// dialOptions are the client's own, after the caller's.
//
// With a jitter of 1 a pause is drawn from zero to twice grpc's MaxDelay: full
// jitter, so that clients do not return in step.
func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		// Finds a half-open connection within 40 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 250 * time.Millisecond, Multiplier: 1.6, Jitter: 1, MaxDelay: maxDelay / 2},
			MinConnectTimeout: connectTimeout,
		}),
		// Going idle would end the attempts to come back.
		grpc.WithIdleTimeout(0),
		// Whoever answers for the server's name does not decide how it is called.
		grpc.WithDisableServiceConfig(),
	}
}

// servers hold the connections: one for the server in use, further ones only
// while another is looked for.
type servers struct {
	// Immutable.
	targets []string // in order of preference: probe looks for earlier ones alone
	options []grpc.DialOption

	// mu is not held while a connection is closed.
	mu      sync.Mutex
	conns   []*grpc.ClientConn // by index of targets, nil while not open
	current int                // the one in use, or last in use
	closed  bool
}

// newServers checks that a connection to each target can be made, and makes none.
func newServers(targets []string, options []grpc.DialOption) (*servers, error) {
	s := &servers{
		targets: slices.Clone(targets),
		options: append(slices.Clip(options), dialOptions()...),
		conns:   make([]*grpc.ClientConn, len(targets)),
	}
	for _, t := range targets {
		conn, err := grpc.NewClient(grpcTarget(t), s.options...)
		if err != nil {
			return nil, fmt.Errorf("xdsclient: server %q: %w", t, err)
		}
		_ = conn.Close()
	}
	return s, nil
}

// grpcTarget gives a host:port to the dialer as it is: its name is looked up at
// each attempt, and so comes back as soon as the name does.
func grpcTarget(target string) string {
	if strings.Contains(target, "://") {
		return target
	}
	if scheme, _, ok := strings.Cut(target, ":"); ok && resolver.Get(scheme) != nil {
		return target // "unix:path", "dns:name"
	}
	return "passthrough:///" + target
}

// conn returns the connection to a server, and makes it when it is not open.
func (s *servers) conn(i int) (*grpc.ClientConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errStopped
	case s.conns[i] != nil:
		return s.conns[i], nil
	}
	conn, err := grpc.NewClient(grpcTarget(s.targets[i]), s.options...)
	if err != nil {
		return nil, fmt.Errorf("xdsclient: server %q: %w", s.targets[i], err)
	}
	s.conns[i] = conn
	return conn, nil
}

// use makes a server the current one and closes the connections to all others.
// It returns the server that was current before.
func (s *servers) use(i int) int {
	s.mu.Lock()
	before := s.current
	s.current = i
	closing := s.take(func(j int) bool { return j != i })
	s.mu.Unlock()
	closeAll(closing)
	return before
}

// drop closes the connection to a server that is not the current one.
func (s *servers) drop(i int) {
	s.mu.Lock()
	closing := s.take(func(j int) bool { return j == i && j != s.current })
	s.mu.Unlock()
	closeAll(closing)
}

// close closes all connections for good.
func (s *servers) close() {
	s.mu.Lock()
	s.closed = true
	closing := s.take(func(int) bool { return true })
	s.mu.Unlock()
	closeAll(closing)
}

// take removes connections for the caller to close. s.mu is held.
func (s *servers) take(which func(i int) bool) []*grpc.ClientConn {
	var out []*grpc.ClientConn
	for i, conn := range s.conns {
		if conn != nil && which(i) {
			out = append(out, conn)
			s.conns[i] = nil
		}
	}
	return out
}

func closeAll(conns []*grpc.ClientConn) {
	for _, c := range conns {
		_ = c.Close() // says only that it was closed already
	}
}

// inUse returns the current server's index.
func (s *servers) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// currentConn returns the connection to the current server.
func (s *servers) currentConn() (*grpc.ClientConn, error) {
	conn, err := s.conn(s.inUse())
	if err != nil {
		code := codes.Internal
		if errors.Is(err, errStopped) {
			code = codes.Unavailable
		}
		return nil, status.Error(code, err.Error())
	}
	return conn, nil
}

// Conn returns a way to call the server in use over the stream's own HTTP/2
// connection. The connection is made when it is first needed and closed when Run
// returns. Calls still open when the client moves to another server end with
// codes.Canceled; made anew they reach the other one. Who must know that it is another
// asserts interface{ Server() string } for the target in use.
func (c *Client) Conn() grpc.ClientConnInterface { return current{servers: c.servers} }

type current struct{ servers *servers }

var _ grpc.ClientConnInterface = current{}

// Server is the target that calls go to at the moment.
func (c current) Server() string { return c.servers.targets[c.servers.inUse()] }

func (c current) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, err := c.servers.currentConn()
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

func (c current) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := c.servers.currentConn()
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}
