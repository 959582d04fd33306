package meshtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// firstPort is the first server's in the mesh's own network; others follow it.
const firstPort = 9001

// A server is one xdsserver of the control plane.
type server struct {
	ads     *serve.Server
	stopped context.Context //nolint:containedctx // ends with the server
	cancel  context.CancelFunc
	group   errgroup.Group

	mu    sync.Mutex // held while a snapshot is published, so that none goes back
	fresh *snapshot.Snapshot
}

// start starts a server.
func (c *control) start(lis net.Listener) {
	logger := slog.New(slog.DiscardHandler)
	a := c.authority
	s := &server{ads: serve.New(serve.Config{
		Identify:         subscriber,
		WarmUntil:        c.warmUntil,
		MaxConnectionAge: a.ca.Status().LeafTTL / 4, // as daemon does
		Logger:           logger,
	})}
	s.stopped, s.cancel = context.WithCancel(context.Background())
	unary, stream := identity.Interceptors()
	srv := grpc.NewServer(append(s.ads.ServerOptions(),
		grpc.Creds(identity.NewCredentials(a.ca, logger)),
		grpc.ChainUnaryInterceptor(unary),
		grpc.ChainStreamInterceptor(stream))...)
	s.ads.Register(srv)
	registryv1.RegisterRegistryServiceServer(srv, c.members)
	identityv1.RegisterIdentityServiceServer(srv, a.enrol)
	tapv1.RegisterTapServiceServer(srv, c.taps)
	a.telemetry.Register(srv)

	c.mu.Lock()
	c.running[lis.Addr().String()] = s
	latest := c.latest
	c.mu.Unlock()
	if latest != nil {
		s.publish(latest)
	}
	s.group.Go(func() error {
		err := srv.Serve(lis)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, grpc.ErrServerStopped) {
			return nil // the listener was cut, as a killed process's would be, or it was stopped before it began
		}
		return err
	})
	s.group.Go(func() error {
		<-s.stopped.Done()
		_ = s.ads.Close()
		srv.Stop()
		return nil
	})
}

// publish takes a snapshot, unless a later one came first.
func (s *server) publish(snap *snapshot.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fresh == nil || s.fresh.Revision < snap.Revision {
		s.fresh = snap
		s.ads.Publish(snap)
	}
}

// await waits for the members that are connected to this server, and for none once it is
// stopped.
func (s *server) await(ctx context.Context, source string, generation uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.stopped, cancel)()
	err := s.ads.Await(ctx, source, generation)
	if s.stopped.Err() != nil {
		return nil
	}
	return err
}

// stopServer stops the server at an address, where one runs, and reports how many are
// left.
func (c *control) stopServer(address string) (left int, err error) {
	c.mu.Lock()
	s := c.running[address]
	delete(c.running, address)
	left = len(c.running)
	c.mu.Unlock()
	if s != nil {
		s.cancel()
		err = s.group.Wait()
	}
	return left, err
}

// address is where a server listens.
func address(server int) string { return fmt.Sprintf("127.0.0.1:%d", firstPort+server) }

// targets lists all servers, as mesh.Config.Server does.
func (m *Mesh) targets() string {
	all := make([]string, m.servers)
	for i := range all {
		all[i] = m.Target(i)
	}
	return strings.Join(all, ",")
}

// Target is how a member names a server, the first is 0, in mesh.Config.Server.
func (m *Mesh) Target(server int) string { return "passthrough:///" + address(server) }

// StartServer starts the control plane after [Mesh.StopServer]: those of its servers that
// do not run. It remembers what was applied, its authority and the tokens it made, and no
// endpoint.
func (m *Mesh) StartServer() {
	m.tb.Helper()
	for i := range m.servers {
		m.StartOne(i)
	}
}

// StopServer kills the control plane: its connections break.
func (m *Mesh) StopServer() {
	m.tb.Helper()
	for i := range m.servers {
		m.StopOne(i)
	}
}

// StartOne starts a server of several ([Config.Servers]), the first is 0. It knows what
// the others do.
func (m *Mesh) StartOne(server int) {
	m.tb.Helper()
	if m.control != nil && m.control.runs(address(server)) {
		return
	}
	lis, err := m.Network.Listen(address(server))
	if err != nil {
		m.tb.Fatal(err)
	}
	if m.control == nil {
		m.control = startControl(m.applied, m.authority)
	}
	m.control.start(lis)
}

// StopOne kills a server of several: its connections break.
func (m *Mesh) StopOne(server int) {
	m.tb.Helper()
	if m.control == nil {
		return
	}
	m.Network.Cut(address(server))
	left, err := m.control.stopServer(address(server))
	if err != nil {
		m.tb.Error(err)
	}
	if left > 0 {
		return
	}
	if err := m.control.stop(); err != nil {
		m.tb.Error(err)
	}
	m.control = nil
}

func (c *control) runs(address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running[address] != nil
}
