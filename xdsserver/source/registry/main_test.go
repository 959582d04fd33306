package registry

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A host runs one registry behind a real gRPC server, inside a synctest bubble.
type host struct {
	t        *testing.T
	registry *Registry
	listener *bufconn.Listener
	stop     func()

	mu      sync.Mutex
	outputs []source.Output
}

func start(t *testing.T, c Config) *host {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	h := &host{t: t, registry: New(c), listener: bufconn.Listen(16 << 10)}
	server := grpc.NewServer()
	registryv1.RegisterRegistryServiceServer(server, h.registry)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(h.listener); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := h.registry.Run(ctx, h.emit); err != nil {
			t.Error(err)
		}
	})
	h.stop = sync.OnceFunc(func() {
		cancel()
		server.GracefulStop() // returns only when Run has ended all registrations
		running.Wait()
	})
	t.Cleanup(h.stop)
	time.Sleep(emitGap) // past the first output, so that the next change is emitted at once
	synctest.Wait()
	return h
}

func (h *host) emit(o source.Output) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outputs = append(h.outputs, o)
}

// emits is how many outputs there were.
func (h *host) emits() int {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.outputs)
}

// output is the newest one.
func (h *host) output() source.Output {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.outputs[len(h.outputs)-1]
}

// shown is the newest output as "instance:health" words.
func (h *host) shown() string { return describe(h.output().Endpoints) }

func describe(endpoints []model.Endpoint) string {
	names := map[model.Health]string{
		model.Healthy: "healthy", model.NotServing: "not serving", model.Lost: "lost", model.Leaving: "leaving",
	}
	words := make([]string, 0, len(endpoints))
	for _, e := range endpoints {
		words = append(words, e.Instance+":"+names[e.Health])
	}
	return strings.Join(words, " ")
}

// A process is one client connection, which may be killed.
type process struct {
	t    *testing.T
	conn *grpc.ClientConn
}

func (h *host) process() *process {
	h.t.Helper()
	conn, err := grpc.NewClient("passthrough:///registry",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return h.listener.DialContext(ctx) }))
	if err != nil {
		h.t.Fatal(err)
	}
	p := &process{t: h.t, conn: conn}
	h.t.Cleanup(p.kill)
	return p
}

// kill ends the process as kill -9 does: its connection is closed, nothing said.
func (p *process) kill() { _ = p.conn.Close() }

type clientStream = grpc.BidiStreamingClient[registryv1.RegisterRequest, registryv1.RegisterResponse]

// try registers and returns the answer.
func (p *process) try(request *registryv1.RegisterRequest) (clientStream, *registryv1.RegisterResponse, error) {
	p.t.Helper()
	stream, err := registryv1.NewRegistryServiceClient(p.conn).Register(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := stream.Send(request); err != nil {
		p.t.Fatal(err)
	}
	answer, err := stream.Recv()
	return stream, answer, err
}

// register registers, which must succeed.
func (p *process) register(request *registryv1.RegisterRequest) clientStream {
	p.t.Helper()
	stream, _, err := p.try(request)
	if err != nil {
		p.t.Fatal(err)
	}
	return stream
}

// say sends the next request on the stream and returns the answer.
func (p *process) say(stream clientStream, request *registryv1.RegisterRequest) *registryv1.RegisterResponse {
	p.t.Helper()
	if err := stream.Send(request); err != nil {
		p.t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		p.t.Fatal(err)
	}
	return answer
}

// voting is a good request of the service voting.
func voting(instance, address string, change ...func(*registryv1.RegisterRequest)) *registryv1.RegisterRequest {
	r := &registryv1.RegisterRequest{
		Service: "voting", Instance: instance, Version: "v1", Region: "eu", Zone: "eu-1",
		Addresses: []string{address}, State: registryv1.State_STATE_SERVING,
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func state(s registryv1.State) func(*registryv1.RegisterRequest) {
	return func(r *registryv1.RegisterRequest) { r.State = s }
}

// memory is a Store that a test can read, and break.
type memory struct {
	mu        sync.Mutex
	endpoints []model.Endpoint
	saves     int
	err       error
}

func (m *memory) LoadEndpoints() ([]model.Endpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.endpoints), m.err
}

func (m *memory) SaveEndpoints(endpoints []model.Endpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves++
	if m.err != nil {
		return m.err
	}
	m.endpoints = slices.Clone(endpoints)
	return nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) state() (string, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return describe(m.endpoints), m.saves
}
