package resolver

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// backends are servers in memory, by address.
type backends map[string]*backend

type backend struct {
	healthv1.UnimplementedHealthServer

	listener *bufconn.Listener
	calls    atomic.Int64
}

func (b *backend) Check(context.Context, *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	b.calls.Add(1)
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

func (b *backend) Watch(*healthv1.HealthCheckRequest, healthv1.Health_WatchServer) error {
	b.calls.Add(1)
	return nil
}

func serveBackends(tb testing.TB, addresses ...string) backends {
	tb.Helper()
	all := make(backends)
	var serving sync.WaitGroup
	for _, a := range addresses {
		b := &backend{listener: bufconn.Listen(1 << 16)}
		all[a] = b
		srv := grpc.NewServer()
		healthv1.RegisterHealthServer(srv, b)
		serving.Go(func() { _ = srv.Serve(b.listener) })
		tb.Cleanup(srv.Stop)
	}
	tb.Cleanup(func() { // runs before the Stops above
		for _, b := range all {
			b.listener.Close()
		}
	})
	return all
}

func (b backends) dial(ctx context.Context, address string) (net.Conn, error) {
	if b[address] == nil {
		return nil, errRefused
	}
	return b[address].listener.DialContext(ctx)
}

// client makes a whole client: resolver, interceptors and balancer.
func (b backends) client(tb testing.TB, builder *Builder) (healthv1.HealthClient, *grpc.ClientConn) {
	tb.Helper()
	icept := interceptors.NewClient(interceptors.ClientConfig{Configs: builder})
	cc, err := grpc.NewClient("mesh:///voting",
		grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(b.dial),
		grpc.WithUnaryInterceptor(icept.Unary),
		grpc.WithStreamInterceptor(icept.Stream),
	)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cc.Close() })
	return healthv1.NewHealthClient(cc), cc
}

func TestNoCallFailsWhileRoutesChange(t *testing.T) {
	t.Run("a hundred times", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			all := serveBackends(t, "a:1", "b:1", "c:1")
			names := []string{"a", "b", "c"}
			for _, n := range names {
				src.cluster(n, n)
				src.endpoints(n, n+":1")
			}
			src.route("voting", "a")
			b := newRunning(t, src)
			client, _ := all.client(t, b)

			stop := make(chan struct{})
			var callers sync.WaitGroup
			var calls atomic.Int64
			for range 4 {
				callers.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Millisecond):
						}
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						if _, err := client.Check(ctx, nil); err != nil {
							t.Error(err)
						}
						cancel()
						calls.Add(1)
					}
				})
			}
			for i := range 100 {
				src.route("voting", names[i%3], names[(i/3)%3])
				if i%10 == 0 { // the cluster comes after the route that leads to it
					late := fmt.Sprintf("late%d", i)
					src.route("voting", late)
					time.Sleep(10 * time.Millisecond)
					src.endpoints(late, "a:1")
					src.cluster(late, late)
				}
				time.Sleep(10 * time.Millisecond)
			}
			close(stop)
			callers.Wait()
			for n, backend := range all {
				if backend.calls.Load() == 0 {
					t.Errorf("%s took no call", n)
				}
			}
			if calls.Load() < 1000 {
				t.Errorf("only %d calls were made", calls.Load())
			}
		})
	})
}

func TestCallsThatFindNoEndpoint(t *testing.T) {
	t.Run("say so in the mesh's words", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			all := serveBackends(t)
			client, _ := all.client(t, newRunning(t, src))

			_, err := client.Check(t.Context(), nil)
			if e := call.AsError(err); e == nil || e.Reason != call.NoEndpoint || status.Code(err) != codes.Unavailable {
				t.Errorf("unary: %v", err)
			}
			_, err = client.Watch(t.Context(), nil)
			if e := call.AsError(err); e == nil || e.Reason != call.NoEndpoint || status.Code(err) != codes.Unavailable {
				t.Errorf("stream: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = client.Check(ctx, nil, grpc.WaitForReady(true))
			if e := call.AsError(err); e == nil || e.Reason != call.NoEndpoint || status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("unary that waits for ready: %v", err)
			}

			src.endpoints("voting")
			synctest.Wait()
			_, err = client.Check(t.Context(), nil)
			if e := call.AsError(err); e == nil || e.Reason != call.NoEndpoint {
				t.Errorf("without any endpoint: %v", err)
			}
		})
	})
}

func TestCallsWithoutAConfiguration(t *testing.T) {
	t.Run("wait for it, unary and stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			all := serveBackends(t, "10.0.0.1:1")
			client, _ := all.client(t, newRunning(t, src))
			time.AfterFunc(3*time.Second, src.voting)
			if _, err := client.Check(t.Context(), nil); err != nil {
				t.Error(err)
			}
			stream, err := client.Watch(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err == nil || call.AsError(err) != nil {
				t.Errorf("the end of the stream: %v", err)
			}
		})
	})
	t.Run("fail in the end, unary and stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.set(resource.ListenerType, "voting", xdsclient.State{})
			client, _ := serveBackends(t).client(t, newRunning(t, src))
			start := time.Now()
			_, err := client.Check(t.Context(), nil)
			if e := call.AsError(err); e == nil || e.Reason != call.NoConfig || time.Since(start) != DefaultConfigTimeout {
				t.Errorf("unary: %v after %v", err, time.Since(start))
			}
			_, err = client.Watch(t.Context(), nil)
			if e := call.AsError(err); e == nil || e.Reason != call.NoConfig {
				t.Errorf("stream: %v", err)
			}
		})
	})
}

// The budget is four allocations more per unary call than plain grpc with the
// same deadline, over resolver, interceptor and balancer.
func TestACallCostsAtMostFourAllocationsMore(t *testing.T) {
	if testing.Short() {
		t.Skip("counts allocations over thousands of calls")
	}
	mesh, plain := twoClients(t)
	count := func(client healthv1.HealthClient) float64 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		request := &healthv1.HealthCheckRequest{}
		return testing.AllocsPerRun(2000, func() {
			if _, err := client.Check(ctx, request); err != nil {
				t.Error(err)
			}
		})
	}
	with, without := count(mesh), count(plain)
	t.Logf("%.1f allocations with the mesh, %.1f without, client and server", with, without)
	if with-without > 4 {
		t.Errorf("a call costs %.1f allocations more, the budget is 4", with-without)
	}
}

// twoClients returns a client through the mesh and a plain one, of one server.
func twoClients(tb testing.TB) (mesh, plain healthv1.HealthClient) {
	tb.Helper()
	all := serveBackends(tb, "10.0.0.1:1")
	src := newFakeSource()
	src.voting()
	b := newBuilder(src, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
	mesh, _ = all.client(tb, b)
	cc, err := grpc.NewClient("passthrough:///10.0.0.1:1",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(all.dial),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cc.Close() })
	plain = healthv1.NewHealthClient(cc)
	for _, c := range []healthv1.HealthClient{mesh, plain} {
		if _, err := c.Check(tb.Context(), nil, grpc.WaitForReady(true)); err != nil {
			tb.Fatal(err)
		}
	}
	return mesh, plain
}

func BenchmarkCall(b *testing.B) {
	mesh, plain := twoClients(b)
	request := &healthv1.HealthCheckRequest{}
	for _, bm := range []struct {
		name   string
		client healthv1.HealthClient
	}{{"mesh", mesh}, {"plain", plain}} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				if _, err := bm.client.Check(ctx, request); err != nil {
					b.Fatal(err)
				}
				cancel()
			}
		})
	}
}
