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
//	store, file, registry -> merge -> model.Set -> snapshot -> serve -> clients
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/source/file"
	"github.com/tulle-mesh/tulle/xdsserver/source/merge"
	"github.com/tulle-mesh/tulle/xdsserver/source/registry"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// warmUp is how long processes have to come back after a start without memory,
// before what they do not speak for is taken from clients. They reconnect within
// 3 seconds and register within 2 more.
const warmUp = 8 * time.Second

// stopWithin bounds the wait for streams and requests in progress at the end.
const stopWithin = 2 * time.Second

// Config is what xdsserver is started with.
type Config struct {
	// Listen is the mesh port, a loopback host:port. Empty means 127.0.0.1:18000.
	Listen string
	// Socket is a unix socket that serves the same; empty means none.
	Socket string
	// HTTP is the admin API's loopback host:port. Empty means 127.0.0.1:18080.
	HTTP string
	// Data is the directory of the store. Required.
	Data string
	// Path is a configuration file or a directory of them; empty means none.
	Path string
	// Logger is for the operator; nil means slog.Default().
	Logger *slog.Logger
}

// A Daemon is a running xdsserver.
type Daemon struct {
	// Immutable after New.
	logger    *slog.Logger
	store     *store.Store
	sources   []source.Source
	members   *registry.Registry
	merger    *merge.Merger
	builder   *snapshot.Builder
	server    *serve.Server
	grpc      *grpc.Server
	http      *http.Server
	listeners []net.Listener // of the mesh port
	admin     net.Listener

	published atomic.Pointer[admin.Publication]
}

// New opens everything that can fail: the store, the configuration and the
// listeners. On an error it leaves nothing open; a *ConfigError is one that no
// other state of the machine would mend.
func New(c Config) (_ *Daemon, err error) {
	c = c.withDefaults()
	if c.Data == "" {
		return nil, &ConfigError{Flag: "--data", Reason: "names no directory: give it one, what is applied is kept there"}
	}
	d := &Daemon{logger: c.Logger}
	defer func() {
		if err != nil {
			d.close()
		}
	}()

	if d.store, err = store.Open(store.Config{Dir: c.Data, Logger: c.Logger}); err != nil {
		return nil, err
	}
	d.members = registry.New(registry.Config{Store: d.store, Settled: d.settled, Logger: c.Logger})
	d.sources = []source.Source{d.store, d.members}
	if c.Path != "" {
		files, err := file.New(file.Config{Path: c.Path, Logger: c.Logger})
		if err != nil {
			return nil, err
		}
		// Before the store: what a file says is not changed from elsewhere.
		d.sources = []source.Source{files, d.store, d.members}
	}
	d.merger = merge.New(d.sources, c.Logger)
	d.builder = snapshot.NewBuilder(snapshot.Config{Judge: true, Logger: c.Logger})

	var warmUntil time.Time
	if known, err := d.store.LoadEndpoints(); err != nil || len(known) == 0 {
		// Who remembers endpoints takes none away before its lease ends.
		warmUntil = time.Now().Add(warmUp)
	}
	d.server = serve.New(serve.Config{WarmUntil: warmUntil, Logger: c.Logger})
	d.grpc = grpc.NewServer(d.server.ServerOptions()...)
	d.server.Register(d.grpc)
	registryv1.RegisterRegistryServiceServer(d.grpc, d.members)
	healthpb.RegisterHealthServer(d.grpc, health.NewServer())

	names, err := d.listen(c)
	if err != nil {
		return nil, err
	}
	d.http = admin.New(admin.Config{
		Store:     d.store,
		Merger:    d.merger,
		Check:     d.builder.Check,
		Published: d.published.Load,
		Server:    d.server,
		DataDir:   c.Data,
		Listeners: names,
		WarmUntil: warmUntil,
		Logger:    c.Logger,
	}).HTTPServer()
	return d, nil
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
	group.Go(func() error {
		if err := d.http.Serve(d.admin); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		d.stop()
		return nil
	})
	d.logger.Info("xdsserver serves", "mesh", d.listeners[0].Addr().String(), "admin", "http://"+d.admin.Addr().String())
	err := group.Wait()
	d.logger.Info("xdsserver stopped")
	return err
}

// publish takes one set to the clients.
func (d *Daemon) publish(ctx context.Context, set *model.Set) {
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
	return d.server.Await(ctx, d.members.Name(), generation)
}

// stop ends what serves; streams of clients never end by themselves.
func (d *Daemon) stop() {
	_ = d.server.Close()
	d.grpc.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if err := d.http.Shutdown(ctx); err != nil {
		d.logger.Debug("admin requests cut", "error", err)
		_ = d.http.Close()
	}
}

// close releases what New opened; it may be called on a part of it, and twice.
func (d *Daemon) close() {
	for _, lis := range d.listeners {
		_ = lis.Close()
	}
	if d.admin != nil {
		_ = d.admin.Close()
	}
	if d.server != nil {
		_ = d.server.Close()
	}
	if d.builder != nil {
		d.builder.Close()
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.logger.Error("store not closed cleanly", "error", err)
		}
	}
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:18000"
	}
	if c.HTTP == "" {
		c.HTTP = "127.0.0.1:18080"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// listen opens the listeners and returns what operators are told of them.
func (d *Daemon) listen(c Config) ([]string, error) {
	lis, err := listenTCP("--listen", c.Listen)
	if err != nil {
		return nil, err
	}
	d.listeners = append(d.listeners, lis)
	names := []string{"mesh " + lis.Addr().String()}
	if c.Socket != "" {
		if lis, err = listenUnix(c.Socket); err != nil {
			return nil, err
		}
		d.listeners = append(d.listeners, lis)
		names = append(names, "socket "+c.Socket)
	}
	if d.admin, err = listenTCP("--http", c.HTTP); err != nil {
		return nil, err
	}
	return append(names, "admin http://"+d.admin.Addr().String()), nil
}
