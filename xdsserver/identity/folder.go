//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// maxFile bounds what is read of a file, in bytes; a state has about 2 KB.
	maxFile = 1 << 20
	// lockWait bounds the wait for another process, which holds the lock for as
	// long as it takes to write five small files.
	lockWait = 10 * time.Second
)

// folder is a storage on disk: files of mode 0600 in a directory of mode 0700.
type folder struct{ dir string }

var _ storage = (*folder)(nil)

// openFolder makes the directory when it is missing, and refuses one that others
// may look into.
func openFolder(dir string) (storage, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if err := checkPrivate(dir, info, 0o700); err != nil {
		return nil, err
	}
	return &folder{dir: dir}, nil
}

// checkPrivate refuses what other users may read or replace. Root may use what
// belongs to others: an operator runs commands on the folder of a service.
func checkPrivate(path string, info fs.FileInfo, mode fs.FileMode) error {
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("identity: other users have access to %s (mode %04o): run chmod %o %s", path, info.Mode().Perm(), mode, path)
	}
	owner, euid := int(info.Sys().(*syscall.Stat_t).Uid), os.Geteuid()
	if owner != euid && euid != 0 {
		return fmt.Errorf("identity: %s belongs to user %d, and this is user %d: run chown %d %s as root", path, owner, euid, euid, path)
	}
	return nil
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// lock locks the directory itself, so that no lock file can be left or removed.
func (f *folder) lock() (func(), error) {
	d, err := os.Open(f.dir)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	for end := time.Now().Add(lockWait); ; {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { d.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			err = fmt.Errorf("identity: lock %s: %w", f.dir, err)
			break
		}
		if time.Now().After(end) {
			err = fmt.Errorf("identity: %s has been locked by another process for %v: look for an xdsserver that hangs", f.dir, lockWait)
			break
		}
		<-time.After(lockWait / 1000)
	}
	return nil, errors.Join(err, d.Close())
}

func (f *folder) read(name string) ([]byte, error) { return readPrivate(f.path(name)) }

// readPrivate reads a file that is nobody else's. What it checks is the file it
// reads: it opens first.
func readPrivate(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("identity: %s is a symbolic link, which others may point elsewhere: put the file itself in its place", path)
	}
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("identity: %s is no regular file: put the file itself in its place", path)
	}
	if err := checkPrivate(path, info, 0o600); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return data, nil
}

func (f *folder) write(name string, data []byte) error {
	// The lock's holder alone writes, so that a fixed name is free, and what a crash
	// left of it is overwritten.
	if err := writePrivate(f.path(".new"), f.path(name), data); err != nil {
		return err
	}
	return syncDir(f.dir)
}

// writePrivate writes a file under a temporary name, and gives it its own when all
// of it is on disk. A file written by root belongs to the directory's owner, who
// has to read it.
func writePrivate(temporary, path string, data []byte) error {
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Chmod(0o600)
	}
	if info, serr := os.Stat(filepath.Dir(path)); err == nil && serr == nil && os.Geteuid() == 0 {
		stat := info.Sys().(*syscall.Stat_t)
		err = file.Chown(int(stat.Uid), int(stat.Gid))
	}
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("identity: write %s: %w", path, err)
	}
	return nil
}

func (f *folder) remove(name string) error {
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("identity: %w", err)
	}
	return syncDir(f.dir)
}

// syncDir makes renames and removals survive a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("identity: sync %s: %w", dir, err)
	}
	return nil
}

func (f *folder) list() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
