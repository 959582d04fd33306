package consul

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

const (
	// DefaultPrefix is where the mesh keeps its keys in Consul's KV store.
	DefaultPrefix = "tulle"
	// DefaultConnections is how many queries may wait at one time over HTTP/1.1, where
	// each takes a connection: a Consul agent takes 200 from one address unless it is
	// told otherwise (limits.http_max_conns_per_client), and others need some.
	DefaultConnections = 150
	// overTLS is the same where a connection carries many (HTTP/2).
	overTLS = 10_000
)

// Config says where Consul is and who asks. Its zero value is the agent of this
// machine, without a token.
type Config struct {
	// Address is host:port, http://host:port, https://host:port or unix:///path. Empty
	// means 127.0.0.1:8500.
	Address string
	// TokenFile holds the ACL token, and is read again when it changes: that is how a
	// token is renewed. Token is one that does not change; it excludes TokenFile. Both
	// empty ask as anonymous.
	TokenFile, Token string
	// CAFile verifies Consul, instead of the system's roots; CertFile and KeyFile prove
	// who asks, where Consul wants that; ServerName is in Consul's certificate, where
	// that is not the host of Address. They make http:// of an Address https://.
	CAFile, CertFile, KeyFile, ServerName string
	// Datacenter, Namespace and Partition are those of the agent when empty. The last
	// two exist in Consul Enterprise alone.
	Datacenter, Namespace, Partition string
	// Prefix is what every key of the mesh begins with; empty means DefaultPrefix. Who
	// may write below it decides over the mesh.
	Prefix string
	// Connections is how many queries may wait at one time; zero means
	// DefaultConnections, or as many as there are over https. With more things to watch
	// than that, they take turns, and changes are seen later.
	Connections int
	// ReadOnly refuses every write before it is sent.
	ReadOnly bool
	// Logger takes what an operator should know; nil means slog.Default().
	Logger *slog.Logger
}

// FromEnv returns the Config that Consul's own environment variables describe:
// CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN_FILE, CONSUL_HTTP_TOKEN (the file wins),
// CONSUL_HTTP_SSL, CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY,
// CONSUL_TLS_SERVER_NAME, CONSUL_NAMESPACE and CONSUL_PARTITION. Consul is verified
// whatever CONSUL_HTTP_SSL_VERIFY says.
func FromEnv() Config {
	c := Config{
		Address:    os.Getenv("CONSUL_HTTP_ADDR"),
		TokenFile:  os.Getenv("CONSUL_HTTP_TOKEN_FILE"),
		CAFile:     os.Getenv("CONSUL_CACERT"),
		CertFile:   os.Getenv("CONSUL_CLIENT_CERT"),
		KeyFile:    os.Getenv("CONSUL_CLIENT_KEY"),
		ServerName: os.Getenv("CONSUL_TLS_SERVER_NAME"),
		Namespace:  os.Getenv("CONSUL_NAMESPACE"),
		Partition:  os.Getenv("CONSUL_PARTITION"),
	}
	if c.TokenFile == "" {
		c.Token = os.Getenv("CONSUL_HTTP_TOKEN")
	}
	if secure, _ := strconv.ParseBool(os.Getenv("CONSUL_HTTP_SSL")); secure && !strings.Contains(c.Address, "://") {
		c.Address = "https://" + cmp.Or(c.Address, defaultAddress)
	}
	return c
}

// String leaves the token out, and whatever else an address may hold.
func (c Config) String() string {
	at, err := c.endpoint()
	if err != nil {
		return "consul at an address that is none"
	}
	return "consul at " + at.String()
}

// GoString is String: %#v must not print the token either.
func (c Config) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer], as String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

const defaultAddress = "127.0.0.1:8500"

// An endpoint is Config.Address taken apart.
type endpoint struct {
	scheme string // "http", "https" or "unix"
	host   string // host:port, or the path of a socket
}

func (e endpoint) String() string { return e.scheme + "://" + e.host }

func (c Config) endpoint() (endpoint, error) {
	address := cmp.Or(c.Address, defaultAddress)
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		if path == "" {
			return endpoint{}, fmt.Errorf("consul: address %q names no socket", address)
		}
		return endpoint{"unix", path}, nil
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	const want = "want host:port, https://host:port or unix:///path"
	if strings.Contains(address, "@") {
		return endpoint{}, fmt.Errorf("consul: the address holds a name or password: %s, and a token in a file", want)
	}
	u, err := url.Parse(address)
	if err != nil {
		return endpoint{}, fmt.Errorf("consul: address %.200q cannot be read: %s", c.Address, want)
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host}
	name, port := u.Hostname(), u.Port()
	if u.Scheme != "http" && u.Scheme != "https" || name == "" || strings.ContainsAny(name, "[]") || strings.TrimRight(address, "/") != bare.String() {
		return endpoint{}, fmt.Errorf("consul: address %.200q: %s", c.Address, want)
	}
	scheme := u.Scheme
	if c.CAFile != "" || c.CertFile != "" {
		scheme = "https"
	}
	switch n, err := strconv.ParseUint(port, 10, 16); {
	case port == "" && scheme == "https":
		port = "8501"
	case port == "":
		port = "8500"
	case err != nil || n == 0:
		return endpoint{}, fmt.Errorf("consul: address %.200q: port %.20q: want 1 to 65535", c.Address, port)
	}
	return endpoint{scheme, net.JoinHostPort(name, port)}, nil
}

func (c Config) check() error {
	switch {
	case c.Token != "" && c.TokenFile != "":
		return errors.New("consul: a token and a file with a token: give one")
	case !printable(c.Token):
		return errors.New("consul: the token is none: want one line of text")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("consul: a certificate and its key go together: give both files, or none")
	case c.Connections < 0:
		return fmt.Errorf("consul: %d connections: want 1 or more", c.Connections)
	case strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") || len(c.Prefix) > 200:
		return fmt.Errorf("consul: prefix %.80q: want a name as in %s, without a slash at either end", c.Prefix, DefaultPrefix)
	}
	return nil
}
