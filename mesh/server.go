package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// A Server is a grpc.Server whose endpoints are in the mesh while it serves. It
// is made by [NewServer] or [Mesh.NewServer]; its methods are those of
// grpc.Server, and like them safe for concurrent use.
type Server struct {
	// Immutable after construction.
	mesh   *Mesh
	grpc   *grpc.Server
	health *health.Server
	err    error // why nothing can be served

	mu            sync.Mutex // never held while waiting
	foreignHealth bool       // the application registered a health service of its own
	notServing    bool
	stopping      bool
	registrations []*Registration
}

var _ grpc.ServiceRegistrar = (*Server)(nil)

// NewServer returns a server of the process's own service. opts come after the
// mesh's own. The gRPC health service is registered by itself, unless the
// application registers one.
func (m *Mesh) NewServer(opts ...grpc.ServerOption) *Server {
	return &Server{
		mesh:   m,
		grpc:   grpc.NewServer(append(m.serverOptions(), opts...)...),
		health: health.NewServer(),
	}
}

// RegisterService registers a service, as grpc.Server does: before Serve, from
// generated code.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if desc.ServiceName == healthpb.Health_ServiceDesc.ServiceName {
		s.mu.Lock()
		s.foreignHealth = true
		s.mu.Unlock()
	}
	s.registerService(desc, impl)
}

// registerService registers a service whose calls are decided on, however its
// description was written.
func (s *Server) registerService(desc *grpc.ServiceDesc, impl any) {
	if s.mesh != nil {
		desc = s.mesh.inbound().server.Guard(desc)
	}
	s.grpc.RegisterService(desc, impl)
}

// GetServiceInfo returns the registered services, for reflection.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo { return s.grpc.GetServiceInfo() }

// SetServingStatus sets the status of one gRPC service, or of the whole server
// where service is empty, for the gRPC health protocol. The whole server's
// status is reported to xdsserver: while it is not SERVING no client is sent
// here. It is SERVING until told otherwise.
func (s *Server) SetServingStatus(service string, status healthpb.HealthCheckResponse_ServingStatus) {
	if s.health == nil {
		return
	}
	s.health.SetServingStatus(service, status)
	if service != "" {
		return
	}
	s.mu.Lock()
	s.notServing = status != healthpb.HealthCheckResponse_SERVING
	serving, registrations := !s.notServing, s.registrations
	s.mu.Unlock()
	for _, r := range registrations {
		r.SetServing(serving)
	}
}

// Serve registers the listener's address as an endpoint of the process's
// service, serves until the server is stopped or lis fails, and deregisters. It
// may be called for several listeners.
//
// A listener on a wildcard address needs Config.Advertise. The endpoint takes calls
// from when xdsserver has said whom to allow, now or before a restart.
func (s *Server) Serve(lis net.Listener) error {
	if s.err != nil {
		lis.Close()
		return s.err
	}
	registration, err := s.register(lis)
	if err != nil {
		lis.Close()
		return err
	}
	defer registration.Close()
	return s.grpc.Serve(lis)
}

func (s *Server) register(lis net.Listener) (*Registration, error) {
	address, err := s.mesh.config.advertised(lis.Addr())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, grpc.ErrServerStopped
	}
	if !s.foreignHealth {
		s.foreignHealth = true // once
		s.registerService(&healthpb.Health_ServiceDesc, s.health)
	}
	registration, err := s.mesh.Register(address)
	if err != nil {
		return nil, err
	}
	if s.notServing {
		registration.SetServing(false)
	}
	s.registrations = append(s.registrations, registration)
	return registration, nil
}

// GracefulStop drains: it deregisters, waits until clients have let go (bounded
// to 10 seconds), then stops as grpc.Server does, when the last call has ended.
func (s *Server) GracefulStop() {
	var leaving sync.WaitGroup
	for _, r := range s.stop() {
		leaving.Go(func() {
			if err := r.Leave(context.Background()); err != nil && !errors.Is(err, context.Canceled) {
				s.mesh.logger.Warn("stopping although clients may still call", "error", err)
			}
		})
	}
	leaving.Wait()
	if s.health != nil {
		s.health.Shutdown()
	}
	s.grpc.GracefulStop()
}

// Stop deregisters and stops at once; calls in progress fail.
func (s *Server) Stop() {
	for _, r := range s.stop() {
		r.Close()
	}
	s.grpc.Stop()
}

func (s *Server) stop() []*Registration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	return s.registrations
}

// advertised is the address that clients dial for a listener.
func (c Config) advertised(addr net.Addr) (string, error) {
	if c.Advertise != "" {
		return c.Advertise, nil
	}
	if err := checkAdvertise(addr.String()); err != nil {
		return "", fmt.Errorf("mesh: listener %s has no address for clients: set Config.Advertise or TULLE_ADVERTISE to an IP and port", addr)
	}
	return addr.String(), nil
}
