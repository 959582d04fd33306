package cli_test

import (
	"bytes"
	"context"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// A screen is what a command wrote to its terminal.
type screen struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return s.text.Write(b)
}

// await waits until the screen has shown a text since the last call.
func (s *screen) await(ctx context.Context, t *testing.T, want string) {
	t.Helper()
	for {
		s.mu.Lock()
		text := s.text.String()
		if _, rest, ok := strings.Cut(text, want); ok {
			s.text.Reset()
			s.text.WriteString(rest)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		select {
		case <-s.wrote:
		case <-ctx.Done():
			t.Fatalf("no %q in %q", want, text)
		}
	}
}

// TestTopInATerminal runs the command in a terminal of script(1), and types.
func TestTopInATerminal(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		t.Skip("there is no script(1)")
	}
	if out, err := exec.Command(script, "--version").CombinedOutput(); err != nil || !strings.Contains(string(out), "util-linux") {
		t.Skip("script(1) is not of util-linux")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := filepath.Join(t.TempDir(), "xdsserver") // by which this binary knows what to be
	if err := os.Symlink(self, command); err != nil {
		t.Fatal(err)
	}
	_, handler := adminv1connect.NewAdminServiceHandler(&fakeServer{graph: &adminv1.GetGraphResponse{Edges: []*adminv1.EdgeStat{
		{Source: "web", Destination: "voting", Calls: &adminv1.Golden{Calls: 70, Rps: 7}},
		{Source: "web", Destination: "emoji\x1b]0;mine\a", Calls: &adminv1.Golden{Calls: 30, Failures: 9, Rps: 3}},
	}}})
	server := httptest.NewServer(handler)
	defer server.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen := &screen{wrote: make(chan struct{}, 1)}
	cmd := exec.CommandContext(ctx, script, "-qfec", "stty cols 120 rows 30; exec "+command+" top", os.DevNull)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "TULLE_ADMIN="+server.URL, "SHELL=/bin/sh")
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = seen, seen, time.Second
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	typed := func(text string) {
		t.Helper()
		if _, err := io.WriteString(keys, text); err != nil {
			t.Fatal(err)
		}
	}
	seen.await(ctx, t, "by rps")
	seen.await(ctx, t, "voting")
	seen.await(ctx, t, "emoji?]0;mine?")
	typed("f")
	seen.await(ctx, t, "failures")
	typed("?")
	seen.await(ctx, t, "sort by p99")
	typed("q")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
