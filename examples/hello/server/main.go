// Command server greets. It is the gRPC server everybody knows, with one line
// changed: mesh.NewServer stands where grpc.NewServer stood.
package main

import (
	"context"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/tulle-mesh/tulle/examples/hello/hellov1"
	"github.com/tulle-mesh/tulle/mesh"
)

type greeter struct {
	hellov1.UnimplementedGreeterServiceServer
	instance string
}

func (g *greeter) Greet(_ context.Context, req *hellov1.GreetRequest) (*hellov1.GreetResponse, error) {
	return &hellov1.GreetResponse{Greeting: "Hello, " + req.GetName() + "!", Instance: g.instance}, nil
}

func main() {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := mesh.NewServer()
	hellov1.RegisterGreeterServiceServer(srv, &greeter{instance: lis.Addr().String()})

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, srv.GracefulStop)
	log.Println("greeting at", lis.Addr())
	if err := srv.Serve(lis); err != nil {
		log.Fatal(err)
	}
}
