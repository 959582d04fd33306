// Package mesh makes a gRPC service a member of the mesh, from inside its own
// process.
//
// Two lines change: grpc.NewClient becomes [NewClient], grpc.NewServer becomes
// [NewServer]. From then on routes, timeouts, faults and everything else is
// decided by the operator of xdsserver and changed live; the application is
// neither redeployed nor configured.
//
//	conn, err := mesh.NewClient("mesh:///voting") // a *grpc.ClientConn
//	client := votingpb.NewVotingClient(conn)      // generated code, unchanged
//
//	srv := mesh.NewServer()
//	votingpb.RegisterVotingServer(srv, impl)
//	err = srv.Serve(lis) // registers the endpoint, serves, deregisters
//
// The package-level functions use one mesh made from the environment (see
// [FromEnv]); [Join] makes others. Members take their configuration over one
// xDS stream for the whole process, keep the last good one in memory and on
// disk, and go on without xdsserver when it is gone.
//
// Each process has an identity, which it gets from xdsserver and renews by itself;
// every connection is mutual TLS, and a handler learns by [PeerFromContext] who
// calls. A server takes the calls that the operator's access policy allows.
//
// The package does not start a proxy, touch the network's configuration, or
// carry anything but gRPC.
package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
	"github.com/tulle-mesh/tulle/resolver"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// A Mesh is one process's membership in one mesh. It is safe for concurrent
// use; a process usually has one, and may have several.
type Mesh struct {
	// Immutable after Join.
	config   Config
	instance string
	logger   *slog.Logger
	source   *identity.Source
	xds      *xdsclient.Client
	builder  *resolver.Builder
	client   *interceptors.Client
	shared   *balancer.Shared
	life     context.Context //nolint:containedctx // of what Close waits for; servers join it later
	cancel   context.CancelFunc
	group    *errgroup.Group

	// What others are told of calls, and what the operator asks for.
	telemetry *telemetry.Instruments
	tracer    *trace.Tracer
	taps      *tap.Taps
	lines     *accesslog.Log
	level     level
	reports   sync.WaitGroup // of those that end before life does
	silence   context.CancelFunc

	dialed, accepted atomic.Int64 // connections that are open

	mu            sync.Mutex // held for bookkeeping only, never while waiting
	serving       *inbound   // nil until the first server
	registrations map[*Registration]struct{}
	registered    int // how many there ever were
	closed        bool
}

// Join makes the process a member of a mesh. ctx bounds the joining, not the
// membership, which lasts until [Mesh.Close].
//
// Join does not wait for xdsserver, so that processes start in any order; see
// [Mesh.Ready]. It returns an error, and leaves nothing behind, when the
// configuration cannot work.
func Join(ctx context.Context, config Config) (*Mesh, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("mesh: join: %w", err)
	}
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Mesh{
		instance:      config.Instance,
		registrations: map[*Registration]struct{}{},
	}
	if m.instance == "" {
		m.instance = rand.Text()[:10]
	}
	m.observe(config)
	config = m.config
	if m.source, err = identity.New(config.identity(m.instance)); err != nil {
		return nil, fmt.Errorf("mesh: join: %w", err)
	}
	m.xds, err = xdsclient.New(xdsclient.Config{
		Servers:     config.servers(),
		DialOptions: m.serverDialOptions(),
		Node:        m.node(),
		Types:       resolver.Types,
		CacheFile:   config.cacheFile(),
		Logger:      m.logger,
	})
	if err != nil {
		return nil, fmt.Errorf("mesh: join: %w", err)
	}
	m.shared = balancer.NewShared()
	attrs := balancer.WithShared(nil, m.shared)
	attrs = balancer.WithZone(attrs, config.region(), config.zone())
	attrs = balancer.WithLogger(attrs, m.logger)
	m.builder = resolver.NewBuilder(resolver.Config{Client: m.xds, Attributes: attrs, Logger: m.logger})
	m.client = interceptors.NewClient(interceptors.ClientConfig{
		Configs: m.builder, Telemetry: m.telemetry, Tracer: m.tracer, Log: m.lines, Taps: m.taps,
	})
	m.telemetry.Observe(m.samples)

	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.cancel = cancel
	m.group, m.life = errgroup.WithContext(life)
	life = m.life
	m.group.Go(func() error { return m.hold(life) })
	m.group.Go(func() error { return m.follow(life) })
	m.group.Go(func() error { return m.xds.Run(life) })
	m.group.Go(func() error { return m.builder.Run(life) })
	m.obey(life)
	m.report()
	return m, nil
}

// observe makes what sees the process's calls. Everything else logs by the level that the
// operator may ask for.
func (m *Mesh) observe(config Config) {
	own := config.Logger
	m.logger = m.level.logger(own)
	config.Logger = m.logger
	m.config = config
	m.telemetry = telemetry.New(telemetry.Config{
		Service:  config.service(),
		Instance: m.instance,
		Version:  config.Version,
		Region:   config.region(),
		Zone:     config.zone(),
		Library:  Version,
	})
	m.tracer = trace.New(config.TracerProvider)
	// Who asks for lines gets them, whatever the level.
	m.lines = accesslog.New(everything(own))
	m.taps = tap.New(tap.Config{Service: config.service(), Instance: m.instance, Logger: m.logger})
}

// obey does for a while what the operator asks.
func (m *Mesh) obey(life context.Context) {
	c := &commands{
		service: m.config.service(), instance: m.instance,
		taps: m.taps, level: &m.level, access: m.lines, logger: m.logger,
	}
	m.group.Go(func() error { return c.run(life, m.xds) })
}

// report tells xdsserver of the process's calls, until Close: the last of it needs the
// connection, which Close ends after it.
func (m *Mesh) report() {
	ctx, cancel := context.WithCancel(m.life)
	m.silence = cancel
	instruments, taps := m.telemetry, m.taps
	m.reports.Go(func() { _ = instruments.Run(ctx, m.xds.Conn()) })
	m.reports.Go(func() { _ = taps.Run(ctx, m.xds.Conn()) })
}

// Ready waits until the process has its identity and its configuration's source:
// xdsserver has answered, or it cannot be reached and the disk remembers an earlier
// answer. The error says which server was tried and why it did not answer, or why
// it did not give an identity.
func (m *Mesh) Ready(ctx context.Context) error {
	if _, err := m.source.Wait(ctx); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if err := m.xds.Ready(ctx); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	return nil
}

// NewClient returns a client of the service that target names: "mesh:///voting",
// or "mesh:///voting.shop" for the one in namespace shop. It is a real
// *grpc.ClientConn, closed by the caller; opts come after the mesh's own.
//
// As with grpc.NewClient nothing is dialled before the first call. A target of
// another scheme is dialled as grpc dials it, without the mesh; it needs transport
// credentials of its own among opts, since the mesh's let nobody in whose identity
// is not known before.
func (m *Mesh) NewClient(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append(m.DialOptions(), opts...)...)
}

// Close ends the membership: endpoints still registered are taken back without
// waiting for clients (see [Server.GracefulStop] for that), calls that were not yet are
// reported, for 2 seconds at most, the stream to xdsserver is closed and the
// configuration kept on disk. Connections and servers
// stay the caller's to close, before it: they go on with the identity and the
// policy of that moment. It waits for everything the Mesh started, and is
// idempotent.
func (m *Mesh) Close() error {
	m.mu.Lock()
	m.closed = true
	open := make([]*Registration, 0, len(m.registrations))
	for r := range m.registrations {
		open = append(open, r)
	}
	m.mu.Unlock()
	for _, r := range open {
		r.Close()
	}
	m.silence()
	m.reports.Wait()
	m.cancel()
	_ = m.client.Close() // copies of calls on their way to mirrors; nothing can fail
	if err := m.group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("mesh: close: %w", err)
	}
	return nil
}

// node is what xdsserver is told of the process.
func (m *Mesh) node() *xdsv3.Node {
	service := m.config.service()
	return &xdsv3.Node{
		Id:            service + "/" + m.instance,
		Cluster:       service,
		Locality:      &xdsv3.Locality{Region: m.config.region(), Zone: m.config.zone()},
		UserAgentName: "tulle",
		UserAgentVersionType: &xdsv3.Node_UserAgentVersion{
			UserAgentVersion: Version,
		},
		Metadata: &xdsv3.Struct{Fields: map[string]*xdsv3.Value{
			"instance": {Kind: &xdsv3.Value_StringValue{StringValue: m.instance}},
			"version":  {Kind: &xdsv3.Value_StringValue{StringValue: m.config.Version}},
		}},
	}
}
