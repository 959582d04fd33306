package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// ClientService is the service as which a process without one of its own enrols.
const ClientService = "client"

// Config says who a process is to be and how it can prove that.
type Config struct {
	// Service is the canonical name of the service, "voting", or "voting.shop"
	// outside the namespace default. Empty means ClientService.
	Service string
	// Instance tells this process from others of its service, for xdsserver's
	// audit log; may be empty.
	Instance string
	// Servers are the xdsservers to enrol at, in order of preference, each a gRPC
	// target such as "10.0.0.5:18000" or "unix:///run/tulle/xds.sock". With a
	// Token and no server, the token's address is the server.
	Servers []string
	// Dial replaces the network under the connections of enrolment; nil dials TCP
	// and unix sockets. addr is as grpc.WithContextDialer gets it.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Token is a join token, as `xdsserver token create` prints it.
	Token string
	// TokenFile holds a join token. It is read when the token is needed, and need
	// not be there otherwise.
	TokenFile string
	// JWTFile holds an OIDC ID token of an issuer that xdsserver trusts. It is read
	// at each use, since such tokens are replaced often.
	JWTFile string
	// BundleFile holds, as PEM, the roots that xdsserver is verified against before
	// the process has a bundle of its own: a JWT proves the process to xdsserver,
	// but nothing to the process.
	BundleFile string
	// StateFile keeps identity, key and bundle for the next start of the process;
	// its folder is created with mode 0700. Empty keeps nothing.
	StateFile string
	// Provider replaces enrolment, and everything above but Service.
	Provider Provider
	// Logger takes the few messages; nil means slog.Default().
	Logger *slog.Logger
}

// String leaves the token out, so that a Config that is printed by mistake still
// keeps its secret. It is a value's method, for a value printed by mistake.
func (c Config) String() string {
	return fmt.Sprintf("identity of %s from %s", c.Service, strings.Join(c.Servers, ", "))
}

// GoString is String: %#v must not print the token either.
func (c Config) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// withDefaults fills in what was left out and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Service == "" {
		c.Service = ClientService
	}
	if id, err := spiffe.ParseID(spiffe.ServiceID("example.org", c.Service)); err != nil || id.Service != c.Service {
		return c, fmt.Errorf("identity: Config.Service %q is no canonical name of a service, as in voting or voting.shop", c.Service)
	}
	if c.Provider != nil {
		return c, nil
	}
	if c.Token != "" {
		token, err := api.ParseJoinToken(c.Token)
		if err != nil {
			return c, fmt.Errorf("identity: Config.Token: %w", err)
		}
		if len(c.Servers) == 0 {
			c.Servers = []string{token.Address}
		}
	}
	if len(c.Servers) == 0 {
		return c, errors.New("identity: Config.Servers names no xdsserver to enrol at, and there is no Config.Provider")
	}
	return c, nil
}

// service is the name without its namespace, as requests have it.
func (c Config) service() (name, namespace string) {
	name, namespace, found := strings.Cut(c.Service, ".")
	if !found {
		namespace = spiffe.DefaultNamespace
	}
	return name, namespace
}

// joinToken returns the token to enrol with; ok is false where none is configured.
func (c Config) joinToken() (token api.JoinToken, ok bool, err error) {
	text := c.Token
	if text == "" {
		if c.TokenFile == "" {
			return token, false, nil
		}
		if text, err = readSecret(c.TokenFile); err != nil {
			return token, false, fmt.Errorf("token file %w", err)
		}
	}
	token, err = api.ParseJoinToken(text)
	if err != nil && c.Token == "" {
		err = fmt.Errorf("token file %s: %w", c.TokenFile, err)
	}
	return token, err == nil, err
}

// maxSecret bounds a token or JWT, in bytes.
const maxSecret = 16 << 10

// readSecret reads a file that holds one line. Its error begins with the path.
func readSecret(path string) (string, error) {
	b, err := readFile(path, maxSecret)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return text, nil
}

// readFile reads a file of at most limit bytes. Its error begins with the path.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, pathError(path, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s has %d bytes, %d are the most", path, info.Size(), limit)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, pathError(path, err)
	}
	return b, nil
}

// pathError says the path once.
func pathError(path string, err error) error {
	if inner, ok := errors.AsType[*os.PathError](err); ok {
		err = inner.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
