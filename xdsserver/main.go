// Command xdsserver is the control plane of the mesh, and its command line; see
// package cli for what it does.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tulle-mesh/tulle/xdsserver/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], cli.Stdio())
	stop()
	os.Exit(code)
}
