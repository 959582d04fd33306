// Package plane runs an xdsserver for a benchmark, as an operator would: the program, its
// command line and its admin API.
package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tulle-mesh/tulle/bench/proc"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// A Plane is a running xdsserver. Who starts it closes it.
type Plane struct {
	*proc.Process

	program, dir, admin string
	api                 adminv1connect.AdminServiceClient
	args                []string
}

// Start builds xdsserver into dir, and starts it with flags beside those that say where it
// listens and keeps its data.
func Start(ctx context.Context, dir string, flags ...string) (*Plane, error) {
	program, err := proc.Build(ctx, dir, "./xdsserver", "-tags", "grpcnotrace")
	if err != nil {
		return nil, err
	}
	// A socket's path has 107 characters at most.
	sockets, err := os.MkdirTemp("", "tulle-")
	if err != nil {
		return nil, err
	}
	listen, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	admin, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	p := &Plane{
		program: program, dir: sockets, admin: "http://" + admin,
		api: adminv1connect.NewAdminServiceClient(http.DefaultClient, "http://"+admin),
		args: append([]string{
			"serve", "--data", filepath.Join(sockets, "data"), "--listen", listen, "--socket", filepath.Join(sockets, "xds.sock"), "--http", admin,
		}, flags...),
	}
	if err := p.Restart(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// Restart starts it again, on its ports and data; it must have been closed or killed.
func (p *Plane) Restart(ctx context.Context) (err error) {
	if p.Process, err = proc.Start("xdsserver", p.program, p.args); err != nil {
		return err
	}
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		status, err := p.api.GetStatus(ctx, &adminv1.GetStatusRequest{})
		if err == nil && status.GetSnapshot() != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("xdsserver does not answer: %w; it said: %s", ctx.Err(), p.Said())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// API is what an operator can ask of it.
func (p *Plane) API() adminv1connect.AdminServiceClient { return p.api }

// Target is how processes of this machine join, as in TULLE_SERVER.
func (p *Plane) Target() string { return "unix://" + filepath.Join(p.dir, "xds.sock") }

// Apply applies YAML.
func (p *Plane) Apply(ctx context.Context, yaml string) error {
	answer, err := p.api.Apply(ctx, &adminv1.ApplyRequest{Manifests: []*adminv1.Manifest{{Origin: "bench", Yaml: yaml}}})
	if err != nil {
		return err
	}
	for _, problem := range answer.GetProblems() {
		if !problem.GetWarning() {
			return fmt.Errorf("xdsserver refuses: %v", problem)
		}
	}
	return nil
}

func (p *Plane) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, p.program, args...) //nolint:gosec // the one that Start built
}

// Identity fetches an identity of a service into a directory, which it returns: svid.pem,
// key.pem and bundle.pem.
func (p *Plane) Identity(ctx context.Context, service string) (dir string, err error) {
	dir = filepath.Join(p.dir, "identity-"+service)
	out, err := p.command(ctx, "identity", "fetch", "--service", service, "--out", dir, "--server", p.Target(), "--once").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("identity fetch: %w: %s", err, out)
	}
	return dir, nil
}

// Bootstrap writes the bootstrap file for gRPC's own xDS and returns its path.
func (p *Plane) Bootstrap(ctx context.Context, service, identity string) (path string, err error) {
	out, err := p.command(ctx, "bootstrap", "--admin", p.admin, "--service", service, "--identity-dir", identity).Output()
	if err != nil {
		return "", fmt.Errorf("bootstrap: %w: %s", err, out)
	}
	if !json.Valid(out) {
		return "", fmt.Errorf("bootstrap is no JSON: %s", out)
	}
	path = filepath.Join(p.dir, "bootstrap-"+service+".json")
	return path, os.WriteFile(path, out, 0o600)
}

// Close ends it and removes its data.
func (p *Plane) Close() error {
	if p.Process != nil {
		p.Kill()
	}
	return os.RemoveAll(p.dir)
}
