package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

//go:embed mesh.yaml
var config []byte

// errUsage is a command line that makes no sense; what is wrong has been said.
var errUsage = errors.New("usage")

// startWithin bounds the time until every process is in the mesh.
const startWithin = 20 * time.Second

// instances are the processes of the application.
var instances = []instance{
	{"emoji", "", "north"},
	{"emoji", "", "south"},
	{"voting", "v1", "north"},
	{"voting", "v1", "south"},
	{"voting", "v2", "south"},
	{"web", "", "north"},
	{"web", "", "south"},
}

// tour runs the whole demo.
func tour(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	requests := flags.Int("requests", 0, "stop after this many requests; 0 runs until stopped")
	rps := flags.Float64("rps", 100, "requests a second")
	format := flags.String("o", "table", "output: table, json")
	named := flags.String("scenario", "", "play trouble, before and after the mesh heals it; see below")
	phase := flags.Duration("phase", 8*time.Second, "how long each phase of a scenario takes")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Usage: go run ./examples/demo [flags]\n\nStarts xdsserver and a voting application, and shows who calls whom.")
		flags.PrintDefaults()
		fmt.Fprintf(flags.Output(), "\nScenarios:\n%s", listScenarios())
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() > 0 || *requests < 0 || *rps <= 0 || *phase < time.Second || (*format != "table" && *format != "json") {
		flags.Usage()
		return errUsage
	}

	if *named != "" {
		s, err := scenarioOf(*named)
		if err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			return errUsage
		}
		return playScenario(ctx, s, *rps, *phase, *format)
	}
	crew, done, err := newCrew()
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

	say("starting xdsserver ...")
	server, admin, err := startServer(ctx, crew, config)
	if err != nil {
		return err
	}
	say("starting %d instances of web, emoji and voting ...", len(instances))
	for i, in := range instances {
		name := fmt.Sprintf("%s-%d", in.service, i)
		if err := crew.start(name, in.service, nil,
			"TULLE_SERVICE="+in.service, "TULLE_VERSION="+in.version, "TULLE_ZONE="+in.zone,
			"TULLE_INSTANCE="+name, "TULLE_SERVER="+server, "TULLE_STATE_DIR="+filepath.Join(crew.dir, "state")); err != nil {
			return err
		}
	}
	if err := awaitEndpoints(ctx, crew, admin, len(instances)); err != nil {
		return err
	}
	say("all in the mesh. Look around meanwhile:\n\n    export TULLE_ADMIN=%s\n    go run ./xdsserver endpoints voting\n    go run ./xdsserver check\n", admin)

	t, closeTraffic, err := newTraffic(ctx, server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTraffic()) }()
	show := newDisplay(*format, admin, func() []call { return outbound(merge(t.counted.calls(), crew.calls())) })
	show.start()
	t.run(ctx, *requests, *rps)
	// Stopping the crew makes each process report its last counts.
	err = crew.stop()
	show.stop()
	return errors.Join(err, show.result(t.ok.Load(), t.failed.Load()))
}

// startServer starts xdsserver and waits until it answers.
func startServer(ctx context.Context, crew *crew, config []byte) (server, admin string, err error) {
	file := filepath.Join(crew.dir, "mesh.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return "", "", err
	}
	meshPort, err := freePort()
	if err != nil {
		return "", "", err
	}
	adminPort, err := freePort()
	if err != nil {
		return "", "", err
	}
	// Over its socket the kernel says whose the processes are: none needs a token.
	socket := filepath.Join(crew.dir, "xds.sock")
	server, admin = "unix://"+socket, "http://"+adminPort
	err = crew.start("xdsserver", "xdsserver", []string{
		"serve", "--config", file, "--data", filepath.Join(crew.dir, "data"),
		"--socket", socket, "--listen", meshPort, "--http", adminPort,
	})
	if err != nil {
		return "", "", err
	}
	client := adminv1connect.NewAdminServiceClient(http.DefaultClient, admin)
	return server, admin, await(ctx, crew, "xdsserver does not answer", func(ctx context.Context) bool {
		_, err := client.GetStatus(ctx, &adminv1.GetStatusRequest{})
		return err == nil
	})
}

// freePort returns a loopback address that nobody listens on now.
func freePort() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer lis.Close()
	return lis.Addr().String(), nil
}

// awaitEndpoints waits until every instance has registered.
func awaitEndpoints(ctx context.Context, crew *crew, admin string, n int) error {
	client := adminv1connect.NewAdminServiceClient(http.DefaultClient, admin)
	return await(ctx, crew, "not every instance has joined the mesh", func(ctx context.Context) bool {
		answer, err := client.ListEndpoints(ctx, &adminv1.ListEndpointsRequest{})
		return err == nil && len(answer.GetEndpoints()) == n
	})
}

// await polls until ready says so, a process has ended, or time is up.
func await(ctx context.Context, crew *crew, what string, ready func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ready(ctx) {
		select {
		case <-tick.C:
		case name := <-crew.ended:
			return fmt.Errorf("%s ended by itself", name)
		case <-ctx.Done():
			return fmt.Errorf("%s after %v", what, startWithin)
		}
	}
	return nil
}
