// Package sidecar runs the proxies of a mesh with sidecars, for a benchmark to put between
// a client and servers that know nothing of TLS:
//
//	client -> client's proxy -> mutual TLS -> server's proxy -> server
//
// The proxies are real ones, with the settings under config: what a mesh of sidecars must
// have (HTTP/2, TLS 1.3, identities verified, access control, a timeout, balancing by load),
// and nothing that only costs, such as access logs, retries or an admin port. Where meshes
// differ, it is what is cheaper for the proxy. All listen on loopback.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tulle-mesh/tulle/bench/proc"
)

// Config says what proxies stand between.
type Config struct {
	// Dir keeps what is downloaded for the next time, and scratch until the pair is closed.
	Dir string
	// Client and Server are the identities of the two ends.
	Client, Server Identity
	// Upstreams are host:port of servers of gRPC without TLS. Each gets a proxy of its own,
	// and the client's proxy balances between those.
	Upstreams []string
	// Log is told of progress; nil is nobody.
	Log func(format string, args ...any)
}

// A Pair is a client's proxy and those of its servers. Who opens it closes it.
type Pair struct {
	// Name is what the proxy is called, and Version that of the program that runs.
	Name, Version string
	// Address is where the client dials, without TLS.
	Address string

	scratch string
	client  *proxy
	servers []*proxy
}

// Usage is what the system says of the client's proxy, and of the servers' together. It is
// an error if one of them has ended.
func (p *Pair) Usage() (client, server proc.Usage, err error) {
	if client, err = p.client.usage(); err != nil {
		return client, server, err
	}
	for _, s := range p.servers {
		u, err := s.usage()
		if err != nil {
			return client, server, err
		}
		server.CPU += u.CPU
		server.RSS += u.RSS
		server.Private += u.Private
	}
	return client, server, nil
}

// Close ends the proxies. It may be called again.
func (p *Pair) Close() error {
	var all []error
	for _, proxy := range append([]*proxy{p.client}, p.servers...) {
		if proxy != nil {
			all = append(all, proxy.Close())
		}
	}
	return errors.Join(append(all, os.RemoveAll(p.scratch))...)
}

// A program is what runs as a proxy.
type program struct {
	name, version, path string
	// args come before the path of its configuration, whose name has the ending.
	args   []string
	ending string
}

// open starts a pair and returns when all of it serves.
func (p program) open(ctx context.Context, c Config) (_ *Pair, err error) {
	client, server, err := c.settings()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	pair := &Pair{Name: p.name, Version: p.version}
	if pair.scratch, err = os.MkdirTemp(c.Dir, p.name+"-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = pair.Close()
		}
	}()
	addresses, err := freeAddresses(1 + len(c.Upstreams))
	if err != nil {
		return nil, err
	}
	client.Listen, client.Upstreams = addresses[0], addresses[1:]
	for i, address := range client.Upstreams {
		server.Listen, server.Upstreams = address, c.Upstreams[i:i+1]
		s, err := p.start(ctx, filepath.Join(pair.scratch, fmt.Sprintf("server-%d", i)), "server", server)
		if err != nil {
			return nil, err
		}
		pair.servers = append(pair.servers, s)
	}
	if pair.client, err = p.start(ctx, filepath.Join(pair.scratch, "client"), "client", client); err != nil {
		return nil, err
	}
	pair.Address = client.Listen
	return pair, nil
}
