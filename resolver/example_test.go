package resolver_test

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	_ "github.com/tulle-mesh/tulle/balancer" // the policy that connections are told to use
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
	"github.com/tulle-mesh/tulle/resolver"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// One client and one builder serve all connections of a process.
func ExampleNewBuilder() {
	client, err := xdsclient.New(xdsclient.Config{
		Servers:     []string{"unix:///run/tulle/xds.sock"},
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
		Node:        &xdsv3.Node{Id: "web/1", Cluster: "web"},
		Types:       resolver.Types,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	builder := resolver.NewBuilder(resolver.Config{Client: client})

	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return client.Run(ctx) })
	group.Go(func() error { return builder.Run(ctx) })
	defer func() {
		cancel()
		_ = group.Wait()
	}()

	conn, err := grpc.NewClient("mesh:///voting",
		grpc.WithResolvers(builder),
		grpc.WithNoProxy(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println(conn.CanonicalTarget())
	// Output: mesh:///voting
}

// What a service's own servers enforce, as soon as xdsserver has said it.
func ExampleNewInbound() {
	client, err := xdsclient.New(xdsclient.Config{
		Servers:     []string{"127.0.0.1:1"}, // nobody is there
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
		Node:        &xdsv3.Node{Id: "voting/1", Cluster: "voting"},
		Types:       resolver.Types,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	inbound := resolver.NewInbound(client, "voting", nil)
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return inbound.Run(ctx) })
	defer func() {
		cancel()
		_ = group.Wait()
	}()

	fmt.Println("allows nothing yet:", inbound.Current().Access("/voting.v1.Voting/Vote") == nil)
	// Output: allows nothing yet: true
}

// A service has one canonical name, whatever an application calls it.
func ExampleServiceName() {
	for _, name := range []string{"voting", "voting.default", "voting.shop", "Voting"} {
		service, err := resolver.ServiceName(name)
		fmt.Println(service, err)
	}
	// Output:
	// voting <nil>
	// voting <nil>
	// voting.shop <nil>
	//  service "Voting": name may hold only a-z, 0-9 and '-', not 'V'
}
