package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// A server is the demo's xdsserver, which may be killed and started again.
type server struct {
	crew  *crew
	name  string // of the process
	args  []string
	mesh  string // the address that instances join at
	url   string // of the admin API
	admin adminv1connect.AdminServiceClient
}

// startServers starts one xdsserver or, over a Consul, two that instances may join alike.
// It returns the first.
func startServers(ctx context.Context, crew *crew, consul string, say func(format string, args ...any)) (*server, error) {
	if consul == "" {
		say("starting xdsserver ...")
		return startServer(ctx, crew, config)
	}
	say("starting two xdsservers over Consul at %s ...", consul)
	first, err := newServer(crew, "xdsserver", "--consul", consul)
	if err != nil {
		return nil, err
	}
	second, err := newServer(crew, "xdsserver-2", "--consul", consul)
	if err != nil {
		return nil, err
	}
	for _, s := range []*server{first, second} {
		if err := s.start(ctx); err != nil {
			return nil, err
		}
	}
	first.mesh += "," + second.mesh
	return first, first.apply(ctx, "demo", configOverConsul, 0)
}

// startServer starts xdsserver, waits until it answers, and applies a configuration.
// That is applied and not read from a file, so that everybody may change it.
func startServer(ctx context.Context, crew *crew, config string) (*server, error) {
	s, err := newServer(crew, "xdsserver")
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, s.apply(ctx, "demo", config, 0)
}

// newServer is an xdsserver that is yet to start, on ports and a directory of its own.
func newServer(crew *crew, name string, flags ...string) (*server, error) {
	meshPort, err := freePort()
	if err != nil {
		return nil, err
	}
	adminPort, err := freePort()
	if err != nil {
		return nil, err
	}
	// Over its socket the kernel says whose the processes are: none needs a token.
	dir := filepath.Join(crew.dir, name)
	socket := filepath.Join(dir, "xds.sock")
	return &server{
		crew: crew,
		name: name,
		args: append([]string{
			"serve", "--data", filepath.Join(dir, "data"),
			"--socket", socket, "--listen", meshPort, "--http", adminPort,
		}, flags...),
		mesh:  "unix://" + socket,
		url:   "http://" + adminPort,
		admin: adminv1connect.NewAdminServiceClient(http.DefaultClient, "http://"+adminPort),
	}, nil
}

func (s *server) start(ctx context.Context) error {
	if err := s.crew.start(s.name, "xdsserver", s.args); err != nil {
		return err
	}
	return await(ctx, s.crew, "xdsserver does not answer", func(ctx context.Context) bool {
		_, err := s.admin.GetStatus(ctx, &adminv1.GetStatusRequest{})
		return err == nil
	})
}

// apply applies YAML, and waits as long for the processes to follow it.
func (s *server) apply(ctx context.Context, origin, yaml string, wait time.Duration) error {
	answer, err := s.admin.Apply(ctx, &adminv1.ApplyRequest{
		Manifests: []*adminv1.Manifest{{Origin: origin, Yaml: yaml}},
		Wait:      durationpb.New(wait),
	})
	if err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	problems := answer.GetProblems()
	for _, r := range answer.GetResults() {
		problems = append(problems, r.GetProblems()...)
	}
	for _, problem := range problems {
		if !problem.GetWarning() {
			return fmt.Errorf("apply: %s", problem.GetMessage())
		}
	}
	return nil
}

// await waits until n instances take calls. One that has registered does not before it
// knows its access policy: web would find nobody to call.
func (s *server) await(ctx context.Context, n int) error {
	return await(ctx, s.crew, "not every instance has joined the mesh", func(ctx context.Context) bool {
		answer, err := s.admin.ListEndpoints(ctx, &adminv1.ListEndpointsRequest{})
		healthy := 0
		for _, e := range answer.GetEndpoints() {
			if e.GetState() == "healthy" {
				healthy++
			}
		}
		return err == nil && healthy == n
	})
}

// dashboard returns an address that opens the dashboard, once.
func (s *server) dashboard(ctx context.Context) (string, error) {
	answer, err := s.admin.CreateLogin(ctx, &adminv1.CreateLoginRequest{})
	if err != nil {
		return "", fmt.Errorf("open the dashboard: %w", err)
	}
	return answer.GetUrl(), nil
}

// freePort returns a loopback address that nobody listens on now.
func freePort() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer lis.Close()
	return lis.Addr().String(), nil
}

// await polls until ready says so, a process has ended, or time is up.
func await(ctx context.Context, crew *crew, what string, ready func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ready(ctx) {
		select {
		case <-tick.C:
		case name := <-crew.ended:
			return fmt.Errorf("%s ended by itself", name)
		case <-ctx.Done():
			return fmt.Errorf("%s after %v", what, startWithin)
		}
	}
	return nil
}
