package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// The server under test runs in a process of its own, so that CPU and heap are
// its own. It is this test binary, told by childEnv which engine to run; it takes
// commands on stdin, one JSON object a line, and ends with it.
const childEnv = "TULLE_SERVE_BENCHMARK"

// The engines.
const (
	own       = "own"
	yardstick = "go-control-plane"
)

// A command is what the benchmark tells the child: "change" with a number that
// differs each time, or "usage".
type command struct {
	Do     string
	Number int
}

// An outcome is what the child says of a command, and first of itself.
type outcome struct {
	Address string
	// Start is when a change began, in nanoseconds since 1970; Took is how long
	// the call lasted that publishes it.
	Start, Took int64
	// CPU is what the process has used, in nanoseconds; Heap and Stack what it
	// holds after a collection, in bytes (only with Number 1).
	CPU         int64
	Heap, Stack uint64
}

// An engine is a server under test.
type engine struct {
	register func(*grpc.Server)
	// change gives the service all streams subscribe to another endpoint.
	change func(number int)
}

// serveBenchmark is the child.
func serveBenchmark(which string) error {
	var e engine
	switch which {
	case own:
		e = ownEngine()
	case yardstick:
		e = yardstickEngine()
	default:
		return fmt.Errorf("unknown engine %q", which)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// Both get the same transport, so that the engines are compared. Our codec
	// hands the yardstick's messages on to protobuf's.
	g := grpc.NewServer((*Server)(nil).ServerOptions()...)
	e.register(g)
	go func() {
		_, _ = io.WriteString(os.Stderr, errorText(g.Serve(lis)))
	}()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := out.Encode(outcome{Address: lis.Addr().String()}); err != nil {
		return err
	}
	for {
		var c command
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := out.Encode(e.obey(c)); err != nil {
			return err
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error() + "\n"
}

func (e engine) obey(c command) outcome {
	var o outcome
	switch c.Do {
	case "change":
		start := time.Now()
		e.change(c.Number)
		o.Start, o.Took = start.UnixNano(), time.Since(start).Nanoseconds()
	case "usage":
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		o.CPU = u.Utime.Nano() + u.Stime.Nano()
		if c.Number == 1 {
			runtime.GC()
			runtime.GC() // what the first has freed of pools goes with the second
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			o.Heap, o.Stack = m.HeapAlloc, m.StackInuse
		}
	}
	return o
}

// ownEngine is this package.
func ownEngine() engine {
	s := New(Config{Logger: slog.New(slog.DiscardHandler)})
	snap := &snapshot.Snapshot{Types: make(map[string]map[string]*snapshot.Resource)}
	for _, u := range []string{lds, rds, cds, eds} {
		snap.Types[u] = make(map[string]*snapshot.Resource)
		for i := range benchServices {
			n := serviceName(i)
			snap.Types[u][n] = encode(n, serviceMessage(u, n, 0))
		}
	}
	s.Publish(snap)
	return engine{
		register: func(g *grpc.Server) { s.Register(g) },
		change: func(number int) {
			n := serviceName(0)
			next := &snapshot.Snapshot{Types: make(map[string]map[string]*snapshot.Resource)}
			maps.Copy(next.Types, snap.Types)
			next.Types[eds] = maps.Clone(snap.Types[eds])
			next.Types[eds][n] = encode(n, serviceMessage(eds, n, number))
			s.Publish(next)
			snap = next
		},
	}
}

// yardstickEngine is go-control-plane's fastest cache for this load.
func yardstickEngine() engine {
	mux := &cachev3.MuxCache{
		Classify:      func(r *cachev3.Request) string { return r.GetTypeUrl() },
		ClassifyDelta: func(r *cachev3.DeltaRequest) string { return r.GetTypeUrl() },
		Caches:        make(map[string]cachev3.Cache),
	}
	linear := make(map[string]*cachev3.LinearCache)
	for _, u := range []string{lds, rds, cds, eds} {
		all := make(map[string]types.Resource)
		for i := range benchServices {
			all[serviceName(i)] = serviceMessage(u, serviceName(i), 0)
		}
		linear[u] = cachev3.NewLinearCache(u, cachev3.WithInitialResources(all))
		mux.Caches[u] = linear[u]
	}
	s := serverv3.NewServer(context.Background(), mux, nil)
	return engine{
		register: func(g *grpc.Server) { discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s) },
		change: func(number int) {
			n := serviceName(0)
			if err := linear[eds].UpdateResource(n, serviceMessage(eds, n, number)); err != nil {
				panic(err)
			}
		},
	}
}

// benchServices is how many services the mesh has, each of ten endpoints.
const benchServices = 200

func serviceName(i int) string { return "service-" + strconv.Itoa(i) + ".shop" }

// serviceMessage makes a resource of ordinary size.
func serviceMessage(typeURL, name string, number int) proto.Message {
	return ordinary(typeURL, name, number)
}

// A child is the process of the server under test.
type child struct {
	b       testing.TB
	in      *json.Encoder
	out     *json.Decoder
	address string
}

func startChild(b testing.TB, which string) *child {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+which)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("%s: %v", which, err)
		}
	})
	c := &child{b: b, in: json.NewEncoder(stdin), out: json.NewDecoder(stdout)}
	c.address = c.read().Address
	return c
}

func (c *child) read() outcome {
	c.b.Helper()
	var o outcome
	if err := c.out.Decode(&o); err != nil {
		c.b.Fatalf("the server under test is gone: %v", err)
	}
	return o
}

func (c *child) tell(do string, number int) outcome {
	c.b.Helper()
	if err := c.in.Encode(command{Do: do, Number: number}); err != nil {
		c.b.Fatal(err)
	}
	return c.read()
}
