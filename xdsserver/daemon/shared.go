package daemon

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// authorityBelow is where the public state of the authority is in Consul's KV store.
const authorityBelow = "ca/"

// sharedAuthority keeps the public state of the authority in Consul.
type sharedAuthority struct{ client *consul.Client }

var _ identity.Shared = sharedAuthority{}

// Read implements [identity.Shared].
func (s sharedAuthority) Read(name string) ([]byte, uint64, error) {
	pair, ok, err := s.client.Get(context.Background(), authorityBelow+name)
	switch {
	case err != nil:
		return nil, 0, err
	case !ok:
		return nil, 0, &fs.PathError{Op: "read", Path: s.Where(name), Err: fs.ErrNotExist}
	}
	return pair.Value, pair.Index, nil
}

// Write implements [identity.Shared].
func (s sharedAuthority) Write(name string, data []byte, index uint64) (uint64, error) {
	index, err := s.client.Put(context.Background(), authorityBelow+name, data, index)
	if errors.Is(err, consul.ErrConflict) {
		return 0, identity.ErrSharedConflict
	}
	return index, err
}

// Remove implements [identity.Shared].
func (s sharedAuthority) Remove(name string) error {
	for {
		pair, ok, err := s.client.Get(context.Background(), authorityBelow+name)
		if err != nil || !ok {
			return err
		}
		if err := s.client.Delete(context.Background(), pair.Key, pair.Index); !errors.Is(err, consul.ErrConflict) {
			return err
		}
	}
}

// List implements [identity.Shared].
func (s sharedAuthority) List() ([]string, error) {
	pairs, err := s.client.List(context.Background(), authorityBelow)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(pairs))
	for i, p := range pairs {
		names[i] = strings.TrimPrefix(p.Key, authorityBelow)
	}
	return names, nil
}

// Where implements [identity.Shared].
func (s sharedAuthority) Where(name string) string {
	return "consul:" + s.client.Key(authorityBelow+name)
}
