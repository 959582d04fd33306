package xdsclient

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// leftover is the age from which a temporary file belongs to a process that was
// killed while it wrote.
const leftover = time.Hour

// A disk keeps the cache in one file, replaced as a whole. It is owned by the
// goroutine that saves.
type disk struct {
	path string
	// through is what the file is written through; tests put a full disk here.
	through func(*os.File) io.Writer
	swept   bool
}

func newDisk(path string) *disk {
	return &disk{path: path, through: func(f *os.File) io.Writer { return f }}
}

// read returns what the file holds for a service. A file that is not there holds
// nothing and is no error.
func (d *disk) read(service string) ([]entry, error) {
	info, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > maxFile:
		return nil, errTooLarge
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0:
		// Whoever can write the file decides where this process sends calls.
		return nil, fmt.Errorf("others may write it (mode %04o): chmod 600", info.Mode().Perm())
	}
	f, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	return decodeFile(b, service)
}

// write replaces the file. Readers, and a crash at any moment, find the old one
// or the new one.
func (d *disk) write(service string, entries []entry) error {
	folder := filepath.Dir(d.path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	d.sweep()
	// CreateTemp makes a file of mode 0600 and a name of its own: another
	// process of the service may write at the same time.
	f, err := os.CreateTemp(folder, filepath.Base(d.path)+".*.tmp")
	if err != nil {
		return err
	}
	err = d.fill(f, encode(service, entries))
	if err == nil {
		err = os.Rename(f.Name(), d.path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one that matters
	}
	return err
}

// fill writes and closes f. It syncs, because some file systems would rename
// before they write.
func (d *disk) fill(f *os.File, b []byte) error {
	_, err := d.through(f).Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sweep removes, once, what processes that were killed have left behind.
func (d *disk) sweep() {
	if d.swept {
		return
	}
	d.swept = true
	left, _ := filepath.Glob(d.path + ".*.tmp") // a path with brackets is not swept
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > leftover {
			_ = os.Remove(name) // the next process tries again
		}
	}
}
