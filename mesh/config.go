package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/tulle-mesh/tulle/resolver"
)

// DefaultServer is where xdsserver listens unless told otherwise.
const DefaultServer = "127.0.0.1:18000"

// NoState as [Config.StateDir] keeps nothing on disk.
const NoState = "off"

// Config is what a process says of itself when it joins. Its zero value joins
// the xdsserver of this machine as a client only.
type Config struct {
	// Service is the process's own service, "name" or "name.namespace". Empty
	// makes a client only: it may call others, and registers nothing.
	Service string
	// Server lists xdsservers in order of preference, separated by commas, each
	// a gRPC target such as "10.0.0.5:18000" or "unix:///run/tulle/xds.sock".
	// Empty means DefaultServer.
	Server string
	// Version is the label routes may choose endpoints by; may be empty.
	Version string
	// Zone is the place the process runs in, "zone" or "region/zone"; may be empty.
	Zone string
	// Advertise is the host:port that others dial, where it differs from the
	// listener's own address; host may not be a wildcard.
	Advertise string
	// StateDir keeps the last good configuration for a start without xdsserver.
	// Empty means the directory tulle in os.UserCacheDir; NoState keeps nothing.
	StateDir string
	// Instance tells this process from others of its service, also after a
	// reconnect. Empty means a random one, new with each Join: right unless the
	// platform has a name for the process that outlives it.
	Instance string
	// Logger takes the mesh's few messages; nil means slog.Default().
	Logger *slog.Logger
	// DialContext replaces the network under every connection of the mesh, to
	// xdsserver and to endpoints; nil dials TCP and unix sockets. addr is as
	// grpc.WithContextDialer gets it.
	DialContext func(ctx context.Context, addr string) (net.Conn, error)
}

// FromEnv returns the Config that the environment describes:
//
//	TULLE_SERVICE    Service
//	TULLE_SERVER     Server
//	TULLE_VERSION    Version
//	TULLE_ZONE       Zone
//	TULLE_ADVERTISE  Advertise
//	TULLE_STATE_DIR  StateDir
//	TULLE_INSTANCE   Instance
func FromEnv() Config {
	return Config{
		Service:   os.Getenv("TULLE_SERVICE"),
		Server:    os.Getenv("TULLE_SERVER"),
		Version:   os.Getenv("TULLE_VERSION"),
		Zone:      os.Getenv("TULLE_ZONE"),
		Advertise: os.Getenv("TULLE_ADVERTISE"),
		StateDir:  os.Getenv("TULLE_STATE_DIR"),
		Instance:  os.Getenv("TULLE_INSTANCE"),
	}
}

// withDefaults fills in what was left out and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Server == "" {
		c.Server = DefaultServer
	}
	if len(c.servers()) == 0 {
		return c, fmt.Errorf("mesh: Config.Server (TULLE_SERVER) %q names no server, want for example %q", c.Server, DefaultServer)
	}
	if c.Service != "" {
		// The canonical form names nodes and files.
		service, err := resolver.ServiceName(c.Service)
		if err != nil {
			return c, fmt.Errorf("mesh: Config.Service (TULLE_SERVICE): %w", err)
		}
		c.Service = service
	}
	if c.Advertise != "" {
		if err := checkAdvertise(c.Advertise); err != nil {
			return c, fmt.Errorf("mesh: Config.Advertise (TULLE_ADVERTISE): %w", err)
		}
	}
	if strings.Count(c.Zone, "/") > 1 {
		return c, fmt.Errorf("mesh: Config.Zone (TULLE_ZONE) %q: want \"zone\" or \"region/zone\"", c.Zone)
	}
	if c.StateDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			c.Logger.Warn("no configuration is kept on disk: set TULLE_STATE_DIR", "error", err)
			dir = NoState
		} else {
			dir = filepath.Join(dir, "tulle")
		}
		c.StateDir = dir
	}
	return c, nil
}

func checkAdvertise(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	ip := net.ParseIP(host)
	switch {
	case ip == nil:
		return fmt.Errorf("%q: want an IP address before the port, not a name: clients dial it as it is", addr)
	case ip.IsUnspecified():
		return fmt.Errorf("%q is a wildcard, which nobody can dial", addr)
	case port == "" || port == "0":
		return fmt.Errorf("%q has no port", addr)
	}
	return nil
}

func (c Config) servers() []string {
	var servers []string
	for s := range strings.SplitSeq(c.Server, ",") {
		if s = strings.TrimSpace(s); s != "" {
			servers = append(servers, s)
		}
	}
	return servers
}

func (c Config) region() string {
	region, _, found := strings.Cut(c.Zone, "/")
	if !found {
		return ""
	}
	return region
}

func (c Config) zone() string {
	_, zone, found := strings.Cut(c.Zone, "/")
	if !found {
		return c.Zone
	}
	return zone
}

// cacheFile is one file for each service: a restarted process has another
// instance id and must find what its predecessor left.
func (c Config) cacheFile() string {
	if c.StateDir == NoState {
		return ""
	}
	name := c.Service
	if name == "" {
		// Programs without a service have nothing in common but that.
		name = "client-" + filepath.Base(os.Args[0])
	}
	return filepath.Join(c.StateDir, name+".xds")
}

// serverDialOptions are for connections to xdsserver.
func (c Config) serverDialOptions() []grpc.DialOption {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("tulle/" + Version),
	}
	if c.DialContext != nil {
		opts = append(opts, grpc.WithContextDialer(c.DialContext))
	}
	return opts
}

// DialOptions returns what makes a client created by grpc.NewClient, with a
// target of scheme mesh, a member of the mesh. The options may be used for any
// number of clients.
func (m *Mesh) DialOptions() []grpc.DialOption {
	dial := m.config.DialContext
	if dial == nil {
		dial = dialEndpoint
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithResolvers(m.builder),
		grpc.WithChainUnaryInterceptor(m.client.Unary),
		grpc.WithChainStreamInterceptor(m.client.Stream),
		// An idle channel would let go of its configuration, and could not get
		// it back while xdsserver is away.
		grpc.WithIdleTimeout(0),
		// Linkerd's proxy starts at 100 ms too; grpc's own second is long for
		// a process that was restarted in place, and two minutes are for ever.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
	}
}

// ServerOptions returns what makes a server created by grpc.NewServer one for
// the mesh: limits and keepalive that hold against a careless or hostile peer.
// It does not register endpoints; see [Mesh.Register], or use [Mesh.NewServer].
func (m *Mesh) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(1000),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute,
			Time:              30 * time.Second,
			Timeout:           10 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
	}
}
