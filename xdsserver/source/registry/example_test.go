package registry_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/source/registry"
)

func ExampleNew() {
	r := registry.New(registry.Config{})
	server := grpc.NewServer()
	registryv1.RegisterRegistryServiceServer(server, r)

	ctx, cancel := context.WithCancel(context.Background())
	err := r.Run(ctx, func(o source.Output) {
		fmt.Println("generation", o.Generation, "with", len(o.Endpoints), "endpoints")
		cancel()
	})
	fmt.Println(err)
	// Output:
	// generation 1 with 0 endpoints
	// <nil>
}
