package mesh_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// The yardstick of both benchmarks is grpc-go by itself: same server, same
// loopback TCP, plaintext, and the same deadline on each call. Short rounds of both
// are interleaved in one run, so that what else the machine does hits both.

const (
	benchCallers = 64
	benchRounds  = 41
	benchRound   = 250 * time.Millisecond
	benchTargets = 100
)

// BenchmarkAgainstPlain reports throughput over that of plain grpc-go (budget:
// at least 0.97) and allocations added to a call (budget: at most 4).
//
//	go test -run '^$' -bench AgainstPlain ./mesh
func BenchmarkAgainstPlain(b *testing.B) {
	address := startEcho(b)
	plain := dialPlain(b, address)
	meshed := dialMesh(b, address, 1)[0]
	for b.Loop() {
		var ratios, added []float64
		var plainRate, meshRate []float64
		for round := range benchRounds {
			// The order flips, so that neither always runs on the warmer machine.
			var p, m load
			if round%2 == 0 {
				p, m = saturate(b, plain), saturate(b, meshed)
			} else {
				m, p = saturate(b, meshed), saturate(b, plain)
			}
			ratios = append(ratios, m.rate/p.rate)
			added = append(added, m.allocs-p.allocs)
			plainRate, meshRate = append(plainRate, p.rate), append(meshRate, m.rate)
		}
		b.ReportMetric(median(ratios), "x-plain")
		b.ReportMetric(slices.Min(ratios), "x-plain-min")
		b.ReportMetric(slices.Max(ratios), "x-plain-max")
		b.ReportMetric(median(added), "allocs-added/call")
		b.ReportMetric(median(plainRate), "plain-calls/s")
		b.ReportMetric(median(meshRate), "mesh-calls/s")
	}
}

// BenchmarkUpstream reports what one more service to call costs over a plain
// *grpc.ClientConn: memory (budget: at most 16 KB) and goroutines (budget: none).
//
//	go test -run '^$' -bench Upstream ./mesh
func BenchmarkUpstream(b *testing.B) {
	address := startEcho(b)
	for b.Loop() {
		plain := footprint(b, func() []*grpc.ClientConn {
			var conns []*grpc.ClientConn
			for range benchTargets {
				conns = append(conns, dialPlain(b, address))
			}
			return conns
		})
		dial := joinBench(b, address, benchTargets)
		meshed := footprint(b, dial)
		b.ReportMetric((meshed.bytes-plain.bytes)/1024/benchTargets, "KB-added/upstream")
		b.ReportMetric((meshed.goroutines-plain.goroutines)/benchTargets, "goroutines-added/upstream")
		b.ReportMetric(plain.bytes/1024/benchTargets, "plain-KB/upstream")
	}
}

type load struct{ rate, allocs float64 }

// saturate calls as fast as the callers can for one round.
func saturate(b *testing.B, conn *grpc.ClientConn) load {
	b.Helper()
	var calls atomic.Int64
	var failed atomic.Pointer[error]
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	var wait sync.WaitGroup
	for range benchCallers {
		wait.Go(func() {
			request := wrapperspb.Bytes(make([]byte, 1024))
			n := int64(0)
			for time.Since(began) < benchRound {
				if err := conn.Invoke(context.Background(), echoMethod, request, new(wrapperspb.BytesValue)); err != nil {
					failed.Store(&err)
					return
				}
				n++
			}
			calls.Add(n)
		})
	}
	wait.Wait()
	took := time.Since(began).Seconds()
	runtime.ReadMemStats(&after)
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	return load{
		rate:   float64(calls.Load()) / took,
		allocs: float64(after.Mallocs-before.Mallocs) / float64(calls.Load()),
	}
}

type size struct{ bytes, goroutines float64 }

// footprint is what the connections cost once each has made a call.
func footprint(b *testing.B, dial func() []*grpc.ClientConn) size {
	b.Helper()
	measure := func() size {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return size{float64(m.HeapAlloc + m.StackInuse), float64(runtime.NumGoroutine())}
	}
	before := measure()
	conns := dial()
	for _, conn := range conns {
		if err := conn.Invoke(b.Context(), echoMethod, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue), grpc.WaitForReady(true)); err != nil {
			b.Fatal(err)
		}
	}
	after := measure()
	for _, conn := range conns {
		conn.Close()
	}
	return size{after.bytes - before.bytes, after.goroutines - before.goroutines}
}

func dialPlain(b *testing.B, address string) *grpc.ClientConn {
	b.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"methodConfig":[{"name":[{}],"timeout":"5s"}]}`))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

func dialMesh(b *testing.B, address string, n int) []*grpc.ClientConn {
	b.Helper()
	return joinBench(b, address, n)()
}

// joinBench joins a mesh in which n services have one endpoint at address, and
// returns what dials them all. Control travels in memory, calls by TCP.
func joinBench(b *testing.B, address string, n int) func() []*grpc.ClientConn {
	b.Helper()
	kit := meshtest.New(b)
	yaml := ""
	for i := range n {
		yaml += fmt.Sprintf("---\napiVersion: tulle/v1\nkind: Service\nmetadata: {name: s-%d}\nspec: {timeout: 5s, endpoints: [{address: %q}]}\n", i, address)
	}
	kit.Apply(yaml)
	member := kit.Join(mesh.Config{Service: "bench", DialContext: func(ctx context.Context, addr string) (net.Conn, error) {
		if addr == address {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
		return kit.Network.Dial(ctx, addr)
	}})
	if err := member.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	return func() []*grpc.ClientConn {
		var conns []*grpc.ClientConn
		for i := range n {
			conn, err := member.NewClient(fmt.Sprintf("mesh:///s-%d", i))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { conn.Close() })
			conns = append(conns, conn)
		}
		return conns
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

const echoMethod = "/tulle.test.Echo/Echo"

// startEcho serves a plain grpc-go server that returns what it gets.
func startEcho(tb testing.TB) string {
	tb.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := grpc.NewServer()
	srv.RegisterService(&echoDesc, struct{}{})
	var wait sync.WaitGroup
	wait.Go(func() { _ = srv.Serve(lis) })
	tb.Cleanup(func() {
		srv.Stop()
		wait.Wait()
	})
	return lis.Addr().String()
}

var echoDesc = grpc.ServiceDesc{
	ServiceName: "tulle.test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return in, nil
		},
	}},
}
