package consul

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	connectTimeout = 5 * time.Second
	// callTimeout bounds a request that does not wait for a change.
	callTimeout = 15 * time.Second
	// quiet is when a connection that says nothing is probed: Consul may be gone
	// without a word while a query waits.
	quiet = 10 * time.Second
)

// A Client is one connection to Consul, for all who use it. It is safe for concurrent
// use.
type Client struct {
	// Immutable after New.
	config   Config
	endpoint endpoint
	api      *api.Client
	http     *transport
	tokens   *tokens
	logger   *slog.Logger

	slots chan struct{} // the queries that may wait at one time

	// mu guards how many want to wait. While they are more than the slots, calm has
	// ended: it is the context of those who wait for long.
	mu       sync.Mutex
	watching int
	calm     context.Context //nolint:containedctx // see above
	crowded  context.CancelFunc
	warned   bool
}

// New returns a Client that has connected to nobody yet. The error names the setting
// that cannot work.
func New(c Config) (*Client, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	at, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	c.Prefix = cmp.Or(c.Prefix, DefaultPrefix)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Connections == 0 {
		if c.Connections = DefaultConnections; at.scheme == "https" {
			c.Connections = overTLS
		}
	}
	through := &transport{tokens: &tokens{fixed: c.Token, file: c.TokenFile, logger: c.Logger}, most: maxAnswer, certificate: c.CertFile}
	secure, err := c.tls(func() { through.unproven.Store(true) })
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: quiet, Interval: quiet / 2, Count: 3}}
	pool := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if at.scheme == "unix" {
				network, address = "unix", at.host
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:     secure,
		TLSHandshakeTimeout: connectTimeout,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: quiet, PingTimeout: quiet},
		MaxIdleConnsPerHost: c.Connections,
		IdleConnTimeout:     90 * time.Second,
	}
	host, scheme := at.host, at.scheme
	if scheme == "unix" {
		host, scheme = "consul", "http"
	}
	through.next = pool
	if at.scheme == "https" {
		through.turn = make(chan struct{}, 1)
	}
	client, err := api.NewClient(&api.Config{
		Address:    host,
		Scheme:     scheme,
		Datacenter: c.Datacenter,
		Namespace:  c.Namespace,
		Partition:  c.Partition,
		// The transport has the token. Without one here, the one of the environment is
		// read, whose file may not be there.
		Token:      "of the transport",
		HttpClient: &http.Client{Transport: through},
	})
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	calm, crowded := context.WithCancel(context.Background())
	return &Client{
		config: c, endpoint: at, api: client, http: through, tokens: through.tokens, logger: c.Logger,
		slots: make(chan struct{}, c.Connections), calm: calm, crowded: crowded,
	}, nil
}

// API is Consul's own client, with this one's token, TLS and limits. Writes go through
// the methods of Client, which a read-only one refuses.
func (c *Client) API() *api.Client { return c.api }

// String leaves the token out, as that of Config does.
func (c *Client) String() string { return c.config.String() }

// GoString is String.
func (c *Client) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer], as String.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Address is where Consul is, for people.
func (c *Client) Address() string { return c.endpoint.String() }

// ReadOnly reports whether writes are refused.
func (c *Client) ReadOnly() bool { return c.config.ReadOnly }

// Close lets go of idle connections. Who follows something ends by its context.
func (c *Client) Close() error {
	c.http.next.CloseIdleConnections()
	return nil
}

// Query is for a request that does not wait: it sees every write that was acknowledged
// before.
func (c *Client) Query(ctx context.Context) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx), cancel
}

// Write is for a request that writes. The error is [ErrReadOnly] where none may.
func (c *Client) Write(ctx context.Context) (*api.WriteOptions, context.CancelFunc, error) {
	if c.config.ReadOnly {
		return nil, nil, ErrReadOnly
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	return (&api.WriteOptions{}).WithContext(ctx), cancel, nil
}
