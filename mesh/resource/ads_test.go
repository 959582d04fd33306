package resource_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/grpc/xds"
	"google.golang.org/grpc/xds/bootstrap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// adsServer is a state-of-the-world ADS server in memory, for grpc-go's own xDS
// client: it serves what set was called with and reports every answer.
type adsServer struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	mu        sync.Mutex
	resources map[string]map[string]published // by type and name
	version   int                             // of the last change
	streams   map[chan struct{}]bool          // cap-1 wake channels
	answers   func(answer)                    // called without mu held; may be nil
}

type published struct {
	value   []byte
	version int
}

// answer is an ACK, or a NACK where err is not empty.
type answer struct {
	typeURL, nonce, err string
}

// newADS serves until the test ends. It returns the resolver of xds:/// targets
// that are configured by it.
func newADS(t *testing.T, answers func(answer)) (*adsServer, resolver.Builder) {
	t.Helper()
	s := &adsServer{
		resources: map[string]map[string]published{},
		streams:   map[chan struct{}]bool{},
		answers:   answers,
	}
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, s)
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Errorf("ads server: %v", err)
		}
	})
	t.Cleanup(func() {
		server.Stop()
		running.Wait()
	})

	name := t.Name()
	adsListeners.Store(name, listener)
	t.Cleanup(func() { adsListeners.Delete(name) })
	config, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri":    "passthrough:///ads",
			"channel_creds": []any{map[string]any{"type": "memory", "config": name}},
		}},
		"node": map[string]any{"id": "oracle"},
		// Resources may name it; nothing is read before a connection asks.
		"certificate_providers": map[string]any{resource.CertificateProvider: map[string]any{
			"plugin_name": "file_watcher", "config": map[string]any{
				"certificate_file": "svid.pem", "private_key_file": "key.pem", "ca_certificate_file": "bundle.pem",
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	builder, err := xds.NewXDSResolverWithConfigForTesting(config)
	if err != nil {
		t.Fatal(err)
	}
	return s, builder
}

// adsListeners are the servers that the "memory" credentials lead to, by name of
// the test. A registry of grpc-go's is the only way in from outside.
var adsListeners sync.Map

func init() { bootstrap.RegisterChannelCredentials(memory{}) }

type memory struct{}

func (memory) Name() string { return "memory" }

func (memory) Build(config json.RawMessage) (credentials.Bundle, func(), error) {
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

// DialOptions is found by grpc-go's xDS client.
func (b memoryBundle) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		l, ok := adsListeners.Load(b.name)
		if !ok {
			return nil, fmt.Errorf("no ads server %q", b.name)
		}
		return l.(*bufconn.Listener).DialContext(ctx)
	})}
}

// set publishes a resource. It returns the nonce of the response that carries
// it, if nothing else is published meanwhile.
func (s *adsServer) set(typeURL, name string, value []byte) (nonce string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resources[typeURL] == nil {
		s.resources[typeURL] = map[string]published{}
	}
	s.version++
	s.resources[typeURL][name] = published{value, s.version}
	for wake := range s.streams {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return fmt.Sprint(s.version)
}

// publish is set for a message.
func (s *adsServer) publish(t *testing.T, typeURL, name string, m proto.Message) []byte {
	t.Helper()
	value := encode(t, m)
	s.set(typeURL, name, value)
	return value
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (s *adsServer) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	wake := make(chan struct{}, 1)
	s.mu.Lock()
	s.streams[wake] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, wake)
		s.mu.Unlock()
	}()

	requests := make(chan *discoveryv3.DiscoveryRequest)
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	reading.Go(func() {
		defer cancel()
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	})

	names, sent := map[string][]string{}, map[string]int{}
	for {
		var types []string
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
			types = slices.Sorted(maps.Keys(names))
		case r := <-requests:
			if n := r.GetResponseNonce(); n != "" && s.answers != nil {
				s.answers(answer{r.GetTypeUrl(), n, r.GetErrorDetail().GetMessage()})
			}
			asked := slices.Sorted(slices.Values(r.GetResourceNames()))
			if !slices.Equal(names[r.GetTypeUrl()], asked) {
				names[r.GetTypeUrl()] = asked
				sent[r.GetTypeUrl()] = 0
				types = []string{r.GetTypeUrl()}
			}
		}
		for _, typeURL := range types {
			response := s.response(typeURL, names[typeURL], sent)
			if response == nil {
				continue
			}
			if err := stream.Send(response); err != nil {
				return err
			}
		}
	}
}

// response is what a stream that asks for names is still to get, or nil.
func (s *adsServer) response(typeURL string, names []string, sent map[string]int) *discoveryv3.DiscoveryResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, VersionInfo: fmt.Sprint(s.version), Nonce: fmt.Sprint(s.version)}
	news := false
	for _, name := range names {
		if p, ok := s.resources[typeURL][name]; ok {
			r.Resources = append(r.Resources, &anypb.Any{TypeUrl: typeURL, Value: p.value})
			news = news || p.version > sent[typeURL]
		}
	}
	if !news {
		return nil
	}
	sent[typeURL] = s.version
	return r
}
