// Package daemon puts the parts of xdsserver together. Read [New] to see how they
// fit, and Run to see what goes on while it serves.
//
//	d, err := daemon.New(daemon.Config{Data: "./data"})
//	if err != nil {
//		return err // nothing is left behind
//	}
//	return d.Run(ctx)
//
// A change of configuration goes from left to right, always:
//
//	file, store, registry, identity, consul -> merge -> model.Set -> snapshot -> serve -> clients
//
// Everybody who connects to the mesh port is somebody: its credentials are those of
// the authority, and one method, by which a process joins, may be called by one
// that has no certificate yet.
package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
	"github.com/tulle-mesh/tulle/xdsserver/announce"
	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/dashboard"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	consulsource "github.com/tulle-mesh/tulle/xdsserver/source/consul"
	"github.com/tulle-mesh/tulle/xdsserver/source/file"
	"github.com/tulle-mesh/tulle/xdsserver/source/merge"
	"github.com/tulle-mesh/tulle/xdsserver/source/registry"
	"github.com/tulle-mesh/tulle/xdsserver/store"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
	"github.com/tulle-mesh/tulle/xdsserver/telemetry"
)

// warmUp is how long processes have to come back after a start without memory,
// before what they do not speak for is taken from clients. They reconnect within
// 3 seconds and register within 2 more.
const warmUp = 8 * time.Second

// stopWithin bounds the wait for streams and requests in progress at the end.
const stopWithin = 2 * time.Second

// A Daemon is a running xdsserver.
type Daemon struct {
	// Immutable after New.
	logger    *slog.Logger
	store     *store.Store // endpoints last known, and all else without Consul
	objects   objects
	authority identity.Authority
	audit     *enrol.Audit
	enrol     *enrol.Server
	telemetry *telemetry.Server
	taps      *tap.Hub
	sources   []source.Source
	members   *registry.Registry
	merger    *merge.Merger
	builder   *snapshot.Builder
	server    *serve.Server
	grpc      *grpc.Server
	page      *dashboard.Server
	url       string         // of the dashboard
	listeners []net.Listener // of the mesh port
	admin     []net.Listener // of the admin API; the first is the dashboard's
	http      []*http.Server // one for each of admin

	metrics         *http.Server // nil where nobody may scrape
	metricsListener net.Listener
	publishing      prometheus.Histogram

	published atomic.Pointer[admin.Publication]

	// Without Consul all of these are nil, and with a read-only one the last three.
	replica   string // its name among others
	consul    *consul.Client
	catalog   *consulsource.Source
	announcer *announce.Announcer
	compact   func(context.Context, consul.Fence) error
	leads     atomic.Bool // the duties of the authority's root are its
}

// New opens everything that can fail: the store, the configuration and the
// listeners. On an error it leaves nothing open; a *ConfigError is one that no
// other state of the machine would mend.
func New(c Config) (_ *Daemon, err error) {
	c = c.withDefaults()
	ways, err := c.check()
	if err != nil {
		return nil, err
	}
	d := &Daemon{logger: c.Logger, publishing: newPublishing()}
	defer func() {
		if err != nil {
			d.close()
		}
	}()

	if d.store, err = store.Open(store.Config{Dir: c.Data, Logger: c.Logger}); err != nil {
		return nil, err
	}
	if err := d.openConsul(c); err != nil {
		return nil, err
	}
	if err := d.openIdentity(c, ways); err != nil {
		return nil, err
	}
	d.members = registry.New(registry.Config{Store: d.store, Settled: d.settled, Identify: registrant, Logger: c.Logger})
	d.taps = tap.New(tap.Config{Identify: reporter, Processes: d.obeying, Logger: c.Logger})
	d.sources = []source.Source{d.objects, d.members, identity.NewSource(d.authority), d.taps}
	if d.announcer != nil {
		d.sources[1] = announced{Source: d.members, announcer: d.announcer}
	}
	if c.Path != "" {
		files, err := file.New(file.Config{Path: c.Path, Logger: c.Logger})
		if err != nil {
			return nil, err
		}
		// Before the store: what a file says is not changed from elsewhere.
		d.sources = slices.Insert(d.sources, 0, source.Source(files))
	}
	if d.catalog != nil {
		// Last: what the mesh itself was told goes before it.
		d.sources = append(d.sources, d.catalog)
	}
	d.merger = merge.New(d.sources, c.Logger)
	d.builder = snapshot.NewBuilder(snapshot.Config{Judge: true, Logger: c.Logger})

	var warmUntil time.Time
	if known, err := d.store.LoadEndpoints(); err != nil || len(known) == 0 {
		// Who remembers endpoints takes none away before its lease ends.
		warmUntil = time.Now().Add(warmUp)
	}
	d.server = serve.New(serve.Config{
		WarmUntil: warmUntil,
		Identify:  subscriber,
		// Certificates are renewed half-way: by then everybody has come back with
		// the new one.
		MaxConnectionAge: d.authority.Status().LeafTTL / 4,
		Loaded:           d.loaded,
		Logger:           c.Logger,
	})
	d.newGRPC()

	names, err := d.listen(c)
	if err != nil {
		return nil, err
	}
	if err := d.listenMetrics(c); err != nil {
		return nil, err
	}
	if d.metricsListener != nil {
		names = append(names, "metrics http://"+d.metricsListener.Addr().String()+"/metrics")
	}
	api := admin.New(admin.Config{
		Store:     d.objects,
		Merger:    d.merger,
		Check:     d.builder.Check,
		Published: d.published.Load,
		Server:    d.server,
		Authority: d.authority,
		Tokens:    d.enrol,
		Callers:   d.telemetry,
		Taps:      d.taps,
		Tap:       c.Tap,
		Audit:     d.audit,
		Enrolment: ways.names(),
		Address:   meshAddress(c, d.listeners[0].Addr()),
		DataDir:   c.Data,
		Listeners: names,
		WarmUntil: warmUntil,
		Logins:    func(r admin.LoginRequest) (admin.Login, error) { return d.page.CreateLogin(r) },
		Logger:    c.Logger,
	})
	if err := d.openPage(c, api); err != nil {
		return nil, err
	}
	return d, nil
}

// openIdentity opens what says who is who: the authority, and how processes join.
func (d *Daemon) openIdentity(c Config, ways enrolment) (err error) {
	authority, err := d.newAuthority(c)
	if err != nil {
		return err
	}
	d.authority = authority
	if d.audit, err = enrol.OpenAudit(filepath.Join(c.Data, "audit.log")); err != nil {
		return err
	}
	issuers := make([]*enrol.Issuer, 0, len(ways.oidc))
	for _, o := range ways.oidc {
		issuer, err := enrol.ParseIssuer(o)
		if err != nil {
			return &ConfigError{Flag: "--oidc", Reason: err.Error()}
		}
		issuers = append(issuers, issuer)
	}
	if d.enrol, err = enrol.New(enrol.Config{
		Authority:     d.authority,
		Tokens:        d.objects,
		Issuers:       issuers,
		Socket:        ways.socket,
		TokensAllowed: ways.token,
		Audit:         d.audit,
		LeafTTL:       d.authority.Status().LeafTTL,
		Logger:        c.Logger,
	}); err != nil {
		return err
	}
	return d.openTelemetry(c)
}

// newGRPC makes the server of the mesh port.
func (d *Daemon) newGRPC() {
	unary, stream := identity.Interceptors()
	d.grpc = grpc.NewServer(append(d.server.ServerOptions(),
		grpc.Creds(identity.NewCredentials(d.authority, d.logger)),
		grpc.ChainUnaryInterceptor(unary),
		grpc.ChainStreamInterceptor(stream),
	)...)
	d.server.Register(d.grpc)
	registryv1.RegisterRegistryServiceServer(d.grpc, d.members)
	identityv1.RegisterIdentityServiceServer(d.grpc, d.enrol)
	d.telemetry.Register(d.grpc)
	tapv1.RegisterTapServiceServer(d.grpc, d.taps)
	healthpb.RegisterHealthServer(d.grpc, health.NewServer())
}

// Run serves until ctx ends, and then closes everything.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return d.merger.Run(ctx, func(set *model.Set) { d.publish(ctx, set) })
	})
	for _, lis := range d.listeners {
		group.Go(func() error {
			if err := d.grpc.Serve(lis); !errors.Is(err, grpc.ErrServerStopped) {
				return err
			}
			return nil // stopped before it began
		})
	}
	for i, lis := range d.admin {
		group.Go(func() error { return answer(d.http[i], lis) })
	}
	group.Go(func() error { return d.page.Run(ctx) })
	group.Go(func() error { return d.authority.Run(ctx) })
	group.Go(func() error { return d.runConsul(ctx) })
	group.Go(func() error { return d.telemetry.Run(ctx) })
	group.Go(d.serveMetrics)
	group.Go(func() error {
		<-ctx.Done()
		d.stop()
		return nil
	})
	d.logger.Info("xdsserver serves", "mesh", d.listeners[0].Addr().String(), "admin", d.url,
		"trust_domain", d.authority.Status().TrustDomain)
	err := group.Wait()
	d.logger.Info("xdsserver stopped")
	return err
}

// publish takes one set to the clients.
func (d *Daemon) publish(ctx context.Context, set *model.Set) {
	begun := time.Now()
	defer func() { d.publishing.Observe(time.Since(begun).Seconds()) }()
	snap, problems := d.builder.Build(ctx, set)
	problems = append(problems, set.Problems...)
	var before []model.Problem
	if p := d.published.Load(); p != nil {
		before = p.Problems
	}
	d.published.Store(&admin.Publication{Set: set, Snapshot: snap, Problems: problems})
	d.server.Publish(snap)
	tell(d.logger, before, problems)
}

// settled waits until clients have let go of an endpoint that leaves.
func (d *Daemon) settled(ctx context.Context, generation uint64) error {
	if err := d.server.Await(ctx, d.members.Name(), generation); err != nil {
		return err
	}
	return d.elsewhere(ctx)
}

// obeying counts the processes that take commands, and those that have them.
func (d *Daemon) obeying(service, instance string, generation uint64) (have, of int) {
	name := resource.CommandsName(service)
	return d.server.Having(resource.CommandsType, name, d.taps.Name(), generation, func(s *serve.Stream) bool { return tap.Asks(instance, s.Node) })
}

// trusted waits until clients verify by a generation of what is trusted.
func (d *Daemon) trusted(ctx context.Context, generation uint64) error {
	return d.server.Await(ctx, sourceIdentity, generation)
}

// stop ends what serves; streams of clients never end by themselves.
func (d *Daemon) stop() {
	_ = d.server.Close()
	d.stopMetrics()
	d.grpc.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	for _, srv := range d.http {
		if err := srv.Shutdown(ctx); err != nil {
			d.logger.Debug("admin requests cut", "error", err)
			_ = srv.Close()
		}
	}
}

// close releases what New opened; it may be called on a part of it, and twice.
func (d *Daemon) close() {
	for _, lis := range slices.Concat(d.listeners, d.admin) {
		_ = lis.Close()
	}
	if d.metricsListener != nil {
		_ = d.metricsListener.Close()
	}
	if d.telemetry != nil { // what came while it stopped is kept, too
		if err := d.telemetry.Close(); err != nil {
			d.logger.Debug("telemetry not closed cleanly", "error", err)
		}
	}
	if d.server != nil {
		_ = d.server.Close()
	}
	if d.builder != nil {
		d.builder.Close()
	}
	if closer, ok := d.authority.(io.Closer); ok {
		_ = closer.Close()
	}
	if d.audit != nil {
		if err := d.audit.Close(); err != nil {
			d.logger.Error("audit log not closed cleanly", "error", err)
		}
	}
	if d.consul != nil {
		_ = d.consul.Close()
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.logger.Error("store not closed cleanly", "error", err)
		}
	}
}

// listen opens the listeners and returns what operators are told of them.
func (d *Daemon) listen(c Config) ([]string, error) {
	lis, err := listenTCP("--listen", c.Listen)
	if err != nil {
		return nil, err
	}
	d.listeners = append(d.listeners, lis)
	names := []string{"mesh " + lis.Addr().String()}
	if lis, err = listenTCP("--http", c.HTTP); err != nil {
		return nil, err
	}
	d.admin = append(d.admin, lis)
	if remote, _ := c.remotePage(); remote {
		names = append(names, "dashboard https://"+lis.Addr().String())
	} else {
		names = append(names, "admin http://"+lis.Addr().String())
	}
	if c.Socket == NoSocket {
		return names, nil
	}
	if lis, err = listenUnix(c.Socket); err != nil {
		return nil, err
	}
	d.listeners = append(d.listeners, lis)
	path := filepath.Join(filepath.Dir(c.Socket), AdminSocket)
	if lis, err = listenUnix(path); err != nil {
		return nil, err
	}
	d.admin = append(d.admin, lis)
	return append(names, "socket "+c.Socket, "admin unix://"+path), nil
}
