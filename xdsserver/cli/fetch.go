package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/mesh/identity"
)

// attemptTick is how often --once looks whether there is an answer.
const attemptTick = 20 * time.Millisecond

func newIdentityFetch() *cobra.Command {
	var service, server, dir, tokenFile, jwtFile, bundleIn string
	var once bool
	cmd := &cobra.Command{
		Use:   "fetch --service NAME --out DIR",
		Short: "Keep certificate, key and roots in files, for programs without this library",
		Long: `fetch joins the mesh as a service and writes what a program without this library
needs to be that service: svid.pem (certificate and intermediates), key.pem (mode
0600) and bundle.pem (the roots of the mesh). It keeps them fresh until it is
stopped: it renews the certificate half-way through its life, and follows rotations
of the roots. Programs read the files again; gRPC's file_watcher does.

It joins over the unix socket of an xdsserver on this machine, with a token, or with
an ID token of an issuer that xdsserver trusts (and the mesh's roots, to know
xdsserver by). It remembers who it is in DIR, so that it needs these only once.`,
		Example: `  xdsserver identity fetch --service reports --out /run/reports/identity
  xdsserver identity fetch --service reports --out identity --token-file token.txt
  xdsserver identity fetch --service reports --out identity --once -o json`,
		Args: noArguments,
	}
	out := addOutput(cmd)
	flags := cmd.Flags()
	flags.StringVar(&service, "service", "", "the service to be, `NAME` or NAME.NAMESPACE (required)")
	flags.StringVar(&dir, "out", "", "`DIR` to write to, made with mode 0700 when missing (required)")
	flags.StringVar(&server, "server", "", "`ADDRESS` of xdsserver's mesh port or unix socket (default: the token's, else unix://"+api.DefaultSocket()+")")
	flags.StringVar(&tokenFile, "token-file", "", "`FILE` with a join token")
	flags.StringVar(&jwtFile, "jwt-file", "", "`FILE` with an ID token; wants --server and --bundle-file")
	flags.StringVar(&bundleIn, "bundle-file", "", "PEM `FILE` with the roots to know xdsserver by, for --jwt-file")
	flags.BoolVar(&once, "once", false, "write the files once and end; one attempt that fails ends it, too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case service == "":
			return errors.New("--service names no service: say whose identity is wanted")
		case dir == "":
			return errors.New("--out names no directory: say where the files go")
		}
		f := &fetcher{dir: dir, logger: newLogger(cmd, slog.LevelInfo)}
		config := identity.Config{
			Service:    service,
			TokenFile:  tokenFile,
			JWTFile:    jwtFile,
			BundleFile: bundleIn,
			StateFile:  filepath.Join(dir, stateFile),
			Logger:     f.logger,
		}
		address, err := fetchFrom(server, tokenFile)
		if err != nil {
			return err
		}
		config.Servers = []string{address}
		if f.source, err = identity.New(config); err != nil {
			return err
		}
		if err := makePrivateDir(dir); err != nil {
			return wrong(err)
		}
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(f.source.ControlCredentials()))
		if err != nil {
			return fmt.Errorf("--server %s: %w", address, err)
		}
		defer conn.Close()
		i, err := f.run(cmd.Context(), conn, once)
		if err != nil {
			return wrong(err)
		}
		if once && out.json() {
			return writeJSON(cmd.OutOrStdout(), fetchedJSON(dir, i))
		}
		if once {
			fmt.Fprintf(cmd.OutOrStdout(), "%s until %s\n", i.URI, i.NotAfter.UTC().Format(time.RFC3339))
		}
		return nil
	}
	return cmd
}

// fetchFrom is where xdsserver is.
func fetchFrom(server, tokenFile string) (string, error) {
	switch {
	case server != "":
		return server, nil
	case tokenFile == "":
		return "unix://" + api.DefaultSocket(), nil
	}
	doc, err := readFile(tokenFile)
	if err != nil {
		return "", err
	}
	token, err := api.ParseJoinToken(doc.yaml)
	if err != nil {
		return "", wrong(fmt.Errorf("%s: %w", tokenFile, err))
	}
	return token.Address, nil
}

// A fetcher keeps the files of an identity as the source has it.
type fetcher struct {
	source *identity.Source
	dir    string
	logger *slog.Logger
}

// run writes the files, until ctx ends or once.
func (f *fetcher) run(ctx context.Context, conn *grpc.ClientConn, once bool) (*identity.Identity, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.source.Run(ctx, conn) })
	var first *identity.Identity
	group.Go(func() error {
		defer stop()
		var err error
		if first, err = f.first(ctx, once); err != nil || once {
			return err
		}
		inner, ctx := errgroup.WithContext(ctx)
		inner.Go(func() error { return f.follow(ctx, first) })
		inner.Go(func() error {
			return followTrust(ctx, conn, first.ID.TrustDomain, f.source.SetTrust, f.logger)
		})
		return inner.Wait()
	})
	return first, group.Wait()
}

// first waits for an identity and writes it. Once, it waits for one attempt only:
// whoever is refused is refused again, and says so to the script that asked.
func (f *fetcher) first(ctx context.Context, once bool) (*identity.Identity, error) {
	var i *identity.Identity
	var err error
	if once {
		i, err = f.attempt(ctx)
	} else {
		i, err = f.source.Wait(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return nil, nil //nolint:nilnil,nilerr // stopped before there was any
	case err != nil:
		return nil, err
	}
	return i, f.write(i)
}

// attempt returns what became of the first attempt to get an identity.
func (f *fetcher) attempt(ctx context.Context) (*identity.Identity, error) {
	tick := time.NewTicker(attemptTick)
	defer tick.Stop()
	for {
		if i := f.source.Current(); i != nil {
			return i, nil
		}
		if err := f.source.Status().Err; err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// fetchTick is how often the source is asked whether there is something new. It
// has one answer ready, and files that are a second late harm nobody.
const fetchTick = time.Second

// follow writes each identity that is not the one before.
func (f *fetcher) follow(ctx context.Context, written *identity.Identity) error {
	tick := time.NewTicker(fetchTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		i := f.source.Current()
		if i == written {
			continue
		}
		if err := f.write(i); err != nil {
			// A full disk may have room again; the old files serve meanwhile.
			f.logger.Error("identity not written, and tried again", "dir", f.dir, "error", err)
			continue
		}
		written = i
	}
}

func (f *fetcher) write(i *identity.Identity) error {
	if err := writeIdentity(f.dir, i); err != nil {
		return err
	}
	f.logger.Info("identity written", "identity", i, "serial", i.Serial(), "dir", f.dir)
	return nil
}

type fetchJSON struct {
	ID          string    `json:"id"`
	Serial      string    `json:"serial"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
	Certificate string    `json:"certificate"`
	Key         string    `json:"key"`
	Bundle      string    `json:"bundle"`
}

func fetchedJSON(dir string, i *identity.Identity) fetchJSON {
	return fetchJSON{
		ID:          i.URI,
		Serial:      i.Serial(),
		NotBefore:   i.NotBefore,
		NotAfter:    i.NotAfter,
		Certificate: filepath.Join(dir, certificateFile),
		Key:         filepath.Join(dir, keyFile),
		Bundle:      filepath.Join(dir, bundleFile),
	}
}
