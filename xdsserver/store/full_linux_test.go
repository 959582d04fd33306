package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A file system of 256 KiB that is really full. Mounting needs privileges; the
// injected errors of the other tests need none.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s, _ := open(t, dir)
	apply(t, s, "voting", "v1")
	ballast := filepath.Join(dir, "ballast")
	if err := fill(ballast); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill: %v", err)
	}

	large := strings.Repeat("x", 100<<10)
	for range 3 {
		if _, err := s.Apply(context.Background(), changes("voting", large), Intent{}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("apply on a full disk: got %v", err)
		}
	}
	if got := dump(s); got != "voting=v1" {
		t.Errorf("reads on a full disk: got %q", got)
	}
	closeStore(t, s)
	s, _ = open(t, dir)
	if got := dump(s); got != "voting=v1" {
		t.Errorf("a start on a full disk: got %q", got)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	apply(t, s, "voting", "v2")
	closeStore(t, s)
	s, _ = open(t, dir)
	if got := dump(s); got != "voting=v2" {
		t.Errorf("with space again: got %q", got)
	}
}

// fill writes to path until the disk is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close())
}
