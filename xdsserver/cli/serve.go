package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/xdsserver/daemon"
)

func newServe() *cobra.Command {
	var c daemon.Config
	var over consulFlags
	var level, taps string
	cmd := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Run the server",
		Long: `serve runs the control plane until it is interrupted. It starts from nothing: an
empty data directory and no configuration make a mesh in which every service
that joins can be called.

Every connection is mutual TLS, by certificates of an authority that it makes at
its first start. Processes of the same user on this machine join over the unix
socket, with nothing to configure; those elsewhere with a token ('xdsserver token
create'), or with an ID token of an OIDC issuer.`,
		Example: `  xdsserver serve --data ./data

  # for other machines too
  xdsserver serve --data /var/lib/tulle --config /etc/tulle --listen 0.0.0.0:18000

  # over Consul, one of several
  xdsserver serve --data /var/lib/tulle --listen 0.0.0.0:18000 --consul 127.0.0.1:8500

  # jobs of a CI system join by what it says of them
  xdsserver serve --data ./data --oidc issuer=https://ci.test,audience=tulle,identity=ns/ci/svc/{project}`,
		Args: noArguments,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Data, "data", "", "`DIR` that keeps what is applied (required)")
	flags.StringVar(&c.Path, "config", "", "configuration file, or directory of .yaml files, at `PATH`; read again when it changes")
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:18000", "`HOST:PORT` of the mesh: xDS and registration")
	flags.StringVar(&c.Advertise, "advertise", "", "`HOST:PORT` by which other machines reach the mesh port (default: what --listen says)")
	flags.StringVar(&c.Socket, "socket", "",
		"`PATH` of a unix socket for processes of this user, the admin API's beside it; none for none (default: "+api.DefaultSocket()+")")
	flags.StringVar(&c.HTTP, "http", "127.0.0.1:18080",
		"`HOST:PORT` of the admin API and the dashboard; of the dashboard alone, over TLS, where other machines reach it")
	flags.StringVar(&c.HTTPCert, "http-cert", "",
		"certificate of the dashboard for other machines, a PEM `FILE` (default: one of the authority, which no browser knows)")
	flags.StringVar(&c.HTTPKey, "http-key", "", "key of --http-cert, a PEM `FILE`")
	flags.StringVar(&c.TrustDomain, "trust-domain", "", "`NAME` that every identity begins with (default: "+daemon.DefaultTrustDomain+")")
	flags.StringVar(&c.Enrol, "enrol", "", "how processes join: `WAYS` is socket, token, both with a comma between, or none (default: socket,token)")
	flags.StringArrayVar(&c.OIDC, "oidc", nil, "`ISSUER` whose ID tokens attest processes: issuer=URL,audience=NAME,identity=TEMPLATE; may be repeated")
	flags.StringVar(&c.CA, "ca", "",
		"who signs: `AUTHORITY` is built-in, files:DIR (tls.crt, tls.key, ca.crt), workload-api[:ADDRESS] or consul (default: built-in)")
	flags.StringVar(&c.CAPassphraseFile, "ca-passphrase-file", "", "`FILE` with the passphrase of the built-in authority's keys")
	flags.DurationVar(&c.LeafTTL, "leaf-ttl", 0,
		"how long a process's certificate lasts, and the mesh at least half of that without an xdsserver, a `DURATION` (default: 24h)")
	flags.DurationVar(&c.IntermediateTTL, "intermediate-ttl", 0, "how long an intermediate lasts, a `DURATION` (default: 720h)")
	flags.DurationVar(&c.RootTTL, "root-ttl", 0, "how long a root lasts, a `DURATION` (default: 87600h)")
	flags.StringVar(&taps, "tap", "metadata", "what operators may watch of calls: `MODE` is off, metadata, or payload for messages, too")
	flags.StringVar(&c.MetricsListen, "metrics-listen", "", "`HOST:PORT` that serves /metrics to Prometheus, without a password (default: none)")
	flags.StringVar(&c.Forward, "otlp-forward", "",
		"`COLLECTOR` that gets what processes report: grpc://HOST:4317, or grpcs:// for TLS (default: $OTEL_EXPORTER_OTLP_ENDPOINT)")
	over.add(cmd, &c)
	flags.StringVar(&level, "log", "info", "log `LEVEL`: debug, info, warn, error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var threshold slog.Level
		if err := threshold.UnmarshalText([]byte(level)); err != nil {
			return fmt.Errorf("--log %q is no level, want debug, info, warn or error", level)
		}
		c.Logger, c.Tap, c.Consul = newLogger(cmd, threshold), daemon.TapMode(taps), over.config()
		saveMemory()
		d, err := daemon.New(c)
		if _, misused := errors.AsType[*daemon.ConfigError](err); misused {
			return err
		}
		if err != nil {
			return wrong(err)
		}
		return wrong(d.Run(cmd.Context()))
	}
	return cmd
}

// newLogger writes text for people and JSON for programs.
func newLogger(cmd *cobra.Command, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	w := cmd.ErrOrStderr()
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// gcPercent is how much garbage may be beside what is in use, in percent of that. A server
// that holds an hour of metrics and thousands of connections has little to do: memory is
// what it is short of.
const gcPercent = 10

func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
