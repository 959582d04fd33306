package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tulle-mesh/tulle/xdsserver/daemon"
)

func newServe() *cobra.Command {
	var c daemon.Config
	var level string
	cmd := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Run the server",
		Long: `serve runs the control plane until it is interrupted. It starts from nothing: an
empty data directory and no configuration make a mesh in which every service
that joins can be called.

Until connections are mutual TLS it listens on loopback addresses and a unix
socket only.`,
		Example: `  xdsserver serve --data ./data
  xdsserver serve --data /var/lib/tulle --config /etc/tulle --socket /run/tulle/xds.sock`,
		Args: noArguments,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Data, "data", "", "`DIR` that keeps what is applied (required)")
	flags.StringVar(&c.Path, "config", "", "configuration file, or directory of .yaml files, at `PATH`; read again when it changes")
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:18000", "`HOST:PORT` of the mesh: xDS and registration")
	flags.StringVar(&c.Socket, "socket", "", "`PATH` of a unix socket that serves the same to processes of this user")
	flags.StringVar(&c.HTTP, "http", "127.0.0.1:18080", "`HOST:PORT` of the admin API")
	flags.StringVar(&level, "log", "info", "log `LEVEL`: debug, info, warn, error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var threshold slog.Level
		if err := threshold.UnmarshalText([]byte(level)); err != nil {
			return fmt.Errorf("--log %q is no level, want debug, info, warn or error", level)
		}
		c.Logger = newLogger(cmd, threshold)
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
