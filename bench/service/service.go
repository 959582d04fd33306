// Package service is what the benchmark's service programs have in common: an echo server
// and the client that loads it, told what to do over standard input (see package proc).
// How they get to one another is each program's own: plain, grpcxds, tulle.
package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/bench/benchv1"
	"github.com/tulle-mesh/tulle/bench/load"
	"github.com/tulle-mesh/tulle/bench/proc"
)

// A Door is how a program serves and calls.
type Door struct {
	// Serve serves a service on a listener, with what register registers; it returns what
	// ends it.
	Serve func(service string, lis net.Listener, register func(grpc.ServiceRegistrar)) (stop func(), err error)
	// Dial opens a client of a target.
	Dial func(target string) (*grpc.ClientConn, error)
}

// Serving is where a program shall serve; an empty Address is a free port of loopback.
type Serving struct {
	Service string `json:"service"`
	Address string `json:"address,omitempty"`
}

// Counts are what a process has used since it began.
type Counts struct {
	CPU     time.Duration `json:"cpu"`
	Mallocs uint64        `json:"mallocs"`
	Bytes   uint64        `json:"bytes"`
}

// Main is the main of each program. It can be asked to "serve" (a [Serving], which returns
// the address), to "dial" targets (which returns once each has answered a call), to "run"
// a [load.Plan], for its "counts" and its "memory", for a "profile" of its CPU, and to
// "hold" so many bytes, as services that are more than an echo do.
func Main(d Door) {
	p := &program{door: d}
	err := proc.Serve(proc.Handlers{
		"serve":   decoding(p.serve),
		"dial":    decoding(p.dial),
		"run":     decoding(p.run),
		"counts":  func(json.RawMessage) (any, error) { return counts() },
		"profile": decoding(profile),
		"hold":    decoding(p.hold),
	})
	for _, stop := range p.stops {
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Background has a server serve, and returns what ends it and waits for it.
func Background(serve func() error, stop func()) (end func()) {
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := serve(); err != nil {
			log.Fatal(err)
		}
	})
	return func() {
		stop()
		wait.Wait()
	}
}

func decoding[T any](f func(T) (any, error)) func(json.RawMessage) (any, error) {
	return func(with json.RawMessage) (any, error) {
		var v T
		if err := json.Unmarshal(with, &v); err != nil {
			return nil, err
		}
		return f(v)
	}
}

type program struct {
	door  Door
	conns []grpc.ClientConnInterface
	stops []func()
	held  []byte
}

func (p *program) hold(bytes int) (any, error) {
	if bytes < 0 || bytes > 1<<30 {
		return nil, fmt.Errorf("%d bytes: want up to a GiB", bytes)
	}
	p.held = make([]byte, bytes)
	runtime.GC() // from now on there is as much garbage between two collections
	return struct{}{}, nil
}

func (p *program) serve(s Serving) (any, error) {
	if s.Address == "" {
		s.Address = "127.0.0.1:0"
	}
	lis, err := net.Listen("tcp", s.Address)
	if err != nil {
		return nil, err
	}
	stop, err := p.door.Serve(s.Service, lis, func(r grpc.ServiceRegistrar) { benchv1.RegisterEchoServiceServer(r, echo{}) })
	if err != nil {
		return nil, err
	}
	p.stops = append(p.stops, stop)
	return lis.Addr().String(), nil
}

// ready is how long a target may take to answer its first call.
const ready = 20 * time.Second

func (p *program) dial(targets []string) (any, error) {
	p.conns = nil
	for _, target := range targets {
		conn, err := p.door.Dial(target)
		if err != nil {
			return nil, err
		}
		p.stops = append(p.stops, func() { _ = conn.Close() })
		p.conns = append(p.conns, conn)
		ctx, cancel := context.WithTimeout(context.Background(), ready)
		_, err = benchv1.NewEchoServiceClient(conn).Unary(ctx, &benchv1.UnaryRequest{}, grpc.WaitForReady(true))
		cancel()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", target, err)
		}
	}
	return struct{}{}, nil
}

func (p *program) run(plan load.Plan) (any, error) {
	if len(p.conns) == 0 {
		return nil, errors.New("nothing was dialled")
	}
	return load.Run(context.Background(), p.conns, plan)
}

func counts() (c Counts, err error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.Mallocs, c.Bytes = m.Mallocs, m.TotalAlloc
	c.CPU, err = proc.OwnCPU()
	return c, err
}
