package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/store"
)

const (
	// cacheMagic is the first word of a cache; the digest of the rest ends the line.
	cacheMagic = "tulle-consul-cache"
	// maxCache bounds a cache that is read, in bytes.
	maxCache = 256 << 20
	// cacheGap is the least time between two writes of the cache.
	cacheGap = time.Second
)

// readCache returns what was known last; nil where nothing is.
func (s *Store) readCache() *view {
	if s.cache == "" {
		return nil
	}
	data, err := readFile(s.cache)
	var v *view
	if err == nil {
		v, err = decodeCache(data)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.logger.Warn("cache of the configuration cannot be read, consul must be there", "file", s.cache, "error", err)
		}
		return nil
	}
	return v
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCache+1))
	if err == nil && len(data) > maxCache {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxCache>>20)
	}
	return data, err
}

func encodeCache(v *view) ([]byte, error) {
	packed, err := v.pack()
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "%s %s\n", cacheMagic, digest(packed)), packed...), nil
}

func decodeCache(data []byte) (*view, error) {
	line, packed, found := bytes.Cut(data, []byte("\n"))
	if !found || string(line) != cacheMagic+" "+digest(packed) {
		return nil, errors.New("it is damaged: its checksum does not match")
	}
	return unpackView(packed)
}

// keepCache writes the cache after changes, until ctx ends.
func (s *Store) keepCache(ctx context.Context) {
	if s.cache == "" {
		return
	}
	var last *store.State
	keep := func() {
		if v := s.view.Load(); v.live && v.state != last {
			s.writeCache(v)
			last = v.state
		}
	}
	defer keep()
	for {
		keep()
		if !sleep(ctx, cacheGap) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-s.keep:
		}
	}
}

// writeCache replaces the file, and warns once where it cannot.
func (s *Store) writeCache(v *view) {
	data, err := encodeCache(v)
	if err == nil {
		err = replace(s.cache, data)
	}
	if ok := err == nil; s.cached.Swap(ok) != ok {
		if ok {
			s.logger.Info("cache of the configuration is written again", "file", s.cache)
		} else {
			s.logger.Warn("cache of the configuration not written: without it, a start while consul is away fails", "file", s.cache, "error", err)
		}
	}
}

// replace writes a file that is there as a whole, or as it was.
func replace(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
