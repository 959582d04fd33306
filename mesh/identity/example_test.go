package identity_test

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/identity"
)

// A process of the host that xdsserver runs on needs nothing but its name.
func ExampleNew() {
	const server = "unix:///run/tulle/xds.sock"
	run := func(ctx context.Context) error {
		source, err := identity.New(identity.Config{Service: "voting", Servers: []string{server}})
		if err != nil {
			return err
		}
		conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(source.ControlCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return source.Run(ctx, conn) })
		group.Go(func() error {
			own, err := source.Wait(ctx)
			if err != nil {
				return err // says why there is none
			}
			fmt.Println("this process is", own.URI)
			return serve(ctx, grpc.NewServer(grpc.Creds(source.ServerCredentials(nil))))
		})
		return group.Wait()
	}
	_ = run
}

func serve(context.Context, *grpc.Server) error { return nil }

// cert-manager, Vault's agent or `xdsserver identity fetch` keep the files fresh.
func ExampleNewFiles() {
	_, err := identity.New(identity.Config{Service: "voting", Provider: identity.NewFiles("/run/identity", nil)})
	fmt.Println(err)
	// Output: <nil>
}

// A handler knows who calls.
func ExamplePeerFromContext() {
	handler := func(ctx context.Context) string {
		caller, ok := identity.PeerFromContext(ctx)
		if !ok {
			return "somebody"
		}
		return caller.Service
	}
	fmt.Println(handler(context.Background()))
	// Output: somebody
}
