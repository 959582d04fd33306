package balancer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// reporting starts a backend that says with each answer how busy it is, as grpc-go's
// servers do (gRFC A51).
func (w *world) reporting(name string, utilization, qps float64) {
	b := &backend{listener: bufconn.Listen(1 << 16)}
	b.server = grpc.NewServer(orca.CallMetricsServerOption(nil),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			metrics := orca.CallMetricsRecorderFromContext(stream.Context())
			metrics.SetApplicationUtilization(utilization)
			metrics.SetQPS(qps)
			return w.serve(name, stream)
		}))
	b.served.Go(func() { _ = b.server.Serve(b.listener) })
	w.mu.Lock()
	w.backends[address(name)] = b
	w.mu.Unlock()
}

func TestReportsOfServersBecomeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.reporting("a", 0.9, 100) // could do 111 calls a second
		w.reporting("b", 0.3, 100) // could do 333
		o := newOurs(t, w, balancer.NewShared())
		config := many(0)
		cluster := config.Clusters[service]
		cluster.Cluster.Balancing = resource.StandardBalancing(resource.WeightedRoundRobin)
		cluster.Endpoints.Localities[0].Endpoints = []resource.Endpoint{
			{Addresses: []string{address("a")}, Weight: 1},
			{Addresses: []string{address("b")}, Weight: 1},
		}
		config.VirtualHost = decode(t, resource.DecodeRouteConfiguration, routes()).VirtualHost(service)
		o.set(config)
		synctest.Wait()

		got := tally(t.Context(), o.conn, 100)
		if got["a"] != 50 || got["b"] != 50 {
			t.Errorf("before the weights count calls went to %v, want 50 each", got)
		}
		time.Sleep(cluster.Cluster.Balancing.WeightedRoundRobin.BlackoutPeriod)
		tally(t.Context(), o.conn, 4)
		time.Sleep(cluster.Cluster.Balancing.WeightedRoundRobin.WeightUpdatePeriod)
		got = tally(t.Context(), o.conn, 400)
		if got["a"] < 98 || got["a"] > 102 {
			t.Errorf("calls went to %v, want 100 and 300", got)
		}
	})
}
