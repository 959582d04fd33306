package identity

import (
	"io/fs"
	"maps"
	"slices"
	"sync"
)

// The endings of files.
const (
	extCertificate = ".pem"
	extKey         = ".key"
	extRequest     = ".csr"
)

func certFile(name string) string { return name + extCertificate }

func keyFile(name string) string { return name + extKey }

func requestFile(name string) string { return name + extRequest }

// storage holds a CA's files by name. Only the holder of its lock writes.
type storage interface {
	// lock waits for other holders, in this process and in others.
	lock() (unlock func(), err error)
	// read returns a file; an error that is fs.ErrNotExist when there is none.
	read(name string) ([]byte, error)
	// write replaces a file in one piece, and returns when it would survive a crash.
	write(name string, data []byte) error
	// remove returns nil when there is no such file.
	remove(name string) error
	list() ([]string, error)
	// path says where a file is, for people.
	path(name string) string
}

// memory is a storage that ends with the process.
type memory struct {
	turn sync.Mutex

	mu    sync.Mutex
	files map[string][]byte // guarded by mu
}

var _ storage = (*memory)(nil)

func newMemory() *memory { return &memory{files: map[string][]byte{}} }

func (m *memory) lock() (func(), error) {
	m.turn.Lock()
	return m.turn.Unlock, nil
}

func (m *memory) read(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: m.path(name), Err: fs.ErrNotExist}
	}
	return data, nil
}

func (m *memory) write(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = slices.Clone(data)
	return nil
}

func (m *memory) remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	return nil
}

func (m *memory) list() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.files)), nil
}

func (m *memory) path(name string) string { return "memory:" + name }
