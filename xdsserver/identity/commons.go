package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
)

const (
	// maxShared bounds what is read of a Shared, in bytes; Consul holds no more.
	maxShared = 512 << 10
	// maxRequest bounds a request for a certificate; one of P-256 has about 300.
	maxRequest = 4 << 10
)

// commons is the storage of an authority that several xdsservers share. What is public
// is in Shared, and what was seen of it is copied to the folder, for a time without.
// Keys are in the folder alone, and no method here takes them elsewhere.
//
// What is written under a name but state.json never changes, so that the copy is as good.
type commons struct {
	shared Shared
	local  storage

	mu       sync.Mutex
	uncopied error // why the folder has no copy; guarded by mu
}

var _ storage = (*commons)(nil)

// isPublic reports whether a file may be in Shared.
func isPublic(name string) bool {
	_, beat := beatOf(name)
	return beat || name == stateFile || path.Ext(name) == extCertificate || path.Ext(name) == extRequest
}

// lock keeps other processes out of the folder. Other xdsservers are kept from nothing:
// they find that state.json has another index.
func (c *commons) lock() (func(), error) { return c.local.lock() }

func (c *commons) read(name string) ([]byte, error) {
	if path.Ext(name) != extCertificate {
		data, _, err := c.fetch(name)
		return data, err
	}
	data, err := c.local.read(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, _, err = c.fetch(name); err != nil {
		return nil, err
	}
	c.copy(name, data)
	return data, nil
}

// copy keeps what is in Shared in the folder, too. Nothing else fails where that fails.
func (c *commons) copy(name string, data []byte) {
	there, err := c.local.read(name)
	if err != nil || !bytes.Equal(there, data) {
		err = c.local.write(name, data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uncopied = err
}

// copied says why the last copy was not made.
func (c *commons) copied() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uncopied
}

// fetch reads what is in Shared.
func (c *commons) fetch(name string) (data []byte, index uint64, err error) {
	data, index, err = c.shared.Read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, &fs.PathError{Op: "read", Path: c.shared.Where(name), Err: fs.ErrNotExist}
	case err != nil:
		return nil, 0, unreachableError{fmt.Errorf("identity: read %s: %w", c.shared.Where(name), err)}
	case len(data) > maxShared:
		return nil, 0, fmt.Errorf("identity: %s has %d bytes, want %d at most", c.shared.Where(name), len(data), maxShared)
	}
	return data, index, nil
}

// write makes what is not there yet. It is a conflict when something else is.
func (c *commons) write(name string, data []byte) error {
	if _, err := c.put(name, data, 0); errors.Is(err, ErrSharedConflict) {
		if there, _, ferr := c.fetch(name); ferr != nil || !bytes.Equal(there, data) {
			return errors.Join(err, ferr)
		}
	} else if err != nil {
		return err
	}
	if path.Ext(name) == extCertificate {
		c.copy(name, data)
	}
	return nil
}

// put writes what is at an index.
func (c *commons) put(name string, data []byte, index uint64) (uint64, error) {
	if !isPublic(name) {
		return 0, fmt.Errorf("identity: %s is not to leave %s", name, c.local.path(""))
	}
	index, err := c.shared.Write(name, data, index)
	switch {
	case errors.Is(err, ErrSharedConflict):
		return 0, fmt.Errorf("identity: write %s: %w", c.shared.Where(name), err)
	case err != nil:
		return 0, unreachableError{fmt.Errorf("identity: write %s: %w", c.shared.Where(name), err)}
	}
	return index, nil
}

func (c *commons) remove(name string) error {
	if !isPublic(name) {
		return c.local.remove(name)
	}
	if err := c.shared.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unreachableError{fmt.Errorf("identity: remove %s: %w", c.shared.Where(name), err)}
	}
	return c.local.remove(name)
}

// list returns what is in either place.
func (c *commons) list() ([]string, error) {
	names, err := c.shared.List()
	if err != nil {
		return nil, unreachableError{fmt.Errorf("identity: list %s: %w", c.shared.Where(""), err)}
	}
	own, err := c.local.list()
	if err != nil {
		return nil, err
	}
	all := slices.Concat(names, own)
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (c *commons) path(name string) string {
	if isPublic(name) {
		return c.shared.Where(name)
	}
	return c.local.path(name)
}

// readState reads the state, and the index to write its successor with.
func readState(files storage) (raw []byte, index uint64, err error) {
	if c, ok := files.(*commons); ok {
		return c.fetch(stateFile)
	}
	raw, err = files.read(stateFile)
	return raw, 0, err
}

// writeState replaces the state that was read at an index.
func writeState(files storage, raw []byte, index uint64) error {
	if c, ok := files.(*commons); ok {
		_, err := c.put(stateFile, raw, index)
		return err
	}
	return files.write(stateFile, raw)
}
