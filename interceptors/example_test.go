package interceptors_test

import (
	"context"
	"fmt"
	"log/slog"

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
	client := interceptors.NewClient(interceptors.ClientConfig{Configs: always{&resource.Config{
		Service:  "voting",
		Listener: &resource.Listener{FaultFilter: true},
		VirtualHost: &resource.VirtualHost{Routes: []*resource.Route{{
			Clusters:    []resource.WeightedCluster{{Name: "voting", Weight: 1}},
			TotalWeight: 1,
			Fault:       &resource.Fault{AbortPerMillion: 1_000_000, AbortCode: codes.Unavailable},
		}}},
	}}})

	// grpc calls the interceptor, given by grpc.WithUnaryInterceptor(client.Unary).
	invoker := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }
	err := client.Unary(context.Background(), "/voting.v1.Voting/Vote", nil, nil, nil, invoker)
	fmt.Println(call.AsError(err).Reason)
	fmt.Println(err)
	// Output:
	// FAULT_INJECTED
	// mesh: a fault rule of "voting" ended the call with Unavailable on purpose; try: xdsserver routes voting
}

// fixed is a Policies that never changes. In a mesh it is a *resolver.Inbound.
type fixed struct{ in *resource.Inbound }

func (f fixed) Current() *resource.Inbound { return f.in }
func (fixed) Changed() <-chan struct{}     { return nil }
func (fixed) Wait(context.Context) error   { return nil }

// A server without a rule that allows a call denies it, and says so.
func ExampleNewServer() {
	server := interceptors.NewServer(interceptors.ServerConfig{
		Service:  "voting",
		Policies: fixed{&resource.Inbound{Listener: &resource.Listener{Server: &resource.Server{}}}},
		Logger:   slog.New(slog.DiscardHandler),
	})

	// grpc calls the interceptor, given by grpc.ChainUnaryInterceptor(server.Unary),
	// with a context that knows the connection: here there is none.
	handler := func(context.Context, any) (any, error) { return "done", nil }
	_, err := server.Unary(context.Background(), nil, &grpc.UnaryServerInfo{FullMethod: "/voting.v1.Voting/Vote"}, handler)
	fmt.Println(call.AsError(err).Reason)
	// Output:
	// NO_IDENTITY
}
