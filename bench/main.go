// Command bench measures what the mesh costs, beside plain grpc-go, grpc-go's own xDS and
// sidecars, in one run:
//
//	go run ./bench                everything, under five minutes
//	go run ./bench --quick        the main figures, under a minute
//	go run ./bench data           one part; also control and life
//	go run ./bench check          the main figures against bench/budgets.json
//
// Everything runs on loopback and ends by itself.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tulle-mesh/tulle/bench/control"
)

func main() {
	// The control plane is measured from outside: its server is this program again.
	if len(os.Args) > 1 && os.Args[1] == control.Role {
		if err := control.Child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}
