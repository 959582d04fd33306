// Package meshtest runs a whole mesh inside a test: the real control plane, real
// members and real gRPC between them, over connections in memory.
//
//	m := meshtest.New(t)
//	m.Serve("voting", func(s grpc.ServiceRegistrar) { votingpb.RegisterVotingServer(s, impl) })
//	m.Apply(canary) // YAML, as `xdsserver apply` takes it
//	conn := m.Client("mesh:///voting")
//
// It works inside a testing/synctest bubble too, where a five-minute outage of
// the control plane takes milliseconds:
//
//	synctest.Test(t, func(t *testing.T) {
//		m := meshtest.New(t)
//		...
//		m.StopServer()
//		time.Sleep(5 * time.Minute)
//		m.StartServer()
//	})
//
// Members have real identities: the control plane has an authority of its own, each
// member joins by a token, and every connection is mutual TLS under the access policy
// that the test applies.
//
// Everything is stopped when the test ends. What it leaves out of the real
// thing is its disk, its command line and its network.
package meshtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/resolver"
)

// within bounds every wait of the kit.
const within = 10 * time.Second

// A Mesh is a mesh inside one test. Its methods fail the test where they cannot
// do what they say, and must be called from the test's goroutine.
type Mesh struct {
	// Network carries every connection of the mesh.
	Network *Network

	tb        testing.TB
	servers   int
	control   *control
	applied   *objects
	authority *authority

	mu     sync.Mutex
	caller *mesh.Mesh
}

// An Instance is one running process of a service, in the test's own process.
type Instance struct {
	// Mesh is the instance's membership, Server what it serves with.
	Mesh   *mesh.Mesh
	Server *mesh.Server
	// Address is where it listens in the mesh's network.
	Address string

	network *Network
	dialer  *dialer
	done    chan struct{} // closed when Serve has returned
	err     error         // Serve's, valid when done is closed
}

// New starts a mesh with an empty configuration.
func New(tb testing.TB) *Mesh {
	tb.Helper()
	return NewWith(tb, Config{})
}

// NewWith is New for a mesh that is unusual.
func NewWith(tb testing.TB, c Config) *Mesh {
	tb.Helper()
	m := &Mesh{Network: NewNetwork(), tb: tb, servers: max(1, c.Servers), applied: newObjects(), authority: newAuthority(tb, c)}
	m.StartServer()
	tb.Cleanup(m.StopServer)
	return m
}

// Join makes another member. config's service and the rest are taken as they
// are; what the kit must decide (server, network, disk, and a token of the service)
// is filled in where it is empty. The member leaves when the test ends.
func (m *Mesh) Join(config mesh.Config) *mesh.Mesh {
	m.tb.Helper()
	if config.Token == "" && config.TokenFile == "" && config.JWTFile == "" && config.IdentityDir == "" && config.Identity == nil {
		service := identity.ClientService
		if config.Service != "" {
			service, _ = resolver.ServiceName(config.Service) // of a wrong one Join says what is wrong
		}
		if service != "" {
			config.Token = m.Token(service)
		}
	}
	if config.Server == "" {
		config.Server = m.targets()
	}
	if config.StateDir == "" {
		config.StateDir = mesh.NoState
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.DialContext == nil {
		config.DialContext = m.Network.Dial
	}
	member, err := mesh.Join(context.Background(), config)
	if err != nil {
		m.tb.Fatal(err)
	}
	m.tb.Cleanup(func() {
		if err := member.Close(); err != nil {
			m.tb.Error(err)
		}
	})
	return member
}

// Serve starts an instance of a service and waits until it is in the mesh.
func (m *Mesh) Serve(service string, register func(grpc.ServiceRegistrar)) *Instance {
	m.tb.Helper()
	return m.ServeAs(mesh.Config{Service: service}, register)
}

// ServeAs is Serve for an instance with a version, a zone or an id of its own.
func (m *Mesh) ServeAs(config mesh.Config, register func(grpc.ServiceRegistrar)) *Instance {
	m.tb.Helper()
	lis, err := m.Network.Listen("")
	if err != nil {
		m.tb.Fatal(err)
	}
	dialer := &dialer{network: m.Network, conns: map[net.Conn]struct{}{}}
	config.DialContext = dialer.dial
	member := m.Join(config)
	in := &Instance{
		Mesh:    member,
		Server:  member.NewServer(),
		Address: lis.Addr().String(),
		network: m.Network,
		dialer:  dialer,
		done:    make(chan struct{}),
	}
	register(in.Server)
	go in.serve(lis) // waited for through done, when the test ends
	m.tb.Cleanup(func() {
		in.Server.Stop()
		<-in.done
		if in.err != nil && !errors.Is(in.err, grpc.ErrServerStopped) && !errors.Is(in.err, net.ErrClosed) {
			m.tb.Errorf("serve %s: %v", config.Service, in.err)
		}
	})
	m.await("instance "+in.Address+" of "+config.Service+" is not in the mesh", func() bool {
		return m.control != nil && m.control.serves(in.Address)
	})
	return in
}

func (in *Instance) serve(lis net.Listener) {
	defer close(in.done)
	in.err = in.Server.Serve(lis)
}

// Kill ends the instance as kill -9 would: its connections break, and nobody is
// told. It cannot come back; start another.
func (in *Instance) Kill() {
	in.dialer.kill()
	in.network.Cut(in.Address)
	in.Server.Stop()
}

// Client returns a connection to target, "mesh:///voting", from a member that
// serves nothing. It is closed when the test ends.
func (m *Mesh) Client(target string, opts ...grpc.DialOption) *grpc.ClientConn {
	m.tb.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.caller == nil {
		m.caller = m.Join(mesh.Config{Service: "caller"})
	}
	conn, err := m.caller.NewClient(target, opts...)
	if err != nil {
		m.tb.Fatal(err)
	}
	m.tb.Cleanup(func() { conn.Close() })
	return conn
}

// await polls: what the kit waits for is done by other goroutines, which nobody
// could tell to wake it.
func (m *Mesh) await(what string, ready func() bool) {
	m.tb.Helper()
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-timeout.C:
			m.tb.Fatalf("meshtest: %s after %v", what, within)
		}
	}
}
