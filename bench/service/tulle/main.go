// Command tulle is the benchmark's service as a member of the mesh, with every default on.
// The environment says which one (see mesh.FromEnv).
package main

import (
	"context"
	"net"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/bench/service"
	"github.com/tulle-mesh/tulle/mesh"
)

func main() {
	service.Main(service.Door{Serve: serve, Dial: func(target string) (*grpc.ClientConn, error) { return mesh.NewClient(target) }})
}

// serve has each service join for itself: a process that stands for ten of them is ten
// members.
func serve(name string, lis net.Listener, register func(grpc.ServiceRegistrar)) (stop func(), err error) {
	c := mesh.FromEnv()
	c.Service = name
	m, err := mesh.Join(context.Background(), c)
	if err != nil {
		return nil, err
	}
	s := m.NewServer()
	register(s)
	return service.Background(func() error { return s.Serve(lis) }, s.Stop), nil
}
