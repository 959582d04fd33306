package interceptors_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// always is a Configs of one service. In a mesh it is a *resolver.Builder.
type always struct{ config *resource.Config }

func (a always) Config(context.Context, *grpc.ClientConn) (*resource.Config, error) {
	return a.config, nil
}

// A fault rule of the operator ends every call, and the error says so.
func ExampleNewClient() {
	client := interceptors.NewClient(always{&resource.Config{
		Service:  "voting",
		Listener: &resource.Listener{FaultFilter: true},
		VirtualHost: &resource.VirtualHost{Routes: []*resource.Route{{
			Clusters:    []resource.WeightedCluster{{Name: "voting", Weight: 1}},
			TotalWeight: 1,
			Fault:       &resource.Fault{AbortPerMillion: 1_000_000, AbortCode: codes.Unavailable},
		}}},
	}})

	// grpc calls the interceptor, given by grpc.WithUnaryInterceptor(client.Unary).
	invoker := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }
	err := client.Unary(context.Background(), "/voting.v1.Voting/Vote", nil, nil, nil, invoker)
	fmt.Println(call.AsError(err).Reason)
	fmt.Println(err)
	// Output:
	// FAULT_INJECTED
	// mesh: a fault rule of "voting" ended the call with Unavailable on purpose; try: xdsserver get routes
}
