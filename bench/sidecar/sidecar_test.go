package sidecar

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/bench/proc"
)

// kinds are the proxies; need skips a test for want of one that need not be there.
var kinds = []struct {
	name string
	open func(context.Context, Config) (*Pair, error)
	need func(t *testing.T)
}{
	{"Envoy", Envoy, func(t *testing.T) {
		t.Helper()
		if err := withEnvoy(); err != nil {
			t.Skip(err)
		}
	}},
	{"HAProxy", HAProxy, func(t *testing.T) {
		t.Helper()
		if _, err := exec.LookPath("haproxy"); err != nil && os.Getenv("CI") == "" {
			t.Skip("haproxy is not in PATH: apt-get install haproxy")
		}
	}},
}

func TestCallsGoThroughBothProxies(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			kind.need(t)
			a := newAuthority(t)
			client, server := a.identity(t, clientID), a.identity(t, serverID)
			upstreams := []*echo{serve(t), serve(t)}
			pair, err := kind.open(t.Context(), Config{
				Dir: shared, Client: client, Server: server, Log: t.Logf,
				Upstreams: []string{upstreams[0].address, upstreams[1].address},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer pair.Close()
			service := dial(t, pair.Address, insecure.NewCredentials())

			t.Run("with a status", func(t *testing.T) {
				_, err := service.UnaryCall(t.Context(), &grpc_testing.SimpleRequest{
					ResponseStatus: &grpc_testing.EchoStatus{Code: int32(codes.NotFound), Message: "no such thing"},
				})
				if got := status.Convert(err); got.Code() != codes.NotFound || got.Message() != "no such thing" {
					t.Errorf("got %v", err)
				}
			})
			t.Run("with much to carry", func(t *testing.T) {
				body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
				reply, err := service.UnaryCall(t.Context(), &grpc_testing.SimpleRequest{Payload: &grpc_testing.Payload{Body: body}})
				if err != nil || !bytes.Equal(reply.GetPayload().GetBody(), body) {
					t.Errorf("got %d bytes, %v", len(reply.GetPayload().GetBody()), err)
				}
			})
			t.Run("in streams of both directions", func(t *testing.T) { converse(t, service) })
			t.Run("all at once, to all servers", func(t *testing.T) { crowd(t, service, upstreams) })
			t.Run("from nobody but the client", func(t *testing.T) {
				intruders := map[string]Identity{
					"of another name": a.identity(t, intruderID), "without a name": {}, "of another mesh": newAuthority(t).identity(t, clientID),
				}
				for who, identity := range intruders {
					_, err := dial(t, pair.servers[0].address, identity.credentials(t)).UnaryCall(t.Context(), &grpc_testing.SimpleRequest{})
					if code := status.Code(err); code != codes.PermissionDenied && code != codes.Unavailable {
						t.Errorf("a client %s was not refused: %v", who, err)
					}
				}
				if _, err := dial(t, pair.servers[0].address, client.credentials(t)).UnaryCall(t.Context(), &grpc_testing.SimpleRequest{}); err != nil {
					t.Errorf("the client itself was refused: %v", err)
				}
			})
			t.Run("until they are closed", func(t *testing.T) { end(t, pair) })
		})
	}
}

// converse sends messages one by one, each after the answer to the one before.
func converse(t *testing.T, service grpc_testing.TestServiceClient) {
	t.Helper()
	stream, err := service.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		body := bytes.Repeat([]byte{byte(i)}, 1<<10)
		if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: body}}); err != nil {
			t.Fatal(err)
		}
		reply, err := stream.Recv()
		if err != nil || !bytes.Equal(reply.GetPayload().GetBody(), body) {
			t.Fatalf("message %d came back as %d bytes, %v", i, len(reply.GetPayload().GetBody()), err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

// crowd calls as often at the same time as the benchmark does at most. No call is answered
// before all are there, so that a proxy that lets fewer through fails.
func crowd(t *testing.T, service grpc_testing.TestServiceClient, upstreams []*echo) {
	t.Helper()
	const callers = 256
	var calls, all sync.WaitGroup
	all.Add(callers)
	for _, u := range upstreams {
		u.calls.Store(0)
		gate := func() { all.Done(); all.Wait() }
		u.gate.Store(&gate)
		defer u.gate.Store(nil)
	}
	var failed atomic.Pointer[error]
	for range callers {
		calls.Go(func() {
			if _, err := service.UnaryCall(t.Context(), &grpc_testing.SimpleRequest{}); err != nil {
				failed.Store(&err)
				all.Done()
			}
		})
	}
	calls.Wait()
	if err := failed.Load(); err != nil {
		t.Error(*err)
	}
	for i, u := range upstreams {
		if n := u.calls.Load(); n < callers/8 {
			t.Errorf("server %d had %d of %d calls", i, n, callers)
		}
	}
}

// end closes a pair, of which nothing must be left.
func end(t *testing.T, pair *Pair) {
	t.Helper()
	client, server, err := pair.Usage()
	if err != nil || client.RSS == 0 || server.RSS == 0 {
		t.Errorf("usage is %+v and %+v, %v", client, server, err)
	}
	t.Logf("%s %s: client's %+v, servers' %+v", pair.Name, pair.Version, client, server)
	for range 2 {
		if err := pair.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, p := range append(pair.servers, pair.client) {
		if _, err := proc.UsageOf(p.pid); err == nil {
			t.Errorf("%s lives on", p.Name)
		}
	}
	if _, _, err := pair.Usage(); err == nil {
		t.Error("what has ended has usage")
	}
	if _, err := os.Stat(pair.scratch); err == nil {
		t.Error("scratch is left")
	}
}

func TestEnvoyRefusesAServerOfAnotherName(t *testing.T) {
	kinds[0].need(t)
	a := newAuthority(t)
	c := Config{Dir: shared, Client: a.identity(t, clientID), Server: a.identity(t, serverID), Upstreams: []string{serve(t).address}}
	c.Client.ServerID = intruderID
	pair, err := Envoy(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	_, err = dial(t, pair.Address, insecure.NewCredentials()).UnaryCall(t.Context(), &grpc_testing.SimpleRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestEnvoyIsInstalledOnce(t *testing.T) {
	kinds[0].need(t)
	t.Setenv("PATH", "")
	if _, err := installEnvoy(t.Context(), Config{Dir: shared}); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(shared)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v is left, %v", entries, err)
	}
}

func TestWhatCannotBeHadSaysSo(t *testing.T) {
	t.Setenv("PATH", "")
	for _, kind := range kinds {
		if _, err := kind.open(t.Context(), Config{Dir: t.TempDir()}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want a sentence", kind.name, err)
		}
	}
}

func TestAProxyThatEndsAtOnceIsAnError(t *testing.T) {
	a := newAuthority(t)
	c := Config{Dir: t.TempDir(), Client: a.identity(t, clientID), Server: a.identity(t, serverID), Upstreams: []string{"127.0.0.1:1"}}
	broken := program{name: "haproxy", path: "sh", args: []string{"-c", "echo out of luck"}, ending: ".cfg"}
	_, err := broken.open(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(c.Dir); err != nil || len(entries) > 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
}

// An echo is a server of gRPC without TLS.
type echo struct {
	grpc_testing.UnimplementedTestServiceServer

	address string
	calls   atomic.Int64
	// gate holds unary calls back, if set.
	gate atomic.Pointer[func()]
}

func serve(t *testing.T) *echo {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{address: lis.Addr().String()}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, e)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(lis) })
	t.Cleanup(func() { server.Stop(); wg.Wait() })
	return e
}

func (e *echo) UnaryCall(_ context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	e.calls.Add(1)
	if gate := e.gate.Load(); gate != nil {
		(*gate)()
	}
	if s := r.GetResponseStatus(); s.GetCode() != 0 {
		return nil, status.Error(codes.Code(s.GetCode()), s.GetMessage())
	}
	return &grpc_testing.SimpleResponse{Payload: r.GetPayload()}, nil
}

func (*echo) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client is done
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

// dial opens a client whose calls have 10 s.
func dial(t *testing.T, address string, c credentials.TransportCredentials) grpc_testing.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(c), grpc.WithUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			return invoke(ctx, method, req, reply, conn, opts...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return grpc_testing.NewTestServiceClient(conn)
}
