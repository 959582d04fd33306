package daemon

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

// TapMode is what operators may watch of calls, see admin.TapMode.
type TapMode = admin.TapMode

// Config is what xdsserver is started with.
type Config struct {
	// Listen is the mesh port's host:port. Empty means 127.0.0.1:18000. One that other
	// machines reach wants a way for them to join in Enrol or OIDC.
	Listen string
	// Advertise is the host:port by which other machines reach the mesh port, for
	// join tokens and xdsserver's own certificate. Empty means Listen, or this
	// machine's addresses when it listens on all of them.
	Advertise string
	// Socket is a unix socket that serves the same to processes of this user and
	// root, in a directory that only this user can write to; one that is missing is
	// made with mode 0700. The admin API is beside it, in admin.sock. Empty means
	// api.DefaultSocket(), NoSocket none.
	Socket string
	// HTTP is the host:port of the dashboard and, for processes of this user and root, of
	// the admin API. Empty means 127.0.0.1:18080. On one that other machines reach it is
	// the dashboard's alone, over TLS; the API is then on its socket.
	HTTP string
	// HTTPCert and HTTPKey are files in PEM with the certificate chain and the key of an
	// HTTP that other machines reach, read again when they change. Empty means a
	// certificate of the authority, which no browser knows.
	HTTPCert, HTTPKey string
	// Data is the directory of the store, of the authority (ca/) and of the audit
	// log (audit.log). Required.
	Data string
	// Path is a configuration file or a directory of them; empty means none.
	Path string

	// TrustDomain is the first part of every identity. Empty means
	// DefaultTrustDomain. A built-in authority keeps the one it was made with.
	TrustDomain string
	// Enrol is how processes join: "socket", "token", both with a comma between, or
	// "none". Empty means "socket,token".
	Enrol string
	// OIDC are the issuers whose ID tokens attest processes, each as
	// "issuer=https://...,audience=...,identity=ns/{namespace}/svc/{claim}".
	OIDC []string
	// CA is who signs: "built-in", "files:DIR" with tls.crt, tls.key and ca.crt,
	// "workload-api[:ADDRESS]", or "consul" for the authority of the Consul that Consul
	// names, whose trust domain the mesh adopts. Empty means "built-in".
	CA string
	// CAPassphraseFile holds the passphrase of the built-in authority's keys; empty
	// keeps them in the clear, protected by the modes of their files.
	CAPassphraseFile string
	// LeafTTL, IntermediateTTL and RootTTL are how long certificates of the
	// built-in authority are valid; zero means 24 hours, 30 days and 10 years. LeafTTL
	// is also that of an authority in files.
	LeafTTL, IntermediateTTL, RootTTL time.Duration

	// Consul is where services are known, and, unless it is read-only, where what is
	// applied is kept, for any number of xdsservers; nil for neither.
	Consul *consul.Config
	// ConsulTag keeps to instances in Consul that have it; empty takes all.
	ConsulTag string
	// ConsulGRPC is the host:port where a Consul server speaks gRPC, by which its authority
	// signs; empty is Consul's host at the usual port.
	ConsulGRPC string

	// Tap is what operators may watch of calls: "off", "metadata", or "payload" for
	// messages, too. Empty means "metadata".
	Tap TapMode
	// MetricsListen is a host:port that serves /metrics to Prometheus in plain HTTP, to
	// whoever asks: it says which services there are, and who calls whom. Empty is none.
	MetricsListen string
	// Forward is a collector that gets what processes report, as grpc://host:4317 or
	// grpcs://host:4317. Empty is the one that OTEL_EXPORTER_OTLP_ENDPOINT names, if any.
	Forward string
	// Logger is for the operator; nil means slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&c.Listen, "127.0.0.1:18000"},
		{&c.HTTP, "127.0.0.1:18080"},
		{&c.Socket, api.DefaultSocket()},
		{&c.TrustDomain, DefaultTrustDomain},
		{&c.Enrol, enrolSocket + "," + enrolToken},
		{&c.CA, caBuiltIn},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	c.Tap = cmp.Or(c.Tap, admin.TapMetadata)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// check refuses what cannot work before anything is opened. Its error is a
// *ConfigError.
func (c Config) check() (enrolment, error) {
	if c.Data == "" {
		return enrolment{}, &ConfigError{Flag: "--data", Reason: "names no directory: give it one, what is applied is kept there"}
	}
	switch c.Tap {
	case admin.TapOff, admin.TapMetadata, admin.TapPayload:
	default:
		return enrolment{}, &ConfigError{Flag: "--tap", Reason: fmt.Sprintf("%q: want off, metadata or payload", c.Tap)}
	}
	ways, err := parseEnrol(c)
	if err != nil {
		return enrolment{}, err
	}
	if c.Advertise != "" {
		if _, err := isLoopback("--advertise", c.Advertise); err != nil {
			return enrolment{}, err
		}
	}
	if err := c.checkPage(); err != nil {
		return enrolment{}, err
	}
	for _, ttl := range []struct {
		flag  string
		value time.Duration
	}{{"--leaf-ttl", c.LeafTTL}, {"--intermediate-ttl", c.IntermediateTTL}, {"--root-ttl", c.RootTTL}} {
		if ttl.value < 0 {
			return enrolment{}, &ConfigError{Flag: ttl.flag, Reason: fmt.Sprintf("%v: want more than nothing, for example 24h", ttl.value)}
		}
	}
	return ways, ways.admits(c)
}
