package daemon_test

import (
	"context"
	"log"
	"os"
	"os/signal"

	"github.com/tulle-mesh/tulle/xdsserver/daemon"
)

func ExampleNew() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	d, err := daemon.New(daemon.Config{Data: "./data", Path: "/etc/tulle"})
	if err != nil {
		log.Fatal(err)
	}
	if err := d.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
