package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tulle-mesh/tulle/mesh"
)

// A client of a service of the mesh is a *grpc.ClientConn; generated code takes
// it unchanged.
func ExampleNewClient() {
	conn, err := mesh.NewClient("mesh:///voting")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)

	_, err = client.Check(context.Background(), &healthpb.HealthCheckRequest{})
	var ours *mesh.Error
	switch {
	case errors.As(err, &ours):
		log.Println("the mesh ended the call:", ours.Reason, err)
	case err != nil:
		log.Println("the service answered:", err)
	}
}

// One call may ask for other than its route says.
func ExampleWithRetry() {
	conn, err := mesh.NewClient("mesh:///voting")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	// To ask for its health twice does no harm.
	_, err = healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{},
		mesh.WithRetry(mesh.Retry{Attempts: 3, Idempotent: true}), mesh.NoHedge())
	log.Println(err)
}

// A server registers its endpoint while it serves, and leaves the mesh before it
// stops.
func ExampleNewServer() {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := mesh.NewServer()
	// votingpb.RegisterVotingServer(srv, impl)
	go func() { log.Println(srv.Serve(lis)) }()

	srv.GracefulStop()
}

// A handler knows who calls, by what the caller's certificate proved. Whether the
// caller may was decided before.
func ExamplePeerFromContext() {
	handler := func(ctx context.Context) string {
		caller, ok := mesh.PeerFromContext(ctx)
		if !ok {
			return "a caller without an identity, which only a permissive server lets in"
		}
		return "a call of " + caller.Service + ", who is " + caller.ID
	}
	fmt.Println(handler(context.Background()))
	// Output: a caller without an identity, which only a permissive server lets in
}

// Several meshes, or none of the environment's.
func ExampleJoin() {
	m, err := mesh.Join(context.Background(), mesh.Config{
		Service: "web",
		Server:  "unix:///run/tulle/xds.sock",
		Zone:    "eu/north",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	// Your own constructors stay.
	conn, err := grpc.NewClient("mesh:///voting", m.DialOptions()...)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if s := m.Status(); s.Stale {
		log.Println("calls follow a configuration that nobody confirms since", s.StaleSince)
	}
}
