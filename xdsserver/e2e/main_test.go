package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/tulle-mesh/tulle/xdsserver/cli"
)

// roleVariable makes this binary one of the processes under test.
const roleVariable = "TULLE_E2E_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The process must not outlive the test, however that ends: the test holds
	// the other end of standard input.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	var err error
	switch role {
	case "xdsserver":
		os.Exit(cli.Main(ctx, os.Args[1:], cli.IO{In: nil, Out: os.Stdout, Err: os.Stderr}))
	case "echo":
		err = serveEcho(ctx)
	case "caller":
		err = callOnce(ctx)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}
