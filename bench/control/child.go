package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
)

// Role is the first argument of the process of a server under test, which is the
// benchmark's own program: its main calls [Child] with the arguments after it.
const Role = "control-server"

// Child is that process. It serves until its standard input ends.
func Child(args []string) error {
	c, err := newChild(args)
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	var ended error
	serving.Go(func() { ended = c.grpc.Serve(c.listener) })
	err = proc.Serve(proc.Handlers{
		"address": func(json.RawMessage) (any, error) { return c.listener.Addr().String(), nil },
		"cpu":     func(json.RawMessage) (any, error) { return proc.OwnCPU() },
		"set":     c.set,
		"profile": c.profile,
	})
	c.grpc.Stop()
	serving.Wait()
	return errors.Join(err, ended)
}

type child struct {
	engine   engine
	grpc     *grpc.Server
	listener net.Listener
	profiled *os.File
}

// newChild makes what arguments of the command line ask for: an engine, and the world's
// services and endpoints.
func newChild(args []string) (*child, error) {
	if len(args) != 3 {
		return nil, fmt.Errorf("usage: %s ENGINE SERVICES ENDPOINTS", Role)
	}
	var w world
	var err error
	if w.services, err = strconv.Atoi(args[1]); err != nil {
		return nil, err
	}
	if w.endpoints, err = strconv.Atoi(args[2]); err != nil {
		return nil, err
	}
	c := new(child)
	if c.engine, err = newEngine(args[0], w); err != nil {
		return nil, err
	}
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	// All get the same transport, ours, so that engines are compared. Its codec hands
	// messages of others on to protobuf's.
	c.grpc = grpc.NewServer(serve.New(serve.Config{}).ServerOptions()...)
	c.engine.register(c.grpc)
	return c, nil
}

// A change is another version of a service's endpoints or routes.
type change struct {
	Kind    kind `json:"kind"`
	Service int  `json:"service"`
	Number  int  `json:"number"`
}

// A publication is when a change began to be encoded, in nanoseconds since 1970, and how
// long it took until streams were told.
type publication struct {
	Start int64         `json:"start"`
	Took  time.Duration `json:"took"`
}

func (c *child) set(with json.RawMessage) (any, error) {
	var ch change
	if err := json.Unmarshal(with, &ch); err != nil {
		return nil, err
	}
	start := time.Now()
	err := c.engine.set(ch.Kind, ch.Service, ch.Number)
	return publication{Start: start.UnixNano(), Took: time.Since(start)}, err
}

// profile begins a CPU profile in a file or, where that is empty, ends it and writes what the
// heap holds beside it.
func (c *child) profile(with json.RawMessage) (any, error) {
	var path string
	if err := json.Unmarshal(with, &path); err != nil {
		return nil, err
	}
	if path != "" {
		var err error
		if c.profiled, err = os.Create(path); err != nil {
			return nil, err
		}
		return nil, pprof.StartCPUProfile(c.profiled)
	}
	pprof.StopCPUProfile()
	heap, err := os.Create(c.profiled.Name() + ".heap")
	if err != nil {
		return nil, errors.Join(err, c.profiled.Close())
	}
	runtime.GC()
	return nil, errors.Join(pprof.WriteHeapProfile(heap), heap.Close(), c.profiled.Close())
}
