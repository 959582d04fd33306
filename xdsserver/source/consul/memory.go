package consul

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

const (
	// saveGap is the least time between two writes of the memory.
	saveGap = time.Second
	// maxMemory bounds the file, in bytes: 50,000 instances are 15 MB.
	maxMemory = 256 << 20
)

// A memory is what Consul said last, on disk: an xdsserver that starts while Consul is
// away neither empties services nor closes or opens what it had been told of.
type memory struct {
	Services  []*model.Service
	Routes    []*model.Route
	Policies  []*model.AccessPolicy
	Endpoints []model.Endpoint
}

// memoryOf is the memory of an output.
func memoryOf(out source.Output) *memory {
	m := &memory{Endpoints: out.Endpoints}
	for _, o := range out.Objects {
		switch o := o.(type) {
		case *model.Service:
			m.Services = append(m.Services, o)
		case *model.Route:
			m.Routes = append(m.Routes, o)
		case *model.AccessPolicy:
			m.Policies = append(m.Policies, o)
		}
	}
	return m
}

// output is what the memory is of. What this xdsserver registered then was left there.
func (m *memory) output() source.Output {
	out := source.Output{Endpoints: slices.Clone(m.Endpoints)}
	for i, e := range out.Endpoints {
		if e.From == model.Mirrored && e.Health == model.Healthy {
			out.Endpoints[i].Health = model.Lost
		}
	}
	for _, o := range m.Services {
		out.Objects = append(out.Objects, o)
	}
	for _, o := range m.Routes {
		out.Objects = append(out.Objects, o)
	}
	for _, o := range m.Policies {
		out.Objects = append(out.Objects, o)
	}
	return out
}

// encode writes a digest, and what it is of.
func (m *memory) encode() ([]byte, error) {
	body, err := json.Marshal(m) //nolint:musttag // the model knows no format; the file is this program's own
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return append(append(hex.AppendEncode(nil, sum[:]), '\n'), body...), nil
}

func decodeMemory(data []byte) (*memory, error) {
	digest, body, found := bytes.Cut(data, []byte("\n"))
	sum := sha256.Sum256(body)
	if !found || string(digest) != hex.EncodeToString(sum[:]) {
		return nil, errors.New("is damaged")
	}
	m := new(memory)
	if err := json.Unmarshal(body, m); err != nil { //nolint:musttag // as in encode
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	return m, nil
}

// remember reads the memory of an earlier run; nil is none.
func (s *Source) remember() *memory {
	if s.config.CacheFile == "" {
		return nil
	}
	m, err := readMemory(s.config.CacheFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.logger.Warn("what consul said last is not known any more", "file", s.config.CacheFile, "error", err)
		}
		return nil
	}
	return m
}

func readMemory(path string) (*memory, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxMemory {
		return nil, errors.New("is no file that this xdsserver wrote")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decodeMemory(data)
}

// keep writes the newest output that is not old to the disk, until ctx ends.
func (s *Source) keep(ctx context.Context) error {
	if s.config.CacheFile == "" {
		<-ctx.Done()
		return nil
	}
	pause := time.NewTimer(saveGap)
	defer pause.Stop()
	var last []byte
	failing := false
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		out := s.newest.Load()
		if out != nil {
			data, err := memoryOf(*out).encode()
			if err == nil && !bytes.Equal(data, last) {
				if err = writeMemory(s.config.CacheFile, data); err == nil {
					last = data
				}
			}
			if err != nil && !failing {
				s.logger.Warn("what consul says is not kept: a start while it is away would not know", "file", s.config.CacheFile, "error", err)
			}
			failing = err != nil
			s.newest.CompareAndSwap(out, nil)
		}
		pause.Reset(saveGap)
	}
	return nil
}

// writeMemory replaces the file as a whole.
func writeMemory(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
