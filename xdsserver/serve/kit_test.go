package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	commandv1 "github.com/tulle-mesh/tulle/mesh/api/command/v1"
	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// Short names of the type URLs.
const (
	lds = resource.ListenerType
	rds = resource.RouteType
	cds = resource.ClusterType
	eds = resource.EndpointsType
	tbs = resource.TrustBundleType
	cmd = resource.CommandsType
)

// world is what a test serves: contents by type and name.
type world map[string]map[string]string

// message makes a resource that carries text where clients do not look.
func message(typeURL, name, text string) proto.Message {
	switch typeURL {
	case lds:
		return &listenerv3.Listener{Name: name, StatPrefix: text}
	case rds:
		return &routev3.RouteConfiguration{Name: name, InternalOnlyHeaders: []string{text}}
	case cds:
		return &clusterv3.Cluster{Name: name, AltStatName: text}
	case tbs:
		return &identityv1.TrustBundle{TrustDomain: name, Authorities: [][]byte{[]byte(text)}}
	case cmd:
		return &commandv1.Commands{Service: name, Log: &commandv1.Log{Level: text}}
	default:
		return &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{Locality: &corev3.Locality{Zone: text}}},
		}
	}
}

// text returns what message put in.
func text(a *anypb.Any) string {
	m, err := a.UnmarshalNew()
	if err != nil {
		return err.Error()
	}
	switch m := m.(type) {
	case *listenerv3.Listener:
		return m.GetStatPrefix()
	case *routev3.RouteConfiguration:
		return m.GetInternalOnlyHeaders()[0]
	case *clusterv3.Cluster:
		return m.GetAltStatName()
	case *identityv1.TrustBundle:
		return string(m.GetAuthorities()[0])
	case *commandv1.Commands:
		return m.GetLog().GetLevel()
	case *endpointv3.ClusterLoadAssignment:
		return m.GetEndpoints()[0].GetLocality().GetZone()
	}
	return fmt.Sprintf("%T", m)
}

// name returns the name of a resource.
func name(a *anypb.Any) string {
	m, err := a.UnmarshalNew()
	if err != nil {
		return err.Error()
	}
	switch m := m.(type) {
	case *endpointv3.ClusterLoadAssignment:
		return m.GetClusterName()
	case *identityv1.TrustBundle:
		return m.GetTrustDomain()
	case *commandv1.Commands:
		return m.GetService()
	}
	return m.(interface{ GetName() string }).GetName()
}

// encode makes a resource of a message: equal messages have equal bytes.
func encode(name string, m proto.Message) *snapshot.Resource {
	deterministic := proto.MarshalOptions{Deterministic: true}
	a := new(anypb.Any)
	if err := anypb.MarshalFrom(a, m, deterministic); err != nil {
		panic(err)
	}
	b, err := deterministic.Marshal(a)
	if err != nil {
		panic(err)
	}
	h := fnv.New64a()
	h.Write(b)
	return &snapshot.Resource{Name: name, Version: strconv.FormatUint(h.Sum64(), 16), Any: b}
}

// snapshot encodes the world.
func (w world) snapshot(generation uint64) *snapshot.Snapshot {
	s := &snapshot.Snapshot{
		Types:       make(map[string]map[string]*snapshot.Resource),
		Generations: map[string]uint64{"test": generation},
	}
	for typeURL, contents := range w {
		s.Types[typeURL] = make(map[string]*snapshot.Resource)
		for n, t := range contents {
			s.Types[typeURL][n] = encode(n, message(typeURL, n, t))
		}
	}
	return s
}

// A rig is a test with a server on an in-memory listener.
type rig struct {
	*testing.T
	*Server

	lis        *bufconn.Listener
	grpc       *grpc.Server
	generation uint64
	logged     *bytes.Buffer // of warnings; nil when the test has a logger of its own
}

// warnings counts them.
func (r *rig) warnings() int { return bytes.Count(r.logged.Bytes(), []byte{'\n'}) }

// bubble runs a test in a bubble with a server in it.
func bubble(t *testing.T, config func(*Config), f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		c := Config{Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))}
		if config != nil {
			config(&c)
		}
		r := newRig(t, c)
		r.logged = &logged
		f(r)
	})
}

func newRig(t *testing.T, c Config) *rig {
	t.Helper()
	s := New(c)
	r := &rig{T: t, Server: s, lis: bufconn.Listen(1 << 20), grpc: grpc.NewServer(s.ServerOptions()...)}
	s.Register(r.grpc)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.grpc.Serve(r.lis)
	}()
	t.Cleanup(func() {
		s.Close()
		r.grpc.Stop()
		<-done
	})
	return r
}

// publish serves the world, once the server has taken in what clients have sent.
func (r *rig) publish(w world) {
	synctest.Wait()
	r.generation++
	r.Publish(w.snapshot(r.generation))
}

// dial returns a connection to the server.
func (r *rig) dial() *grpc.ClientConn {
	r.Helper()
	conn, err := grpc.NewClient("passthrough:///rig",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1<<30), grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	return conn
}

// A client is one ADS stream of a peer that does only what a test tells it.
type client[Req, Resp any] struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[Req, Resp]
	cancel context.CancelFunc
	first  bool
	node   *corev3.Node

	mu  sync.Mutex
	in  []*Resp
	err error
}

type (
	sotwClient  = client[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]
	deltaClient = client[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
)

func (r *rig) sotw(node string) *sotwClient {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.dial()).StreamAggregatedResources(ctx)
	return newClient(r.T, stream, err, cancel, node)
}

func (r *rig) delta(node string) *deltaClient {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.dial()).DeltaAggregatedResources(ctx)
	return newClient(r.T, stream, err, cancel, node)
}

func newClient[Req, Resp any](
	t *testing.T, stream grpc.BidiStreamingClient[Req, Resp], err error, cancel context.CancelFunc, node string,
) *client[Req, Resp] {
	t.Helper()
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	c := &client[Req, Resp]{
		t: t, stream: stream, cancel: cancel, first: true,
		node: &corev3.Node{Id: node, Cluster: "test", UserAgentName: "kit"},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := stream.Recv()
			c.mu.Lock()
			if err != nil {
				c.err = err
				c.mu.Unlock()
				return
			}
			c.in = append(c.in, m)
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return c
}

// send sends a request, the first with the node.
func (c *client[Req, Resp]) send(req *Req) {
	c.t.Helper()
	if c.first {
		c.first = false
		switch req := any(req).(type) {
		case *discoveryv3.DiscoveryRequest:
			req.Node = c.node
		case *discoveryv3.DeltaDiscoveryRequest:
			req.Node = c.node
		}
	}
	if err := c.stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatal(err)
	}
}

// pending returns what has come, once everything is quiet.
func (c *client[Req, Resp]) pending() []*Resp {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.in
	c.in = nil
	return in
}

// one returns the one response that has come.
func (c *client[Req, Resp]) one() *Resp {
	c.t.Helper()
	in := c.pending()
	if len(in) != 1 {
		c.t.Fatalf("got %d responses, want 1: %v", len(in), in)
	}
	return in[0]
}

// none fails when anything has come.
func (c *client[Req, Resp]) none() {
	c.t.Helper()
	if in := c.pending(); len(in) != 0 {
		c.t.Fatalf("got %d responses, want none: %v", len(in), in)
	}
}

// ended returns the error the stream ended with, nil while it has not.
func (c *client[Req, Resp]) ended() error {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ask sends a list of names in answer to a response, or to none.
func ask(c *sotwClient, typeURL string, to *discoveryv3.DiscoveryResponse, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DiscoveryRequest{
		TypeUrl: typeURL, ResourceNames: names, VersionInfo: to.GetVersionInfo(), ResponseNonce: to.GetNonce(),
	})
}

// nack refuses a response.
func nack(c *sotwClient, to *discoveryv3.DiscoveryResponse, reason string, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DiscoveryRequest{
		TypeUrl: to.GetTypeUrl(), ResourceNames: names, ResponseNonce: to.GetNonce(),
		ErrorDetail: &status.Status{Code: 3, Message: reason},
	})
}

// contents returns the texts of a response by name.
func contents(r *discoveryv3.DiscoveryResponse) map[string]string {
	m := make(map[string]string)
	for _, a := range r.GetResources() {
		m[name(a)] = text(a)
	}
	return m
}

// subscribe sends names in answer to a response, or to none.
func subscribe(c *deltaClient, typeURL string, to *discoveryv3.DeltaDiscoveryResponse, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: typeURL, ResourceNamesSubscribe: names, ResponseNonce: to.GetNonce(),
	})
}

// unsubscribe takes names back.
func unsubscribe(c *deltaClient, typeURL string, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesUnsubscribe: names})
}

// ack accepts a response.
func ack(c *deltaClient, to *discoveryv3.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: to.GetTypeUrl(), ResponseNonce: to.GetNonce()})
}

// reject refuses a response.
func reject(c *deltaClient, to *discoveryv3.DeltaDiscoveryResponse, reason string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: to.GetTypeUrl(), ResponseNonce: to.GetNonce(), ErrorDetail: &status.Status{Code: 3, Message: reason},
	})
}

// changes returns the texts of a response by name, "removed" for what is gone.
func changes(r *discoveryv3.DeltaDiscoveryResponse) map[string]string {
	m := make(map[string]string)
	for _, res := range r.GetResources() {
		m[res.GetName()] = text(res.GetResource())
	}
	for _, n := range r.GetRemovedResources() {
		m[n] = "removed"
	}
	return m
}

// with returns the world with one content changed; empty text removes the name.
func (w world) with(typeURL, name, text string) world {
	next := make(world)
	for u, contents := range w {
		next[u] = maps.Clone(contents)
	}
	if next[typeURL] == nil {
		next[typeURL] = make(map[string]string)
	}
	next[typeURL][name] = text
	if text == "" {
		delete(next[typeURL], name)
	}
	return next
}

// full has one service of each name, at version 1 of everything.
func full(names ...string) world {
	w := world{lds: {}, rds: {}, cds: {}, eds: {}}
	for _, n := range names {
		for _, u := range []string{lds, rds, cds, eds} {
			w[u][n] = "v1"
		}
	}
	return w
}

// order returns the short names of the types of responses, in order.
func order(in []*discoveryv3.DiscoveryResponse) []string {
	var list []string
	for _, r := range in {
		k, _ := kindOf([]byte(r.GetTypeUrl()))
		list = append(list, k.String())
	}
	return slices.Clip(list)
}
