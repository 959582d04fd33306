package mesh

import (
	"context"
	"sync"

	"google.golang.org/grpc"
)

// process is the mesh of the package-level functions. It is the one global of
// the library: two changed lines leave no room to hand a Mesh around.
var process = sync.OnceValues(func() (*Mesh, error) {
	return Join(context.Background(), FromEnv())
})

// Default returns the mesh that the environment describes (see [FromEnv]), joined
// at the first use and never closed. Its error is final for the process.
func Default() (*Mesh, error) { return process() }

// NewClient is [Mesh.NewClient] of the default mesh.
func NewClient(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	m, err := Default()
	if err != nil {
		return nil, err
	}
	return m.NewClient(target, opts...)
}

// Dial is [NewClient] under the name that grpc.Dial had, for those coming from it.
func Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return NewClient(target, opts...)
}

// NewServer is [Mesh.NewServer] of the default mesh. When the process cannot
// join, [Server.Serve] returns the reason.
func NewServer(opts ...grpc.ServerOption) *Server {
	m, err := Default()
	if err != nil {
		return &Server{grpc: grpc.NewServer(opts...), err: err}
	}
	return m.NewServer(opts...)
}
