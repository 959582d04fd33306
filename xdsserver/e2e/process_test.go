package e2e

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	"github.com/tulle-mesh/tulle/xdsserver/cli"
)

// A process is one that the test started.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	stderr lockedBuffer
}

// start runs this binary in a role; it is killed when the test ends.
func start(t *testing.T, role string, args []string, env ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe, args...)}
	// With -race a process would wait a second before it ends.
	p.cmd.Env = append(append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0"), env...)
	p.cmd.Stderr = &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", role, p.stderr.String())
		}
	})
	return p
}

// line reads the next line of the process's output.
func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("process said nothing: %v; %s", err, p.stderr.String())
	}
	return strings.TrimSpace(line)
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// stop ends the process with SIGTERM and checks that it ended well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 0 {
		t.Fatalf("process did not stop well: exit code %d; %s", code, p.stderr.String())
	}
}

// wait returns the exit code of a process that ends by itself; -1 when it had to
// be killed.
func (p *process) wait() int {
	timer := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait() // the code says it
	return p.cmd.ProcessState.ExitCode()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A server is an xdsserver process and how to reach it.
type server struct {
	*process
	data, mesh, admin string
	socket            string
	flags             []string // beside those for the four above
	api               adminv1connect.AdminServiceClient
}

func freePort(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// startServer starts an xdsserver on ports and a directory of its own.
func startServer(t *testing.T, flags ...string) *server {
	t.Helper()
	s := newServer(t, filepath.Join(t.TempDir(), "data"), flags...)
	s.restart(t)
	return s
}

// newServer is an xdsserver that is yet to start, by restart.
func newServer(t *testing.T, data string, flags ...string) *server {
	t.Helper()
	// A socket's path has 107 characters at most, and a test's directory its name.
	dir, err := os.MkdirTemp("", "tulle-") //nolint:usetesting // for that reason
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{data: data, mesh: freePort(t), admin: freePort(t), socket: filepath.Join(dir, "xds.sock"), flags: flags}
	s.api = adminv1connect.NewAdminServiceClient(http.DefaultClient, "http://"+s.admin)
	return s
}

// restart starts the server again on its ports and directory.
func (s *server) restart(t *testing.T) {
	t.Helper()
	s.process = start(t, "xdsserver", s.args())
	eventually(t, 20*time.Second, "xdsserver answers", func(ctx context.Context) bool {
		status, err := s.api.GetStatus(ctx, &adminv1.GetStatusRequest{})
		return err == nil && status.GetSnapshot() != ""
	})
}

func (s *server) args() []string {
	return append([]string{"serve", "--data", s.data, "--listen", s.mesh, "--socket", s.socket, "--http", s.admin}, s.flags...)
}

// target is how processes of this machine reach the server, and enrol with it.
func (s *server) target() string { return "unix://" + s.socket }

// run runs a command against the server, as an operator would, and returns its
// exit code and all it printed.
func (s *server) run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out lockedBuffer
	code := cli.Main(t.Context(), append(args, "--admin", "http://"+s.admin), cli.IO{In: strings.NewReader(""), Out: &out, Err: &out})
	return code, out.String()
}

// apply applies YAML and returns once every client has it.
func (s *server) apply(t *testing.T, yaml string) {
	t.Helper()
	answer, err := s.api.Apply(t.Context(), &adminv1.ApplyRequest{Manifests: []*adminv1.Manifest{{Origin: t.Name(), Yaml: yaml}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range answer.GetProblems() {
		t.Fatal(p)
	}
	for _, r := range answer.GetResults() {
		if r.GetAction() == adminv1.Action_ACTION_REFUSED {
			t.Fatal(r)
		}
	}
}

// echo starts an instance of a service and returns it with its address.
func (s *server) echo(t *testing.T, service, version string, env ...string) (*process, string) {
	t.Helper()
	p := start(t, "echo", nil, append([]string{
		"TULLE_SERVICE=" + service, "TULLE_VERSION=" + version, "TULLE_SERVER=" + s.target(), "TULLE_STATE_DIR=" + t.TempDir(),
	}, env...)...)
	return p, p.line(t)
}

// endpoints returns the addresses that clients are sent for a service.
func (s *server) endpoints(ctx context.Context, service string) map[string]string {
	out := map[string]string{}
	answer, err := s.api.ListEndpoints(ctx, &adminv1.ListEndpointsRequest{Service: service})
	if err != nil {
		return out
	}
	for _, e := range answer.GetEndpoints() {
		out[e.GetAddresses()[0]] = e.GetState()
	}
	return out
}

// awaitEndpoints waits until a service has n healthy endpoints.
func (s *server) awaitEndpoints(t *testing.T, service string, n int) {
	t.Helper()
	eventually(t, 15*time.Second, service+" has its endpoints", func(ctx context.Context) bool {
		healthy := 0
		for _, state := range s.endpoints(ctx, service) {
			if state == "healthy" {
				healthy++
			}
		}
		return healthy == n
	})
}

// join makes the test's own process a member.
func (s *server) join(t *testing.T, config mesh.Config) *mesh.Mesh {
	t.Helper()
	config.Service = "tester"
	return s.joinAs(t, config)
}

// joinAs is join as the service that the configuration names.
func (s *server) joinAs(t *testing.T, config mesh.Config) *mesh.Mesh {
	t.Helper()
	if config.Server == "" {
		config.Server = s.target()
	}
	if config.StateDir == "" {
		config.StateDir = mesh.NoState
	}
	m, err := mesh.Join(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func dial(t *testing.T, m *mesh.Mesh, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := m.NewClient(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// eventually polls until what is so, and returns how long that took.
func eventually(t *testing.T, within time.Duration, what string, so func(context.Context) bool) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not so after %v: %s", within, what)
		}
	}
	return time.Since(began)
}
