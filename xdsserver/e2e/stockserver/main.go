// Command stockserver is a gRPC server as anybody could write it: it imports
// grpc-go and its xDS support, and nothing of this project. It answers every
// unary method with a text, as a control plane's Listener and RBAC allow.
//
//	GRPC_XDS_BOOTSTRAP=bootstrap.json stockserver 127.0.0.1:8080 /pkg.Service/Method answer
//
// It prints a line when it serves, and ends by itself after five minutes.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	address, method, answer := os.Args[1], os.Args[2], os.Args[3]
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		log.Fatal(err)
	}
	srv, err := xds.NewGRPCServer(grpc.Creds(creds), xds.ServingModeCallback(func(_ net.Addr, args xds.ServingModeChangeArgs) {
		if args.Mode == connectivity.ServingModeServing {
			fmt.Println("serving")
		} else {
			log.Print("not serving: ", args.Err)
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: name, Handler: func(
			_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor,
		) (any, error) {
			var req wrapperspb.StringValue
			if err := decode(&req); err != nil {
				return nil, err
			}
			reply := func(context.Context, any) (any, error) { return wrapperspb.String(answer), nil }
			if intercept == nil {
				return reply(ctx, &req)
			}
			return intercept(ctx, &req, &grpc.UnaryServerInfo{FullMethod: method}, reply)
		}}},
	}, struct{}{})
	lis, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	time.AfterFunc(5*time.Minute, srv.Stop)
	if err := srv.Serve(lis); err != nil {
		log.Fatal(err)
	}
}
