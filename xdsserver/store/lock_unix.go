//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockDir takes the directory for this process until the file is closed. The lock
// is on a file of its own, since the database itself is replaced while in use; it
// holds the owner's process id for the error another gets.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("store: %s is held by process %s: stop that xdsserver, or give this one another --data directory", path, owner(f))
	} else if err != nil {
		err = fmt.Errorf("store: lock %s: %w", path, err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// The id only makes a message better: a full disk must not stop a start.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return f, nil
}

// owner reads the process id in a lock file.
func owner(f *os.File) string {
	id, err := io.ReadAll(io.LimitReader(f, 20))
	if s := strings.TrimSpace(string(id)); err == nil && s != "" {
		return s
	}
	return "unknown"
}
