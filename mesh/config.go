package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/resolver"
)

// DefaultServer is where an xdsserver of this user listens unless told otherwise:
// a unix socket, over which processes of this machine join by the kernel's word.
// It depends on the environment; see api.DefaultSocket.
func DefaultServer() string { return "unix://" + api.DefaultSocket() }

// NoState as [Config.StateDir] keeps nothing on disk.
const NoState = "off"

// Config is what a process says of itself when it joins. Its zero value joins
// the xdsserver of this machine as a client only.
type Config struct {
	// Service is the process's own service, "name" or "name.namespace". Empty
	// makes a client only: it may call others, as the service "client", and
	// registers nothing.
	Service string
	// Server lists xdsservers, separated by commas, each a gRPC target such as
	// "10.0.0.5:18000" or "unix:///run/tulle/xds.sock". Each process draws its own
	// order, so that processes spread over them, keeps to the first that answers, and
	// returns to an earlier one when that is back; sockets, being of this machine, come
	// before others. Empty means the address in the token, and DefaultServer without one.
	Server string
	// Token lets the process join from another machine, once: a line that
	// `xdsserver token create` prints. It is a secret.
	Token string
	// TokenFile holds a token, which is read when it is needed: a process that has
	// joined before and kept StateDir needs none.
	TokenFile string
	// JWTFile holds an OIDC token by which the process may join; it is read at
	// each use.
	JWTFile string
	// BundleFile holds, as PEM, the roots that xdsserver is verified against by a
	// process that joins by a JWT; a token brings its own way to do that.
	BundleFile string
	// IdentityDir is a folder that another program keeps fresh: svid.pem, key.pem
	// and bundle.pem. It replaces joining.
	IdentityDir string
	// Identity is where identities come from instead of from xdsserver, such as
	// package mesh/identity/workload; nil for xdsserver.
	Identity identity.Provider
	// Version is the label routes may choose endpoints by; may be empty.
	Version string
	// Zone is the place the process runs in, "zone" or "region/zone"; may be empty.
	Zone string
	// Advertise is the host:port that others dial, where it differs from the
	// listener's own address; host may not be a wildcard.
	Advertise string
	// StateDir keeps the last good configuration, and the process's identity with
	// its key, for a start without xdsserver and without a token. Empty means the
	// directory tulle in os.UserCacheDir; NoState keeps nothing.
	StateDir string
	// Instance tells this process from others of its service, also after a
	// reconnect. Empty means a random one, new with each Join: right unless the
	// platform has a name for the process that outlives it.
	Instance string
	// Logger takes the mesh's few messages; nil means slog.Default().
	Logger *slog.Logger
	// TracerProvider makes the spans of calls; nil is the one that
	// otel.SetTracerProvider installed, or installs later. Where there is none, and
	// with a noop.TracerProvider, traces that come in are handed on and that is all.
	TracerProvider trace.TracerProvider
	// DialContext replaces the network under every connection of the mesh, to
	// xdsserver and to endpoints; nil dials TCP and unix sockets. addr is as
	// grpc.WithContextDialer gets it.
	DialContext func(ctx context.Context, addr string) (net.Conn, error)
}

// FromEnv returns the Config that the environment describes:
//
//	TULLE_SERVICE       Service
//	TULLE_SERVER        Server
//	TULLE_TOKEN_FILE    TokenFile
//	TULLE_JWT_FILE      JWTFile
//	TULLE_BUNDLE_FILE   BundleFile
//	TULLE_IDENTITY_DIR  IdentityDir
//	TULLE_VERSION       Version
//	TULLE_ZONE          Zone
//	TULLE_ADVERTISE     Advertise
//	TULLE_STATE_DIR     StateDir
//	TULLE_INSTANCE      Instance
//
// A token itself is not among them: an environment is inherited and shown.
func FromEnv() Config {
	return Config{
		Service:     os.Getenv("TULLE_SERVICE"),
		Server:      os.Getenv("TULLE_SERVER"),
		TokenFile:   os.Getenv("TULLE_TOKEN_FILE"),
		JWTFile:     os.Getenv("TULLE_JWT_FILE"),
		BundleFile:  os.Getenv("TULLE_BUNDLE_FILE"),
		IdentityDir: os.Getenv("TULLE_IDENTITY_DIR"),
		Version:     os.Getenv("TULLE_VERSION"),
		Zone:        os.Getenv("TULLE_ZONE"),
		Advertise:   os.Getenv("TULLE_ADVERTISE"),
		StateDir:    os.Getenv("TULLE_STATE_DIR"),
		Instance:    os.Getenv("TULLE_INSTANCE"),
	}
}

// String leaves the token out, so that a Config that is printed by mistake keeps
// its secret.
func (c Config) String() string {
	return fmt.Sprintf("member %q of the mesh of %q", c.Service, c.Server)
}

// GoString is String: %#v must not print the token either.
func (c Config) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer], as String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// withDefaults fills in what was left out and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Server == "" {
		server, err := c.defaultServer()
		if err != nil {
			return c, err
		}
		c.Server = server
	}
	if len(c.servers()) == 0 {
		return c, fmt.Errorf("mesh: Config.Server (TULLE_SERVER) %q names no server, want for example %q", c.Server, DefaultServer())
	}
	c.Server = strings.Join(drawn(c.servers()), ",")
	if c.Identity != nil && c.IdentityDir != "" {
		return c, fmt.Errorf("mesh: Config.IdentityDir (TULLE_IDENTITY_DIR) %q stands beside Config.Identity: choose one", c.IdentityDir)
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

// defaultServer is the server of a Config that names none: a token knows it.
func (c Config) defaultServer() (string, error) {
	text, from := c.Token, "Config.Token"
	if text == "" && c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return "", fmt.Errorf("mesh: Config.TokenFile (TULLE_TOKEN_FILE): %w: it says where xdsserver is; "+
				"set Config.Server (TULLE_SERVER) where it may be gone", err)
		}
		text, from = string(b), "Config.TokenFile (TULLE_TOKEN_FILE) "+c.TokenFile
	}
	if text == "" {
		return DefaultServer(), nil
	}
	token, err := api.ParseJoinToken(text)
	if err != nil {
		return "", fmt.Errorf("mesh: %s: %w", from, err)
	}
	return token.Address, nil
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

// drawn is an order of servers: those of this machine first, and among equals by lot.
func drawn(servers []string) []string {
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	slices.SortStableFunc(servers, func(a, b string) int {
		switch local := strings.HasPrefix(a, "unix:"); {
		case local == strings.HasPrefix(b, "unix:"):
			return 0
		case local:
			return -1
		default:
			return 1
		}
	})
	return servers
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

// service is who the process is in the mesh.
func (c Config) service() string {
	if c.Service == "" {
		return identity.ClientService
	}
	return c.Service
}

// cacheFile is one file for each service: a restarted process has another
// instance id and must find what its predecessor left.
func (c Config) cacheFile() string { return c.stateFile(".xds") }

// identityFile is where identity and key are kept.
func (c Config) identityFile() string { return c.stateFile(".identity") }

func (c Config) stateFile(kind string) string {
	if c.StateDir == NoState {
		return ""
	}
	name := c.Service
	if name == "" {
		// Programs without a service have nothing in common but that.
		name = "client-" + filepath.Base(os.Args[0])
	}
	return filepath.Join(c.StateDir, name+kind)
}

// identity says who the process is to be and how it can prove that.
func (c Config) identity(instance string) identity.Config {
	provider := c.Identity
	if provider == nil && c.IdentityDir != "" {
		provider = identity.NewFiles(c.IdentityDir, c.Logger)
	}
	return identity.Config{
		Service:    c.Service,
		Instance:   instance,
		Servers:    c.servers(),
		Dial:       c.DialContext,
		Token:      c.Token,
		TokenFile:  c.TokenFile,
		JWTFile:    c.JWTFile,
		BundleFile: c.BundleFile,
		StateFile:  c.identityFile(),
		Provider:   provider,
		Logger:     c.Logger,
	}
}
