package main

import (
	"context"
	"path"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// cells is how many calls the grid shows.
const cells = 400

// A cell is one call as the traffic saw it.
type cell struct {
	Number int64  `json:"n"`
	Method string `json:"method"`
	// Code is the status, "OK" or why not.
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
	// OnPurpose is whether it fails always.
	OnPurpose bool    `json:"onPurpose,omitempty"`
	Took      float64 `json:"ms"`
	// Instance, Version and Zone are those of voting's that counted the vote; empty for
	// other calls, and for those that nobody answered.
	Instance string `json:"instance,omitempty"`
	Version  string `json:"version,omitempty"`
	Zone     string `json:"zone,omitempty"`
}

// A ring holds the last calls. It is safe for concurrent use.
type ring struct {
	mu   sync.Mutex
	last [cells]cell
	n    int64 // calls ever
}

func newRing() *ring { return &ring{} }

// watch sees the calls of one client.
func (r *ring) watch() grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		var header metadata.MD
		began := time.Now()
		err := invoke(ctx, method, req, reply, cc, append(opts, grpc.Header(&header))...)
		c := cell{
			Method: path.Base(method),
			Code:   status.Code(err).String(),
			Took:   float64(time.Since(began).Microseconds()) / 1000,
		}
		c.OnPurpose = c.Method == "VoteDoughnut"
		if err != nil {
			c.Message = status.Convert(err).Message()
		}
		if by := header.Get(voterHeader); len(by) > 0 {
			if who := strings.Split(by[0], " "); len(who) == 3 {
				c.Instance, c.Version, c.Zone = who[0], who[1], who[2]
			}
		}
		r.add(c)
		return err
	})
}

func (r *ring) add(c cell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Number = r.n
	r.last[r.n%cells] = c
	r.n++
}

// since returns the calls from number n on, those of them that are still known, the
// oldest first.
func (r *ring) since(n int64) []cell {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []cell
	for n = max(n, r.n-cells, 0); n < r.n; n++ {
		all = append(all, r.last[n%cells])
	}
	return all
}
