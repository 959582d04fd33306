package xdsclient_test

import (
	"context"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/xdsclient"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// A process follows one cluster until ctx ends.
func ExampleNew() {
	const clusterType = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	client, err := xdsclient.New(xdsclient.Config{
		Servers:     []string{"127.0.0.1:18000", "127.0.0.1:18001"},
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
		Node:        &xdsv3.Node{Id: "web/1", Cluster: "web"},
		Types: []xdsclient.Type{{
			URL: clusterType,
			Decode: func(value []byte) (string, any, error) {
				c := &clusterv3.Cluster{}
				err := proto.Unmarshal(value, c)
				return c.GetName(), c, err
			},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return client.Run(ctx) })

	changed := make(chan struct{}, 1)
	voting := client.Subscribe(clusterType, "voting", func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	fmt.Println("known at once:", voting.State().Known)
	// for range changed { use(voting.State()) }
	voting.Close()

	cancel()
	fmt.Println("ended with:", group.Wait())
	// Output:
	// known at once: false
	// ended with: <nil>
}
