package balancer_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A world is the backends of a test, in memory, by address. It lives in a
// synctest bubble.
type world struct {
	t     *testing.T
	hold  chan struct{} // calls of holdMethod return when it is closed
	ill   sync.Map      // name -> "deaf" or "broken"
	dials sync.Map      // address -> *atomic.Int64
	open  sync.Map      // address -> *atomic.Int64: connections

	mu       sync.Mutex
	backends map[string]*backend
}

const (
	whoMethod  = "/test.Backend/Who"  // answers the backend's name
	holdMethod = "/test.Backend/Hold" // as whoMethod, when world.hold is closed
)

// A backend is one server; silent ones let nobody in and say nothing.
type backend struct {
	server   *grpc.Server
	listener *bufconn.Listener
	silent   bool
	served   sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, hold: make(chan struct{}), backends: make(map[string]*backend)}
	t.Cleanup(func() {
		for b := 'a'; b <= 'z'; b++ {
			w.down(string(b))
		}
	})
	return w
}

const port = 8080

// host and address are where the backend of a name, one letter, listens.
func host(name string) string    { return fmt.Sprintf("10.0.0.%d", name[0]) }
func address(name string) string { return fmt.Sprintf("%s:%d", host(name), port) }

// up starts backends.
func (w *world) up(names ...string) {
	for _, name := range names {
		b := &backend{listener: bufconn.Listen(1 << 16)}
		b.server = grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			return w.serve(name, stream)
		}))
		b.served.Go(func() { _ = b.server.Serve(b.listener) })
		w.mu.Lock()
		w.backends[address(name)] = b
		w.mu.Unlock()
	}
}

// down stops backends: their connections break and new ones are refused.
func (w *world) down(names ...string) {
	for _, name := range names {
		w.replace(name, nil)
	}
}

// silence stops backends as down does, but dials to them hang.
func (w *world) silence(names ...string) {
	for _, name := range names {
		w.replace(name, &backend{silent: true})
	}
}

// replace puts another backend, or none, in place before the old one stops.
func (w *world) replace(name string, b *backend) {
	w.mu.Lock()
	old := w.backends[address(name)]
	delete(w.backends, address(name))
	if b != nil {
		w.backends[address(name)] = b
	}
	w.mu.Unlock()
	if old != nil && !old.silent {
		old.server.Stop()
		old.served.Wait()
	}
}

// deaf makes a backend answer nothing, broken fail every call.
func (w *world) deaf(name string)   { w.ill.Store(name, "deaf") }
func (w *world) broken(name string) { w.ill.Store(name, "broken") }

func (w *world) serve(name string, stream grpc.ServerStream) error {
	switch how, _ := w.ill.Load(name); how {
	case "deaf":
		<-stream.Context().Done()
		return nil
	case "broken":
		return status.Error(codes.Unavailable, "broken")
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	if method, _ := grpc.MethodFromServerStream(stream); method == holdMethod {
		select {
		case <-w.hold:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
	return stream.SendMsg(wrapperspb.String(name))
}

// dial is the dialer of a test's connections.
func (w *world) dial(ctx context.Context, to string) (net.Conn, error) {
	counter(&w.dials, to).Add(1)
	w.mu.Lock()
	b := w.backends[to]
	w.mu.Unlock()
	switch {
	case b == nil:
		host, port, _ := net.SplitHostPort(to)
		addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
		if err != nil {
			return nil, err
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case b.silent:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	conn, err := b.listener.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	open := counter(&w.open, to)
	open.Add(1)
	return &countedConn{Conn: conn, closed: sync.OnceFunc(func() { open.Add(-1) })}, nil
}

type countedConn struct {
	net.Conn

	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

func counter(m *sync.Map, key string) *atomic.Int64 {
	c, _ := m.LoadOrStore(key, new(atomic.Int64))
	return c.(*atomic.Int64)
}

// dialled returns how often a backend was dialled, and connected how many
// connections to it are open.
func (w *world) dialled(name string) int64   { return counter(&w.dials, address(name)).Load() }
func (w *world) connected(name string) int64 { return counter(&w.open, address(name)).Load() }

// who makes one call and returns the name of the backend that answered, or the
// code of the error.
func who(ctx context.Context, conn *grpc.ClientConn, method string, opts ...grpc.CallOption) string {
	var reply wrapperspb.StringValue
	if err := conn.Invoke(ctx, method, &emptypb.Empty{}, &reply, opts...); err != nil {
		return status.Code(err).String()
	}
	return reply.GetValue()
}

// tally makes n calls one after the other and counts the answers.
func tally(ctx context.Context, conn *grpc.ClientConn, n int) map[string]int {
	got := make(map[string]int)
	for range n {
		got[who(ctx, conn, whoMethod)]++
	}
	return got
}
