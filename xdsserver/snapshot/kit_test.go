package snapshot

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

var quiet = slog.New(slog.DiscardHandler)

// builder returns a Builder that is closed with the test.
func builder(tb testing.TB, judge bool) *Builder {
	tb.Helper()
	b := NewBuilder(Config{Judge: judge, Logger: quiet})
	tb.Cleanup(b.Close)
	return b
}

func name(s string) model.ServiceName {
	return model.ServiceName{Namespace: model.DefaultNamespace, Name: s}
}

// testTrust has one root, of the trust domain tulle.local.
var testTrust = trustOf("../translate/testdata/root.pem")

func trustOf(file string) *model.Trust {
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(text)
	return &model.Trust{Domain: "tulle.local", Authorities: [][]byte{block.Bytes}}
}

// A world is the Set of a test, changed by copying as a merge does.
type world struct {
	services  map[string]*model.Service
	routes    []*model.Route
	policies  []*model.AccessPolicy
	trust     *model.Trust
	endpoints map[string][]model.Endpoint
}

func newWorld(services ...string) *world {
	w := &world{services: map[string]*model.Service{}, endpoints: map[string][]model.Endpoint{}, trust: testTrust}
	for _, s := range services {
		w.service(s, 0)
		w.serve(s, "v1", 1, 2)
	}
	return w
}

// service configures a service.
func (w *world) service(s string, maxRequests uint32) {
	w.services[s] = &model.Service{Name: name(s), From: "mesh.yaml:1", MaxRequests: maxRequests}
}

// serve replaces the endpoints of one version by those with the numbers.
func (w *world) serve(s, version string, numbers ...int) {
	endpoints := slices.DeleteFunc(slices.Clone(w.endpoints[s]), func(e model.Endpoint) bool { return e.Version == version })
	for _, n := range numbers {
		endpoints = append(endpoints, model.Endpoint{
			Service: name(s), Instance: fmt.Sprint(version, "-", n), Version: version, Zone: "eu-1",
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d:80", n>>16&255, n>>8&255, n&255)}, From: "registered",
		})
	}
	w.endpoints[s] = endpoints
}

// route sends calls to one service to others: "voting", or "voting/v2".
func (w *world) route(parent string, backends ...string) {
	w.routes = slices.DeleteFunc(slices.Clone(w.routes), func(r *model.Route) bool { return r.Name == parent })
	if len(backends) == 0 {
		return
	}
	rule := model.Rule{}
	for _, b := range backends {
		service, version, _ := strings.Cut(b, "/")
		rule.Backends = append(rule.Backends, model.Backend{Service: name(service), Version: version, Weight: 1})
	}
	w.routes = append(w.routes, &model.Route{
		Namespace: model.DefaultNamespace, Name: parent, From: "mesh.yaml:9",
		Parents: []model.ServiceName{name(parent)}, Rules: []model.Rule{rule},
	})
}

func (w *world) set() *model.Set {
	set := &model.Set{
		Services:    map[model.ServiceName]*model.Service{},
		Endpoints:   map[model.ServiceName][]model.Endpoint{},
		Generations: map[string]uint64{"file": 1},
		Policies:    slices.Clone(w.policies),
		Trust:       w.trust,
	}
	for s, service := range w.services {
		set.Services[name(s)] = service
	}
	for s, endpoints := range w.endpoints {
		set.Endpoints[name(s)] = endpoints
	}
	set.Routes = slices.Clone(w.routes)
	slices.SortFunc(set.Routes, func(a, b *model.Route) int { return strings.Compare(a.Name, b.Name) })
	return set
}

// build builds the world, which must have as many problems as wanted.
func (w *world) build(t *testing.T, b *Builder, problems int) (*Snapshot, []model.Problem) {
	t.Helper()
	snap, got := b.Build(context.Background(), w.set())
	if len(got) != problems {
		t.Fatalf("got %d problems, want %d: %+v", len(got), problems, got)
	}
	closed(t, snap)
	return snap, got
}

// message decodes a published resource into m, and checks its encoding.
func message[M proto.Message](t *testing.T, snap *Snapshot, typeURL, name string, m M) M {
	t.Helper()
	r := snap.Resource(typeURL, name)
	if r == nil {
		t.Fatalf("%s %q is not published", kindOf(typeURL), name)
	}
	var a anypb.Any
	if err := proto.Unmarshal(r.Any, &a); err != nil {
		t.Fatal(err)
	}
	if a.GetTypeUrl() != typeURL || r.Name != name || r.Version != versionOf(a.GetValue()) {
		t.Errorf("%s %q is encoded as %q, version %q", kindOf(typeURL), name, a.GetTypeUrl(), r.Version)
	}
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func maxRequests(t *testing.T, snap *Snapshot, cluster string) uint32 {
	t.Helper()
	c := message(t, snap, resource.ClusterType, cluster, &clusterv3.Cluster{})
	return c.GetCircuitBreakers().GetThresholds()[0].GetMaxRequests().GetValue()
}

// instances are the endpoints of a cluster, or "missing".
func instances(t *testing.T, snap *Snapshot, cluster string) string {
	t.Helper()
	if snap.Resource(resource.EndpointsType, cluster) == nil {
		return "missing"
	}
	var all []string
	for _, l := range message(t, snap, resource.EndpointsType, cluster, &endpointv3.ClusterLoadAssignment{}).GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			all = append(all, e.GetMetadata().GetFilterMetadata()["tulle"].GetFields()["instance"].GetStringValue())
		}
	}
	return strings.Join(all, " ")
}

// closed checks that every reference in the snapshot resolves.
func closed(t *testing.T, snap *Snapshot) {
	t.Helper()
	for name := range snap.Types[resource.ListenerType] {
		if service, ok := resource.Owner(name); ok {
			name = resource.ServerListener(service) // one for all addresses
		}
		if snap.Resource(resource.RouteType, name) == nil {
			t.Errorf("Listener %q leads to no RouteConfiguration", name)
		}
	}
	for name := range snap.Types[resource.RouteType] {
		routes := message(t, snap, resource.RouteType, name, &routev3.RouteConfiguration{})
		decoded, err := resource.DecodeRouteConfiguration(mustMarshal(t, routes))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range clustersOf(decoded) {
			if snap.Resource(resource.ClusterType, c) == nil {
				t.Errorf("RouteConfiguration %q leads to Cluster %q, which is not published", name, c)
			}
		}
	}
	for name := range snap.Types[resource.ClusterType] {
		if snap.Resource(resource.EndpointsType, name) == nil {
			t.Errorf("Cluster %q has no ClusterLoadAssignment", name)
		}
	}
}

func mustMarshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spoil makes b translate a resource into what bad returns, while it is not nil.
func spoil(b *Builder, typeURL, name string, bad func() proto.Message) {
	good := b.translate
	with := func(translated func(translate.Input) []translate.Resource) func(translate.Input) []translate.Resource {
		return func(in translate.Input) []translate.Resource {
			resources := translated(in)
			for i, r := range resources {
				if r.TypeURL == typeURL && r.Name == name {
					if m := bad(); m != nil {
						resources[i].Message = m
					}
				}
			}
			return resources
		}
	}
	b.translate.configuration, b.translate.inbound, b.translate.assignments = with(good.configuration), with(good.inbound), with(good.assignments)
}

// lenient makes b's own decoder take any Cluster, so that only grpc-go refuses one.
func lenient(b *Builder) {
	b.translate.decode = func(typeURL string, value []byte) (resource.Resource, error) {
		var c clusterv3.Cluster
		if typeURL == resource.ClusterType && proto.Unmarshal(value, &c) == nil {
			return &resource.Cluster{Name: c.GetName()}, nil
		}
		return resource.Decode(typeURL, value)
	}
}
