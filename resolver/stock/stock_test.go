package stock_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/resolver/stock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// controlPlane is somebody else's: state of the world, one resource per type,
// whatever name is asked for.
type controlPlane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	resources map[string]proto.Message
}

func (c controlPlane) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	answered := make(map[string]bool)
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if request.GetErrorDetail() != nil {
			return status.Errorf(codes.InvalidArgument, "refused: %s", request.GetErrorDetail().GetMessage())
		}
		m := c.resources[request.GetTypeUrl()]
		if m == nil || answered[request.GetTypeUrl()] {
			continue
		}
		answered[request.GetTypeUrl()] = true
		packed, err := anypb.New(m)
		if err != nil {
			return err
		}
		if err := stream.Send(&discoveryv3.DiscoveryResponse{
			VersionInfo: "1", Nonce: "1", TypeUrl: request.GetTypeUrl(), Resources: []*anypb.Any{packed},
		}); err != nil {
			return err
		}
	}
}

// add takes a resource in JSON.
func (c controlPlane) add(t *testing.T, m proto.Message, json string) {
	t.Helper()
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	c.resources["type.googleapis.com/"+string(m.ProtoReflect().Descriptor().FullName())] = m
}

// serve serves over loopback until the test ends, and returns the address.
func serve(t *testing.T, register func(grpc.ServiceRegistrar)) *net.TCPAddr {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	register(srv)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(listener) })
	t.Cleanup(func() {
		srv.Stop()
		serving.Wait()
	})
	return listener.Addr().(*net.TCPAddr)
}

func TestAServiceOfAnotherControlPlane(t *testing.T) {
	backend := serve(t, func(r grpc.ServiceRegistrar) { healthv1.RegisterHealthServer(r, health.NewServer()) })

	c := controlPlane{resources: make(map[string]proto.Message)}
	c.add(t, &listenerv3.Listener{}, `{"name": "voting", "apiListener": {"apiListener": {
		"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"rds": {"routeConfigName": "routes", "configSource": {"ads": {}}},
		"httpFilters": [{"name": "router", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}}`)
	c.add(t, &routev3.RouteConfiguration{}, `{"name": "routes", "virtualHosts": [{"name": "voting", "domains": ["voting"],
		"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "cluster"}}]}]}`)
	c.add(t, &clusterv3.Cluster{}, `{"name": "cluster", "type": "EDS", "edsClusterConfig": {"edsConfig": {"ads": {}}}}`)
	c.add(t, &endpointv3.ClusterLoadAssignment{}, fmt.Sprintf(`{"clusterName": "cluster", "endpoints": [{
		"locality": {"zone": "a"}, "loadBalancingWeight": 1, "lbEndpoints": [
			{"endpoint": {"address": {"socketAddress": {"address": %q, "portValue": %d}}}}]}]}`, backend.IP, backend.Port))
	server := serve(t, func(r grpc.ServiceRegistrar) { discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, c) })

	builder, err := stock.NewBuilder(fmt.Appendf(nil, `{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["ignore_resource_deletion"]}],
		"node": {"id": "web/1"}}`, server.String()))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///voting",
		grpc.WithResolvers(builder),
		grpc.WithIdleTimeout(0),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	reply, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil || reply.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v", reply, err)
	}
}

func TestBadBootstraps(t *testing.T) {
	const good = `{"server_uri": "xds.test:1", "channel_creds": [{"type": "insecure"}]}`
	tls := func(file string) string {
		return fmt.Sprintf(`{"server_uri": "xds.test:1", "channel_creds": [{"type": "tls", "config": {"ca_certificate_file": %q}}]}`, file)
	}
	for _, tt := range []struct {
		name, bootstrap, want string // want empty: it is good
	}{
		{"a good one", `{"xds_servers": [` + good + `], "node": {"id": "web/1"}}`, ""},
		{"fields of grpc-go's are its business", `{"xds_servers": [` + good + `], "node": {"id": "a"}, "certificate_providers": {}}`, ""},
		{"the same credentials twice", `{"xds_servers": [` + tls("a") + `, ` + tls("a") + `], "node": {"id": "a"}}`, ""},
		{"nothing", " \n", "stock: bootstrap: is empty"},
		{"no JSON", "xds.test:1", "is no bootstrap in JSON: invalid character 'x'"},
		{"another JSON", `[]`, "is no bootstrap in JSON"},
		{"no server", `{"node": {"id": "a"}}`, "xds_servers: names no server"},
		{"no node", `{"xds_servers": [` + good + `]}`, "node.id: is empty"},
		{"a server without an address", `{"xds_servers": [{"channel_creds": [{"type": "insecure"}]}], "node": {"id": "a"}}`, "xds_servers[0].server_uri: is empty"},
		{"a server without credentials", `{"xds_servers": [{"server_uri": "a"}], "node": {"id": "a"}}`, "xds_servers[0].channel_creds: names no credentials"},
		{
			"credentials that grpc-go would mix up", `{"xds_servers": [` + tls("a") + `, ` + tls("b") + `], "node": {"id": "a"}}`,
			`xds_servers[1].channel_creds: "tls" has another config`,
		},
		{
			"credentials that grpc-go would mix up, of an authority",
			`{"xds_servers": [` + tls("a") + `], "authorities": {"x": {"xds_servers": [` + tls("b") + `]}}, "node": {"id": "a"}}`,
			`authorities["x"].xds_servers[0].channel_creds: "tls" has another config`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			builder, err := stock.NewBuilder([]byte(tt.bootstrap))
			switch {
			case tt.want == "":
				if err != nil || builder.Scheme() != "xds" {
					t.Errorf("got %v, %v", builder, err)
				}
			case err == nil || !strings.Contains(err.Error(), tt.want):
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func FuzzNewBuilder(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[1]`,
		`{"xds_servers": [{"server_uri": "a", "channel_creds": [{"type": "insecure", "config": null}]}], "node": {"id": "a"}}`,
		`{"xds_servers": [{}], "authorities": {"a": {"xds_servers": [{}]}}, "node": {}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, bootstrap []byte) {
		if builder, err := stock.NewBuilder(bootstrap); (builder == nil) != (err != nil) {
			t.Errorf("got %v, %v", builder, err)
		}
	})
}

func ExampleNewBuilder() {
	builder, err := stock.NewBuilder([]byte(`{
		"xds_servers": [{
			"server_uri": "istiod.istio-system:15010",
			"channel_creds": [{"type": "insecure"}],
			"server_features": ["ignore_resource_deletion"]
		}],
		"node": {"id": "sidecar~10.0.0.1~web.default~default.svc.cluster.local"}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(builder.Scheme())

	_, err = stock.NewBuilder([]byte(`{"node": {"id": "web/1"}}`))
	fmt.Println(err)
	// Output:
	// xds
	// stock: bootstrap: xds_servers: names no server
}
