// Command demo is the tour of the mesh in one command: it starts xdsserver and
// a small voting application as separate processes, sends traffic through them,
// and shows who calls whom.
//
//	go run ./examples/demo
//	go run ./examples/demo --requests 1000 -o json
//	go run ./examples/demo --scenario slow-pod
//
// One binary plays every role, so that there is nothing to install: it runs
// itself again for each process.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tulle-mesh/tulle/xdsserver/cli"
)

// roleVariable tells a process which part it plays; without it, it is the tour.
const roleVariable = "TULLE_DEMO_ROLE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx))
}

func run(ctx context.Context) int {
	role := os.Getenv(roleVariable)
	if role != "" {
		var cancel context.CancelFunc
		ctx, cancel = withParent(ctx)
		defer cancel()
	}
	var err error
	switch role {
	case "":
		err = tour(ctx, os.Args[1:])
	case "xdsserver":
		return cli.Main(ctx, os.Args[1:], cli.Stdio())
	case "web":
		err = serveWeb(ctx)
	case "emoji":
		err = serveEmoji(ctx)
	case "voting":
		err = serveVoting(ctx)
	default:
		err = fmt.Errorf("unknown role %q in %s", role, roleVariable)
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	return 1
}

// withParent ends the context when the tour is gone, however it went: a part
// reads the pipe that the tour holds open as its standard input, and takes its orders
// from there.
func withParent(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the process
		orders := bufio.NewScanner(os.Stdin)
		for orders.Scan() {
			if err := obey(orders.Text()); err != nil {
				fmt.Fprintln(os.Stderr, "demo:", err)
			}
		}
		cancel()
	}()
	return ctx, cancel
}
