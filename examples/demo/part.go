package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh"
)

const (
	// versionHeader tells the caller which version answered, for the table.
	versionHeader = "demo-version"
	// byHeader tells which instance did, with its version and zone, and voterHeader
	// what voting's said to web: for the grid.
	byHeader    = "demo-by"
	voterHeader = "demo-voter"
)

// reportEvery is how often a part tells the tour what it has counted.
const reportEvery = 250 * time.Millisecond

// serve runs one instance of a service until ctx ends. The mesh is in two of its
// lines: mesh.NewServer here, mesh.NewClient in web.
func serve(ctx context.Context, counted *tally, register func(grpc.ServiceRegistrar)) error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := mesh.NewServer(grpc.ChainUnaryInterceptor(sayWho, moody(counted)))
	register(srv)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		<-ctx.Done()
		srv.GracefulStop()
		counted.report(os.Stdout)
	})
	if counted != nil {
		wait.Go(func() { counted.reportUntil(ctx) })
	}
	err = srv.Serve(lis)
	cancel()
	return err
}

func sayWho(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	version := os.Getenv("TULLE_VERSION")
	_ = grpc.SetHeader(ctx, metadata.Pairs(versionHeader, version,
		byHeader, os.Getenv("TULLE_INSTANCE")+" "+version+" "+os.Getenv("TULLE_ZONE")))
	return handle(ctx, req)
}

func (t *tally) reportUntil(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.report(os.Stdout)
		}
	}
}

// report writes everything counted so far as one line: state, not a delta.
func (t *tally) report(w *os.File) {
	if t != nil {
		_ = json.NewEncoder(w).Encode(t.calls()) //nolint:errchkjson // the tour is gone when it cannot be told
	}
}
