package interceptors_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/interceptors/access/accesstest"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const web = "spiffe://tulle.local/ns/default/svc/web"

// anyoneMay is a policy that allows all callers with an identity, noneMay one that
// allows nobody.
func anyoneMay(tb testing.TB) *resource.Inbound {
	tb.Helper()
	return accesstest.Inbound(tb, accesstest.Rules{Allow: map[string]accesstest.Rule{"mesh/default": {From: accesstest.Anyone}}})
}

func noneMay(tb testing.TB) *resource.Inbound {
	tb.Helper()
	return accesstest.Inbound(tb, accesstest.Rules{Allow: map[string]accesstest.Rule{
		"default/strict/allow/0": {From: "spiffe://tulle.local/nobody"},
	}})
}

// taking is a policy that allows all callers, and takes of their calls what a says.
func taking(tb testing.TB, a resource.Admission) *resource.Inbound {
	tb.Helper()
	in := everybodyMay(tb)
	in.VirtualHost.Routes[0].Admission = &a
	return in
}

// policies is a Policies whose policy the test sets.
type policies struct {
	mu      sync.Mutex
	current *resource.Inbound
	changed chan struct{}
}

var _ interceptors.Policies = (*policies)(nil)

func newPolicies(in *resource.Inbound) *policies {
	return &policies{current: in, changed: make(chan struct{})}
}

func (p *policies) set(in *resource.Inbound) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = in
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *policies) Current() *resource.Inbound {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

func (p *policies) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *policies) Wait(ctx context.Context) error {
	for {
		changed := p.Changed()
		if p.Current() != nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.New("it waits for the test")
		}
	}
}

func newServer(p interceptors.Policies) *interceptors.Server {
	return interceptors.NewServer(interceptors.ServerConfig{Service: "voting", Policies: p, Logger: slog.New(slog.DiscardHandler)})
}

// peerOf is a caller whose certificate is good for a while.
func peerOf(tb testing.TB, id string, good time.Duration) *spiffe.Peer {
	tb.Helper()
	parsed, err := spiffe.ParseID(id)
	if err != nil {
		tb.Fatal(err)
	}
	return &spiffe.Peer{ID: parsed, URI: id, Certificate: &x509.Certificate{NotAfter: time.Now().Add(good)}}
}

func calledBy(ctx context.Context, p *spiffe.Peer) context.Context {
	return peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 1}, AuthInfo: identity.AuthInfo{Peer: p}})
}

// believing are credentials of a server that takes everybody for one peer.
type believing struct {
	credentials.TransportCredentials

	peer *spiffe.Peer
}

func (b believing) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, identity.AuthInfo{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		Peer:           b.peer,
	}, nil
}

func (b believing) Clone() credentials.TransportCredentials { return b }

// A served is a grpc.Server in memory that asks an interceptors.Server.
type served struct {
	conn   *grpc.ClientConn
	server *interceptors.Server
}

// serve serves the streams that handler handles, as "/voting.v1.Voting/Watch", to a
// caller.
func serve(t *testing.T, p interceptors.Policies, caller *spiffe.Peer, handler grpc.StreamHandler, opts ...grpc.ServerOption) *served {
	t.Helper()
	return serveBoth(t, p, caller, answer, handler, opts...)
}

// serveBoth serves unary calls, too, as "/voting.v1.Voting/Vote".
func serveBoth(t *testing.T, p interceptors.Policies, caller *spiffe.Peer, unary grpc.MethodHandler, handler grpc.StreamHandler, opts ...grpc.ServerOption) *served {
	t.Helper()
	return serveBy(t, newServer(p), caller, unary, handler, opts...)
}

// serveBy serves by an interceptors.Server of the test's own.
func serveBy(t *testing.T, server *interceptors.Server, caller *spiffe.Peer, unary grpc.MethodHandler, handler grpc.StreamHandler, opts ...grpc.ServerOption) *served {
	t.Helper()
	s := &served{server: server}
	opts = append(opts, grpc.Creds(believing{TransportCredentials: insecure.NewCredentials(), peer: caller}),
		grpc.ChainUnaryInterceptor(s.server.Unary), grpc.ChainStreamInterceptor(s.server.Stream),
		grpc.UnknownServiceHandler(interceptors.Unknown))
	srv := grpc.NewServer(opts...)
	srv.RegisterService(s.server.Guard(&grpc.ServiceDesc{
		ServiceName: "voting.v1.Voting",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Vote", Handler: unary}},
		Streams:     []grpc.StreamDesc{{StreamName: "Watch", Handler: handler, ClientStreams: true, ServerStreams: true}},
	}), struct{}{})
	srv.RegisterService(s.server.Guard(&healthpb.Health_ServiceDesc), health.NewServer())
	lis := bufconn.Listen(1 << 16)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(lis) })
	running.Go(func() { _ = s.server.Run(ctx) })
	conn, err := grpc.NewClient("passthrough:///voting",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	t.Cleanup(func() {
		conn.Close()
		srv.Stop()
		cancel()
		running.Wait()
	})
	return s
}

// answer handles unary calls, and asks no interceptor: some do that.
func answer(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // grpc's signature
	return wrapperspb.String("yes"), decode(new(wrapperspb.StringValue))
}

func (s *served) vote(ctx context.Context, method string) error {
	return s.conn.Invoke(ctx, method, wrapperspb.String(""), new(wrapperspb.StringValue))
}

// watch opens a stream and waits until its handler has answered once.
func (s *served) watch(t *testing.T) grpc.ClientStream {
	t.Helper()
	stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/voting.v1.Voting/Watch")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(wrapperspb.String("")); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
		t.Fatal(err)
	}
	return stream
}

// echo answers each message, until there is no more.
func echo(_ any, stream grpc.ServerStream) error {
	for {
		m := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}

// everybodyMay is a policy that allows all callers, with an identity or without.
func everybodyMay(tb testing.TB) *resource.Inbound {
	tb.Helper()
	return accesstest.Inbound(tb, accesstest.Rules{Allow: map[string]accesstest.Rule{"mesh/default": {}}})
}
