package main

import (
	"cmp"
	"context"
	"math/bits"
	"path"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// A call is what one process saw of its calls to one version of one method.
type call struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Method      string `json:"method"`
	Version     string `json:"version"`
	Count       int64  `json:"count"`
	OK          int64  `json:"ok"`
	// Took counts calls by latency: bucket i holds those under 2^i microseconds.
	Took [32]int64 `json:"took"`
}

type callKey struct{ source, destination, method, version string }

func (c *call) key() callKey { return callKey{c.Source, c.Destination, c.Method, c.Version} }

// percentile is an upper bound of the latency that the share p of calls kept.
func (c *call) percentile(p float64) time.Duration {
	rest := int64(p * float64(c.Count))
	for i, n := range c.Took {
		if rest -= n; rest < 0 {
			return time.Microsecond << i
		}
	}
	return time.Microsecond << (len(c.Took) - 1)
}

// A tally counts the calls one process makes. It is safe for concurrent use.
type tally struct {
	source string

	mu sync.Mutex
	by map[callKey]*call
}

func newTally(source string) *tally { return &tally{source: source, by: map[callKey]*call{}} }

// to counts the calls of one client.
func (t *tally) to(destination string) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		var header metadata.MD
		start := time.Now()
		err := invoke(ctx, method, req, reply, cc, append(opts, grpc.Header(&header))...)
		version := ""
		if v := header.Get(versionHeader); len(v) > 0 {
			version = v[0]
		}
		t.add(callKey{t.source, destination, path.Base(method), version}, err == nil, time.Since(start))
		return err
	})
}

func (t *tally) add(k callKey, ok bool, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.by[k]
	if c == nil {
		c = &call{Source: k.source, Destination: k.destination, Method: k.method, Version: k.version}
		t.by[k] = c
	}
	c.Count++
	if ok {
		c.OK++
	}
	c.Took[min(bits.Len64(uint64(took.Microseconds())), len(c.Took)-1)]++
}

// calls returns a copy of what was counted.
func (t *tally) calls() []call {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]call, 0, len(t.by))
	for _, c := range t.by {
		out = append(out, *c)
	}
	return out
}

// merge folds the counts of several processes and sorts them for people.
func merge(all ...[]call) []call {
	by := map[callKey]*call{}
	for _, calls := range all {
		for _, c := range calls {
			sum := by[c.key()]
			if sum == nil {
				by[c.key()] = &c
				continue
			}
			sum.Count += c.Count
			sum.OK += c.OK
			for i, n := range c.Took {
				sum.Took[i] += n
			}
		}
	}
	out := make([]call, 0, len(by))
	for _, c := range by {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b call) int {
		return cmp.Or(
			// Traffic comes in from outside: it leads.
			-cmp.Compare(b2i(a.Source == outside), b2i(b.Source == outside)),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination),
			cmp.Compare(a.Method, b.Method), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// outbound leaves out what instances counted as it came in.
func outbound(calls []call) []call {
	return slices.DeleteFunc(calls, func(c call) bool { return c.Source == inbound })
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
