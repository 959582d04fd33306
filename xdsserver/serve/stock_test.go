package serve

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/bench/control/ordinary"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// healthy is a backend: one that answers health checks.
type healthy struct {
	healthpb.UnimplementedHealthServer
}

func (healthy) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// listen serves on a loopback address, "127.0.0.1:0" for any.
func listen(t *testing.T, address string, g *grpc.Server) string {
	t.Helper()
	lis, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(lis)
	}()
	t.Cleanup(func() {
		g.Stop()
		<-done
	})
	return lis.Addr().String()
}

func backend(t *testing.T) string {
	t.Helper()
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, healthy{})
	return listen(t, "127.0.0.1:0", g)
}

// control runs a control plane.
func control(t *testing.T, address string, c Config) (*Server, *grpc.Server, string) {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	s := New(c)
	g := grpc.NewServer(s.ServerOptions()...)
	s.Register(g)
	t.Cleanup(func() { s.Close() })
	return s, g, listen(t, address, g)
}

// stock dials a target through grpc-go's own xDS client.
func stock(t *testing.T, server, target string) *grpc.ClientConn {
	t.Helper()
	bootstrap := fmt.Sprintf(`{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}]}],
		"node": {"id": "stock/1", "cluster": "stock"}
	}`, server)
	builder, err := xds.NewXDSResolverWithConfigForTesting([]byte(bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(target, grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// call makes one call and returns who answered.
func call(conn *grpc.ClientConn) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var p peer.Peer
	if _, err := healthpb.NewHealthClient(conn).Check(ctx, new(healthpb.HealthCheckRequest), grpc.Peer(&p)); err != nil {
		return "", err
	}
	return p.Addr.String(), nil
}

// mesh is one service as a stock client takes it, whose endpoints are addresses.
func mesh(generation uint64, service string, addresses ...string) *snapshot.Snapshot {
	s := &snapshot.Snapshot{
		Types:       make(map[string]map[string]*snapshot.Resource),
		Generations: map[string]uint64{"test": generation},
	}
	for _, u := range []string{lds, rds, cds, eds} {
		s.Types[u] = make(map[string]*snapshot.Resource)
		put(s, u, service, ordinary.Resource(u, service, 0))
	}
	cla := ordinary.Endpoints(service, 0, ordinary.PerService)
	cla.Endpoints = cla.GetEndpoints()[:1]
	cla.Endpoints[0].LbEndpoints = []*endpointv3.LbEndpoint{}
	for _, a := range addresses {
		host, text, _ := net.SplitHostPort(a)
		var port uint32
		_, _ = fmt.Sscan(text, &port)
		e := ordinary.Endpoint(host, port)
		e.LoadBalancingWeight = wrapperspb.UInt32(1)
		cla.Endpoints[0].LbEndpoints = append(cla.Endpoints[0].LbEndpoints, e)
	}
	put(s, eds, service, cla)
	return s
}

func put(s *snapshot.Snapshot, typeURL, name string, m proto.Message) {
	s.Types[typeURL][name] = encode(name, m)
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAStockClient(t *testing.T) {
	one, two := backend(t), backend(t)
	s, g, address := control(t, "127.0.0.1:0", Config{})
	s.Publish(mesh(1, "voting", one))
	conn := stock(t, address, "xds:///voting")
	reaches := func(backend string) func() bool {
		return func() bool {
			got, err := call(conn)
			if err != nil {
				t.Fatal(err)
			}
			return got == backend
		}
	}
	if !reaches(one)() {
		t.Fatal("the first call did not reach the only endpoint")
	}

	// It is current, and has what it takes.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Await(ctx, "test", 1); err != nil {
		t.Fatal(err)
	}
	streams := s.Ledger().Streams
	if len(streams) != 1 {
		t.Fatalf("%d streams, want 1", len(streams))
	}
	if got := streams[0]; got.Node != "stock/1" || !strings.HasPrefix(got.UserAgent, "gRPC Go ") ||
		got.Delta || !got.Current || got.Resources != 4 {
		t.Errorf("stream %+v", got)
	}

	// It follows a change, which it has taken in when Await returns.
	s.Publish(mesh(2, "voting", two))
	if err := s.Await(ctx, "test", 2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "calls reach the new endpoint", reaches(two))

	// It refuses what it cannot honour, once, and goes on with what it had.
	bad := mesh(3, "voting", two)
	cluster := ordinary.Resource(cds, "voting", 3).(*clusterv3.Cluster)
	cluster.LbPolicy = clusterv3.Cluster_MAGLEV
	put(bad, cds, "voting", cluster)
	s.Publish(bad)
	if err := s.Await(ctx, "test", 3); err != nil {
		t.Fatal(err)
	}
	rejections := s.Ledger().Rejections
	if len(rejections) != 1 || rejections[0].Name != "voting" || !strings.Contains(rejections[0].Reason, "MAGLEV") {
		t.Fatalf("rejections %+v, want one of voting that says why", rejections)
	}
	if !reaches(two)() {
		t.Error("a refused cluster changed where calls go")
	}
	responses := func() uint32 {
		for _, st := range s.opened() {
			st.mu.Lock()
			defer st.mu.Unlock()
			return st.responses
		}
		return 0
	}
	sent := responses()
	for range 50 {
		if !reaches(two)() {
			t.Fatal("calls fail")
		}
	}
	if got := responses(); got != sent {
		t.Errorf("%d responses after a refusal, want none", got-sent)
	}
	s.Publish(mesh(4, "voting", one, two))
	if err := s.Await(ctx, "test", 4); err != nil {
		t.Fatal(err)
	}
	eventually(t, "calls reach the endpoint that came back", reaches(one))
	if got := s.Ledger().Rejections; len(got) != 0 {
		t.Errorf("rejections %+v after the repair, want none", got)
	}

	// It outlives the control plane, and one that comes back empty-handed.
	s.Close()
	g.Stop()
	if _, err := call(conn); err != nil {
		t.Errorf("without a control plane: %v", err)
	}
	again, _, _ := control(t, address, Config{WarmUntil: time.Now().Add(3 * time.Second)})
	again.Publish(&snapshot.Snapshot{Generations: map[string]uint64{"test": 1}})
	eventually(t, "the client is back", func() bool {
		if _, err := call(conn); err != nil {
			t.Fatalf("while the control plane knows nothing: %v", err)
		}
		return len(again.Ledger().Streams) == 1
	})
	again.Publish(mesh(2, "voting", two))
	eventually(t, "calls reach what is left after the warm-up", func() bool {
		got, err := call(conn)
		if err != nil {
			t.Fatalf("after the control plane is back: %v", err)
		}
		return got == two && !again.Warm() && again.Ledger().Streams[0].Current
	})
}

func TestStockClientsOfSeveralTargets(t *testing.T) {
	one := backend(t)
	s, _, address := control(t, "127.0.0.1:0", Config{})
	snap := mesh(1, "voting", one)
	for u, contents := range mesh(1, "emoji", one).Types {
		maps.Copy(snap.Types[u], contents)
	}
	s.Publish(snap)
	for _, target := range []string{"xds:///voting", "xds:///emoji"} {
		conn := stock(t, address, target)
		if _, err := call(conn); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.Ledger().Streams); got != 2 {
		t.Errorf("%d streams of two targets, want 2", got)
	}
	late := stock(t, address, "xds:///reaction")
	s.Publish(mesh(2, "reaction", one))
	if _, err := call(late); err != nil {
		t.Errorf("a service that came late: %v", err)
	}
}
