package identity

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
)

// A network is where the servers of a test listen, in memory.
type network struct {
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
}

func newNetwork() *network { return &network{listeners: map[string]*bufconn.Listener{}} }

func (n *network) listen(addr string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = bufconn.Listen(64 << 10)
	return n.listeners[addr]
}

func (n *network) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l != nil {
		if conn, err := l.DialContext(ctx); err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("dial %s: connection refused", addr)
}

// dialAny dials addr, whatever it is asked for.
func (n *network) dialAny(addr string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) { return n.dial(ctx, addr) }
}

// serve runs the authority at addr until stop is called.
func (a *authority) serve(l net.Listener) (stop func()) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.server}, ClientAuth: tls.RequestClientCert,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			a.mu.Lock()
			bundle := a.bundle()
			a.mu.Unlock()
			_, err := bundle.Verify(state.PeerCertificates)
			return err
		},
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	identityv1.RegisterIdentityServiceServer(server, a)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	return sync.OnceFunc(func() {
		server.Stop()
		wg.Wait()
	})
}

// A process runs a Source and its connection to xdsserver.
type process struct {
	*Source

	tb   testing.TB
	logs *logs
	stop func() error
}

// start runs a process with config on the network. Its control connection goes to
// the first server.
func start(tb testing.TB, n *network, config Config) *process {
	tb.Helper()
	p := &process{tb: tb, logs: &logs{}}
	config.Logger = textLogger(p.logs)
	if config.Dial == nil && n != nil {
		config.Dial = n.dial
	}
	source, err := New(config)
	if err != nil {
		tb.Fatal(err)
	}
	p.Source = source
	conn := control(tb, source)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx, conn) }()
	p.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		conn.Close()
		return err
	})
	tb.Cleanup(func() { _ = p.stop() })
	return p
}

// control is the connection to xdsserver.
func control(tb testing.TB, s *Source) *grpc.ClientConn {
	tb.Helper()
	server := "passthrough:///nowhere"
	if len(s.config.Servers) > 0 {
		server = grpcTarget(s.config.Servers[0])
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(s.ControlCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, MaxDelay: 20 * time.Second}}),
		grpc.WithIdleTimeout(0),
	}
	if s.config.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(s.config.Dial))
	}
	conn, err := grpc.NewClient(server, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// wait returns the first identity.
func (p *process) wait(timeout time.Duration) (*Identity, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.Wait(ctx)
}

// must is wait for what cannot fail.
func (p *process) must() *Identity {
	p.tb.Helper()
	i, err := p.wait(10 * time.Second)
	if err != nil {
		p.tb.Fatalf("%v; log:\n%s", err, p.logs)
	}
	return i
}

// logs keep what was logged.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func textLogger(l *logs) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logs) count(text string) int { return strings.Count(l.String(), text) }

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// fixed is a provider of one identity.
type fixed struct{ identity *Identity }

func (f fixed) Run(ctx context.Context, publish func(*Identity)) error {
	publish(f.identity)
	<-ctx.Done()
	return nil
}

// broken is a provider that ends.
type broken struct{}

func (broken) Run(_ context.Context, publish func(*Identity)) error {
	publish(nil)
	publish(&Identity{})
	return fs.ErrInvalid
}
