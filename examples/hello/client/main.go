// Command client asks for a greeting. It is the gRPC client everybody knows,
// with one line changed: mesh.NewClient stands where grpc.NewClient stood.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/tulle-mesh/tulle/examples/hello/hellov1"
	"github.com/tulle-mesh/tulle/mesh"
)

func main() {
	conn, err := mesh.NewClient("mesh:///greeter")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := hellov1.NewGreeterServiceClient(conn)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answer, err := client.Greet(ctx, &hellov1.GreetRequest{Name: "mesh"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s (from %s)\n", answer.GetGreeting(), answer.GetInstance())
}
