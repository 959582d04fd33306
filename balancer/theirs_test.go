package balancer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/grpc/xds"
	"google.golang.org/grpc/xds/bootstrap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// theirs is a connection balanced by grpc-go's own xDS policies.
type theirs struct {
	t    *testing.T
	ads  *adsServer
	conn *grpc.ClientConn
}

func newTheirs(t *testing.T, w *world) *theirs {
	t.Helper()
	o := &theirs{t: t, ads: newADSServer(t)}
	config, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri":    "passthrough:///" + t.Name(),
			"channel_creds": []any{map[string]any{"type": memoryCreds{}.Name(), "config": t.Name()}},
		}},
		"node": map[string]any{"id": "client"},
	})
	if err != nil {
		t.Fatal(err)
	}
	builder, err := xds.NewXDSResolverWithConfigForTesting(config)
	if err != nil {
		t.Fatal(err)
	}
	o.conn, err = grpc.NewClient("xds:///"+service,
		grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(w.dial),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.conn.Close() })
	return o
}

func (o *theirs) connection() *grpc.ClientConn { return o.conn }

// update serves a service of one cluster.
func (o *theirs) update(s spec) {
	o.ads.serve(map[string]proto.Message{
		resource.ListenerType:  listener(o.t),
		resource.RouteType:     routes(),
		resource.ClusterType:   s.cluster(service),
		resource.EndpointsType: s.endpoints(service),
	})
	o.conn.Connect()
}

func listener(t *testing.T) proto.Message {
	t.Helper()
	return &listenerv3.Listener{
		Name: service,
		ApiListener: &listenerv3.ApiListener{ApiListener: pack(t, &hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{
				Rds: &hcmv3.Rds{RouteConfigName: service, ConfigSource: ads()},
			},
			HttpFilters: []*hcmv3.HttpFilter{{
				Name:       "router",
				ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
			}},
		})},
	}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// An adsServer is a SotW ADS server in memory with one resource per type. It
// answers a NACK by failing the test.
type adsServer struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	t        *testing.T
	listener *bufconn.Listener

	mu        sync.Mutex
	version   int
	resources map[string]*anypb.Any // by type URL
	changed   chan struct{}         // closed by the next change
}

func newADSServer(t *testing.T) *adsServer {
	t.Helper()
	s := &adsServer{t: t, listener: bufconn.Listen(1 << 16), changed: make(chan struct{})}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, s)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(s.listener) })
	adsServers.Store(t.Name(), s.listener)
	t.Cleanup(func() {
		server.Stop()
		served.Wait()
		adsServers.Delete(t.Name())
	})
	return s
}

func (s *adsServer) serve(resources map[string]proto.Message) {
	packed := make(map[string]*anypb.Any, len(resources))
	for url, m := range resources {
		packed[url] = pack(s.t, m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.resources = packed
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *adsServer) snapshot() (version string, resources map[string]*anypb.Any, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.version), s.resources, s.changed
}

// StreamAggregatedResources implements the SotW ADS service.
func (s *adsServer) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	requests := make(chan *discoveryv3.DiscoveryRequest)
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() {
		defer close(requests)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			if d := r.GetErrorDetail(); d != nil {
				s.t.Errorf("grpc-go refuses %s: %s", r.GetTypeUrl(), d.GetMessage())
			}
			select {
			case requests <- r:
			case <-stream.Context().Done():
				return
			}
		}
	})
	subscribed, sent := make(map[string]bool), make(map[string]string)
	for {
		version, resources, changed := s.snapshot()
		for url := range subscribed {
			if resources[url] == nil || sent[url] == version {
				continue
			}
			sent[url] = version
			err := stream.Send(&discoveryv3.DiscoveryResponse{
				TypeUrl: url, VersionInfo: version, Nonce: version, Resources: []*anypb.Any{resources[url]},
			})
			if err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			if subscribed[r.GetTypeUrl()] = len(r.GetResourceNames()) > 0; !subscribed[r.GetTypeUrl()] {
				delete(subscribed, r.GetTypeUrl())
				delete(sent, r.GetTypeUrl())
			}
		}
	}
}

// memoryCreds are the way an in-memory listener gets into a bootstrap: grpc-go
// asks the bundle that they build for dial options.
type memoryCreds struct{}

// adsServers are listeners by the name of their test, which bootstraps refer to.
var adsServers sync.Map

func init() { bootstrap.RegisterChannelCredentials(memoryCreds{}) }

func (memoryCreds) Name() string { return "tulle_balancer_test" }

func (memoryCreds) Build(config json.RawMessage) (credentials.Bundle, func(), error) {
	var name string
	if err := json.Unmarshal(config, &name); err != nil {
		return nil, nil, err
	}
	return memoryBundle{Bundle: insecure.NewBundle(), name: name}, func() {}, nil
}

type memoryBundle struct {
	credentials.Bundle

	name string
}

// DialOptions is what grpc-go looks for.
func (b memoryBundle) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		l, ok := adsServers.Load(b.name)
		if !ok {
			return nil, fmt.Errorf("no server of %s", b.name)
		}
		return l.(*bufconn.Listener).DialContext(ctx)
	})}
}
