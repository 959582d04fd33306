package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh"
)

// smallDisk mounts a file system of that size in bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs a small disk of its own, and may not mount one: %v; run it as root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes what is left of a disk, and returns the file that holds it.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return f.Name()
}

// A full disk under xdsserver and under a service refuses changes with an error
// that says where and what to do. Calls, reads and what services say of
// themselves go on, and space is all it takes to go on as before.
func TestFullDiskRefusesChangesAndServesOn(t *testing.T) {
	disk := smallDisk(t, "1m")
	s := newServer(t, filepath.Join(disk, "data"))
	s.restart(t)
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 1)
	s.apply(t, onlyVersion("v1"))
	conn := dial(t, s.join(t, mesh.Config{StateDir: filepath.Join(disk, "state")}), "mesh:///voting")
	if version, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil || version != "v1" {
		t.Fatalf("%q, %v, want v1", version, err)
	}

	load := startLoad(t, conn, 200)
	ballast := fill(t, disk)
	change := filepath.Join(t.TempDir(), "change.yaml")
	// More than the database has room for already.
	if err := os.WriteFile(change, []byte(onlyVersion("v2")+services(500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		code, out := s.run(t, "apply", "-f", change)
		if code != 1 || !containsAll(out, s.data, "no space left on device", "nothing was applied; free some space") || strings.Count(out, "\n") != 1 {
			t.Fatalf("apply: exit code %d, want 1 and one line with where and why:\n%s", code, out)
		}
	}
	if code, out := s.run(t, "get", "route", "voting-version", "-o", "yaml"); code != 0 || !strings.Contains(out, "version: v1") {
		t.Errorf("get: exit code %d, want the last good form:\n%s", code, out)
	}
	// What services say of themselves is not stored before it is believed.
	_, fresh := s.echo(t, "voting", "v1")
	eventually(t, 15*time.Second, "a new endpoint takes calls", func(ctx context.Context) bool {
		for range 5 { // one alone may be in step with the load, and always miss it
			if _, address, err := where(ctx, conn); err == nil && address == fresh {
				return true
			}
		}
		return false
	})

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	_, _ = s.echo(t, "voting", "v2")
	s.awaitEndpoints(t, "voting", 3)
	if code, out := s.run(t, "apply", "-f", change); code != 0 {
		t.Errorf("apply with space again: exit code %d:\n%s", code, out)
	}
	eventually(t, 15*time.Second, "calls go to v2", func(ctx context.Context) bool {
		version, _, err := where(ctx, conn)
		return err == nil && version == "v2"
	})
	load.mustNotHaveFailed(t)
}
