package telemetry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// magic begins every file, with the version of its format.
	magic         = "tulle-telemetry"
	formatVersion = 1
	// maxFile bounds what is read of one file.
	maxFile = 512 << 20

	fileState    = "state"
	filePrefix   = "window-"
	fileNotReady = ".tmp"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A disk is a directory with files that are written once, whole, and replaced. What
// is in use is named by the file state, so that all files together are of one moment.
type disk struct {
	dir string
	// saved are the files of the periods that are over. Whoever saves has it alone.
	saved map[int64]string
	next  uint64 // numbers files
	size  int    // of the last state
}

func openDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	return &disk{dir: dir, saved: make(map[int64]string)}, nil
}

// write replaces a file in one piece; it would survive a crash.
func (d *disk) write(name string, content []byte) (err error) {
	path := filepath.Join(d.dir, name)
	temporary := path + fileNotReady
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	head := append([]byte(magic), formatVersion)
	var check [4]byte
	binary.BigEndian.PutUint32(check[:], crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, content))
	for _, part := range [][]byte{head, content, check[:]} {
		if err == nil {
			_, err = f.Write(part)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	return d.sync()
}

// sync makes the names in the directory last.
func (d *disk) sync() error {
	dir, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	return nil
}

// read returns the content of a file; an error that is fs.ErrNotExist where there is
// none.
func (d *disk) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(d.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	body, check := len(magic)+1, len(b)-4
	switch {
	case len(b) > maxFile, check < body, string(b[:len(magic)]) != magic:
		return nil, errFile
	case b[len(magic)] != formatVersion:
		return nil, fmt.Errorf("it is of format %d, and %d is what can be read", b[len(magic)], formatVersion)
	case crc32.Checksum(b[:check], castagnoli) != binary.BigEndian.Uint32(b[check:]):
		return nil, errFile
	}
	return b[body:check], nil
}

// tidy removes the files that nothing names.
func (d *disk) tidy() {
	used := map[string]bool{fileState: true}
	for _, name := range d.saved {
		used[name] = true
	}
	entries, _ := os.ReadDir(d.dir)
	for _, e := range entries {
		ours := strings.HasPrefix(e.Name(), filePrefix) || strings.HasSuffix(e.Name(), fileNotReady)
		if ours && !used[e.Name()] {
			_ = os.Remove(filepath.Join(d.dir, e.Name()))
		}
	}
}

// forget removes everything.
func (d *disk) forget() {
	clear(d.saved)
	if err := os.Remove(filepath.Join(d.dir, fileState)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return // it is replaced by what is saved next
	}
	d.tidy()
}

// name is that of a new file for a period.
func (d *disk) name(period int64) string {
	d.next++
	return fmt.Sprintf("%s%d-%d", filePrefix, period, d.next)
}
