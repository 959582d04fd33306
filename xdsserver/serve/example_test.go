package serve_test

import (
	"fmt"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

func Example() {
	srv := serve.New(serve.Config{})
	defer srv.Close()

	g := grpc.NewServer(srv.ServerOptions()...)
	srv.Register(g)
	defer g.Stop() // after g.Serve(listener), which the caller runs

	srv.Publish(&snapshot.Snapshot{Generations: map[string]uint64{"file": 1}})
	fmt.Println(len(srv.Ledger().Streams), "clients")
	// Output: 0 clients
}
