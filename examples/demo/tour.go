package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

//go:embed mesh.yaml
var config string

// configOverConsul is less: routes and access are Consul's to say.
//
//go:embed mesh-over-consul.yaml
var configOverConsul string

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
	over := flags.String("consul", "", "run two xdsservers over the Consul agent at this `address`; see examples/consul")
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
	if flags.NArg() > 0 || *requests < 0 || *rps <= 0 || *phase < time.Second || (*format != "table" && *format != "json") ||
		(*over != "" && *named != "") {
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

	server, err := startServers(ctx, crew, *over, say)
	if err != nil {
		return err
	}
	say("starting %d instances of web, emoji and voting ...", len(instances))
	stage := newStage(crew, server, instances)
	for name := range stage.instances {
		if err := stage.start(name); err != nil {
			return err
		}
	}
	if err := server.await(ctx, len(instances)); err != nil {
		return err
	}
	t, closeTraffic, err := newTraffic(ctx, server.mesh)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTraffic()) }()
	grid, err := openGrid(stage, t.seen)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, grid.Close()) }()
	dashboard, err := server.dashboard(ctx)
	if err != nil {
		return err
	}
	say("all in the mesh. Look around meanwhile:\n\n    the dashboard                %s\n    each call, and trouble       %s\n\n"+
		"    export TULLE_ADMIN=%s\n    go run ./xdsserver stat\n    go run ./xdsserver tap voting\n    go run ./xdsserver check\n",
		dashboard, grid.url, server.url)
	show := newDisplay(*format, server.url, grid.url, func() []call { return outbound(merge(t.counted.calls(), crew.calls())) })
	show.start()
	t.run(ctx, *requests, *rps)
	// Stopping the crew makes each process report its last counts.
	err = crew.stop()
	show.stop()
	return errors.Join(err, show.result(t.ok.Load(), t.failed.Load()))
}
