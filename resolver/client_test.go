package resolver

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// ads answers each delta subscription with what it has of that name.
type ads struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	resources map[string]proto.Message
}

func (s ads) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for nonce := "n"; ; nonce += "n" {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if len(request.GetResourceNamesSubscribe()) == 0 {
			continue // an ACK
		}
		response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: request.GetTypeUrl(), Nonce: nonce}
		for _, name := range request.GetResourceNamesSubscribe() {
			if m := s.resources[request.GetTypeUrl()+" "+name]; m != nil {
				packed, err := anypb.New(m)
				if err != nil {
					return err
				}
				response.Resources = append(response.Resources, &discoveryv3.Resource{Name: name, Version: "1", Resource: packed})
			} else {
				response.RemovedResources = append(response.RemovedResources, name)
			}
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

// add makes m of JSON and keeps it under name.
func (s ads) add(tb testing.TB, name, json string, m proto.Message) {
	tb.Helper()
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		tb.Fatal(err)
	}
	s.resources["type.googleapis.com/"+string(m.ProtoReflect().Descriptor().FullName())+" "+name] = m
}

// newClient returns an xDS client that runs until the test ends, and whose
// newClient returns a Builder over an xDS client whose connections dial makes.
func newClient(t *testing.T, dial func(context.Context, string) (net.Conn, error)) *Builder {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	client, err := xdsclient.New(xdsclient.Config{
		Servers:     []string{"passthrough:///xds.test:18000"},
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial)},
		Node:        &xdsv3.Node{Id: "web/1", Cluster: "web"},
		Types:       Types,
		Logger:      logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(Config{Client: client, Logger: logger})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{client.Run, b.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return b
}

func TestOverARealStream(t *testing.T) {
	t.Run("resources become a configuration", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := ads{resources: make(map[string]proto.Message)}
			s.add(t, "voting", `{"name": "voting", "apiListener": {"apiListener": {
			"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"rds": {"routeConfigName": "voting", "configSource": {"ads": {}}},
			"httpFilters": [{"name": "router", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]
		}}}`, &listenerv3.Listener{})
			s.add(t, "voting", `{"name": "voting", "virtualHosts": [{"name": "voting", "domains": ["*"], "routes": [
			{"match": {"prefix": "/"}, "route": {"weightedClusters": {"clusters": [
				{"name": "voting/v1", "weight": 90}, {"name": "voting/v2", "weight": 10}]}}}]}]}`, &routev3.RouteConfiguration{})
			for _, name := range []string{"voting/v1", "voting/v2"} {
				s.add(t, name, `{"name": "`+name+`", "type": "EDS", "edsClusterConfig": {"serviceName": "`+name+`", "edsConfig": {"ads": {}}}}`,
					&clusterv3.Cluster{})
			}
			s.add(t, "voting/v1", `{"clusterName": "voting/v1", "endpoints": [{"locality": {"zone": "a"}, "loadBalancingWeight": 1, "lbEndpoints": [
			{"endpoint": {"address": {"socketAddress": {"address": "10.0.0.1", "portValue": 80}}}}]}]}`, &endpointv3.ClusterLoadAssignment{})

			listener := bufconn.Listen(1 << 16)
			srv := grpc.NewServer()
			discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, s)
			var serving sync.WaitGroup
			serving.Go(func() { _ = srv.Serve(listener) })
			t.Cleanup(func() {
				srv.Stop()
				serving.Wait()
			})
			b := newClient(t, func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })

			config, err := b.Config(t.Context(), dial(t, b, "mesh:///voting"))
			if err != nil {
				t.Fatal(err)
			}
			v1, v2 := config.Clusters["voting/v1"], config.Clusters["voting/v2"]
			if v1.Err != nil || v1.Endpoints.Localities[0].Endpoints[0].Addresses[0] != "10.0.0.1:80" {
				t.Errorf("voting/v1 = %+v", v1)
			}
			if v2.Err == nil || v2.Cluster == nil {
				t.Errorf("voting/v2, whose endpoints nobody knows, = %+v", v2)
			}
			_, err = b.Config(t.Context(), dial(t, b, "mesh:///nobody"))
			if e := call.AsError(err); e == nil || e.Reason != call.UnknownService {
				t.Errorf("an unknown service: %v", err)
			}
		})
	})

	t.Run("a server that is not there is named", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newClient(t, func(context.Context, string) (net.Conn, error) { return nil, errRefused })
			start := time.Now()
			_, err := b.Config(t.Context(), dial(t, b, "mesh:///voting"))
			e := call.AsError(err)
			if e == nil || e.Reason != call.NoConfig || time.Since(start) != DefaultConfigTimeout {
				t.Fatalf("got %v after %v", err, time.Since(start))
			}
			if !strings.Contains(err.Error(), "xds.test:18000") || !strings.Contains(err.Error(), "refused") {
				t.Errorf("the error does not say who refused: %v", err)
			}
			t.Log(err)
		})
	})
}
