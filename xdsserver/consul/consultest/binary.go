// Package consultest runs real Consul agents for tests, on loopback addresses of their
// own: one server, or a cluster of three, which can be killed and started again.
//
//	agent := consultest.Start(t)                  // one server, ready
//	servers := consultest.Cluster(t, 3)           // three, with a leader
//	client := agent.Client(t)                     // Consul's own client
//	servers[0].Kill(t); servers[0].Restart(t)
//
// The binary is built from the Go module proxy by `make bin/consul` where it is not
// there, which takes some minutes once.
package consultest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildWithin bounds the build; it takes five minutes on two cores.
const buildWithin = 20 * time.Minute

var build = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..", "..")
	binary := filepath.Join(root, "bin", "consul")
	if err := os.MkdirAll(filepath.Dir(binary), 0o750); err != nil {
		return "", err
	}
	// Test binaries of other packages may be at it, too.
	lock, err := os.OpenFile(binary+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildWithin)
	defer cancel()
	args := []string{"-C", filepath.Join(root, ".ci", "consul"), "build", "-o", binary, "github.com/hashicorp/consul"}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // paths of this repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
})

// Binary returns the path of Consul's binary. Where it cannot be built, the test fails
// in CI, and is skipped elsewhere: who is offline may want the other tests.
func Binary(tb testing.TB) string {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs a Consul agent, which -short leaves out")
	}
	path, err := build()
	if err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatalf("consul cannot be built: %v", err)
		}
		tb.Skipf("consul cannot be built: %v", err)
	}
	return path
}
