package interceptors_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// A backend is a real grpc server, whose handlers are one for each attempt; the last
// is for all others.
type backend struct {
	mu       sync.Mutex
	handlers []func(grpc.ServerStream) error
	attempts int
	previous []string // the header of each attempt
}

func (b *backend) handle(_ any, stream grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	b.mu.Lock()
	h := b.handlers[min(b.attempts, len(b.handlers)-1)]
	b.attempts++
	b.previous = append(b.previous, strings.Join(md.Get("grpc-previous-rpc-attempts"), ","))
	b.mu.Unlock()
	return h(stream)
}

func (b *backend) made() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attempts
}

// dialBackend returns a connection through the interceptor of c to a server with the
// handlers.
func dialBackend(t *testing.T, c *configs, handlers ...func(grpc.ServerStream) error) (*grpc.ClientConn, *backend) {
	t.Helper()
	return dialBackendBy(t, interceptors.NewClient(interceptors.ClientConfig{Configs: c}), handlers...)
}

// dialBackendBy is dialBackend through a client. All attempts count as picked.
func dialBackendBy(t *testing.T, client *interceptors.Client, handlers ...func(grpc.ServerStream) error) (*grpc.ClientConn, *backend) {
	t.Helper()
	b := &backend{handlers: handlers}
	listener := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(b.handle))
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(listener) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	conn, err := grpc.NewClient("passthrough:///voting",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithChainUnaryInterceptor(client.Unary, func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			pick(ctx)
			return invoker(ctx, method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(client.Stream, func(
			ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption,
		) (grpc.ClientStream, error) {
			pick(ctx)
			return streamer(ctx, desc, cc, method, opts...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, b
}

// pick does what a picker does, where there is none.
func pick(ctx context.Context) {
	if rpc := call.FromContext(ctx); rpc != nil {
		rpc.Picked = call.Pick{Chosen: true, Local: true, Security: call.MutualTLS}
		rpc.Try("10.0.0.1:80")
	}
}

// parrot sends back what it receives.
func parrot(stream grpc.ServerStream) error {
	for {
		m := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(m); err != nil {
			if err == io.EOF { //nolint:errorlint // grpc returns it bare
				return nil
			}
			return err
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}

// after receives n messages and then ends with a code.
func after(n int, code codes.Code) func(grpc.ServerStream) error {
	return func(stream grpc.ServerStream) error {
		for range n {
			if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
				return status.Errorf(codes.Internal, "got %v", err)
			}
		}
		return status.Error(code, "on purpose")
	}
}

func send(t *testing.T, s grpc.ClientStream, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := s.SendMsg(wrapperspb.String(m)); err != nil {
			t.Fatalf("send %q: %v", m, err)
		}
	}
}

// rest receives until the end.
func rest(s grpc.ClientStream) (messages []string, err error) {
	for {
		m := new(wrapperspb.StringValue)
		if err := s.RecvMsg(m); err != nil {
			return messages, err
		}
		messages = append(messages, m.GetValue())
	}
}

func newStream(t *testing.T, conn *grpc.ClientConn, desc *grpc.StreamDesc, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(t.Context(), desc, method, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
