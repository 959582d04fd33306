package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// leftover is the age from which a temporary file belongs to a process that was
// killed while it wrote.
const leftover = time.Hour

// readState reads the state file. A file that is not there is no error.
func readState(path, service string, now time.Time) (state, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return state{}, fmt.Errorf("%s: others may read it or write it (mode %04o): chmod 600, or remove it", path, info.Mode().Perm())
	}
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return state{}, err
	}
	b, err := readFile(path, maxState)
	if err != nil {
		return state{}, err
	}
	st, err := parseState(b, service, now)
	if err != nil {
		return st, fmt.Errorf("%s: %w", path, err)
	}
	return st, nil
}

// checkFolder refuses a folder where others could put a file of theirs: it says
// whom this process trusts.
func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	switch {
	case err != nil:
		return pathError(folder, err)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("folder %s: others may write to it (mode %04o): chmod 700", folder, info.Mode().Perm())
	}
	return nil
}

// writeState replaces the state file. Readers, and a crash at any moment, find the
// old one or the new one.
func writeState(path string, i *Identity) error {
	b, err := encodeState(i)
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return pathError(folder, err)
	}
	if err := checkFolder(folder); err != nil {
		return err
	}
	sweep(path)
	// CreateTemp makes a file of mode 0600 and a name of its own: another process
	// of the service may write at the same time.
	f, err := os.CreateTemp(folder, filepath.Base(path)+".*.tmp")
	if err != nil {
		return pathError(folder, err)
	}
	err = fill(f, b)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one that matters
		return pathError(path, err)
	}
	return syncFolder(folder)
}

// fill writes and closes f. It syncs, because some file systems would rename
// before they write.
func fill(f *os.File, b []byte) error {
	_, err := f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes a rename last: a token that enrolled the process may be used up.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be synced there
	}
	d, err := os.Open(folder)
	if err != nil {
		return pathError(folder, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return pathError(folder, err)
	}
	return nil
}

// sweep removes what processes that were killed have left behind: keys.
func sweep(path string) {
	left, _ := filepath.Glob(path + ".*.tmp") // a path with brackets is not swept
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > leftover {
			_ = os.Remove(name) // the next process tries again
		}
	}
}

// keepState writes the state file whenever it is behind, until done is closed. A
// file that cannot be written is no reason to do without the identity.
func (s *Source) keepState(done <-chan struct{}) error {
	var logged news
	for {
		select {
		case <-s.keep:
		case <-done:
			select {
			case <-s.keep:
			default:
				return nil
			}
		}
		if s.config.StateFile == "" {
			continue
		}
		err := writeState(s.config.StateFile, s.Current())
		if logged.differ(err) {
			s.logger.Warn("identity is not kept on disk, a restart has to enrol again", "error", err)
		}
	}
}
