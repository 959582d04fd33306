package admin

import (
	"encoding/pem"
	"log/slog"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// canary is a mesh in which calls of voting are routed.
const canary = `
apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec:
  timeout: 2s
  endpoints:
    - {address: "127.0.0.1:7001", version: v1, zone: north}
    - {address: "127.0.0.1:7002", version: v2, zone: north}
    - {address: "127.0.0.1:7003", version: v1, zone: south}
---
apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: canary}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
    - name: cast
      matches: [{method: {service: vote.v1.Votes, method: Cast}, headers: [{name: x-canary, value: "1"}]}]
      backendRefs: [{name: voting, version: v2}]
      timeouts: {request: 500ms}
    - name: reset
      matches: [{method: {service: vote.v1.Votes, method: Reset}}]
      backendRefs: [{name: voting, version: v3}]
    - name: rest
      matches: [{method: {service: vote.v1.Votes}}]
      backendRefs:
        - {name: voting, version: v1, weight: 9}
        - {name: voting, version: v2, weight: 1}
`

// publish builds what is served of a mesh.
func publish(t *testing.T, yaml string) *Publication {
	t.Helper()
	objects, problems := manifest.Parse("mesh.yaml", []byte(yaml))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set := model.Validate(objects, nil, nil)
	root, err := os.ReadFile("../translate/testdata/root.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(root)
	set.Trust = &model.Trust{Domain: "tulle.local", Authorities: [][]byte{block.Bytes}}
	b := snapshot.NewBuilder(snapshot.Config{Logger: slog.New(slog.DiscardHandler)})
	defer b.Close()
	snap, problems := b.Build(t.Context(), set)
	for _, p := range append(problems, set.Problems...) {
		if !p.Warning {
			t.Fatal(p)
		}
	}
	return &Publication{Set: set, Snapshot: snap}
}

// ask explains a call of voting by what is published.
func (p *Publication) ask(method string, headers ...string) (*evidence, *question) {
	return assemble("voting", published{p.Snapshot}), &question{
		method:  method,
		md:      metadata.Pairs(headers...),
		caller:  &adminv1.ExplainedCaller{},
		set:     p.Set,
		authors: authorsOf(p.Set, voting),
		inbound: func(service string) (*resource.Inbound, error) { return inbound(p.Snapshot, service) },
	}
}

// A stub holds what a test says.
type stub map[string]resource.Resource

func (s stub) get(typeURL, name string) (resource.Resource, *adminv1.HeldResource) {
	r := s[name+" "+kindOf(typeURL)]
	return r, &adminv1.HeldResource{Type: kindOf(typeURL), Name: name, Note: "the stub has none"}
}

// stubbed has one service, whose routes and clusters a test gives.
func stubbed(t *testing.T, change func(*resource.Route, *resource.Cluster, *resource.Endpoints)) *evidence {
	t.Helper()
	p := publish(t, "{apiVersion: tulle/v1, kind: Service, metadata: {name: voting}, spec: {timeout: 1s}}")
	routes := get[*resource.RouteConfiguration](t, p, resource.RouteType)
	cluster := get[*resource.Cluster](t, p, resource.ClusterType)
	endpoints := &resource.Endpoints{Name: "voting", Localities: []resource.Locality{
		{Region: "eu", Zone: "north", Weight: 1, Endpoints: []resource.Endpoint{{Addresses: []string{"127.0.0.1:1"}, Weight: 1, Instance: "one"}}},
		{Region: "eu", Zone: "south", Weight: 1, Endpoints: []resource.Endpoint{{Addresses: []string{"127.0.0.1:2"}, Weight: 3, Instance: "two"}}},
	}}
	route := routes.VirtualHost("voting").Routes[0]
	change(route, cluster, endpoints)
	return assemble("voting", stub{
		"voting Listener":              get[*resource.Listener](t, p, resource.ListenerType),
		"voting RouteConfiguration":    routes,
		"voting Cluster":               cluster,
		"voting ClusterLoadAssignment": endpoints,
	})
}

func get[R resource.Resource](t *testing.T, p *Publication, typeURL string) R {
	t.Helper()
	var wrapped anypb.Any
	if err := proto.Unmarshal(p.Snapshot.Resource(typeURL, "voting").Any, &wrapped); err != nil {
		t.Fatal(err)
	}
	r, err := resource.Decode(typeURL, wrapped.GetValue())
	if err != nil {
		t.Fatal(err)
	}
	return r.(R)
}

// from is a question about a call of voting, by somebody.
func from(caller *adminv1.ExplainedCaller, endpoints ...model.Endpoint) *question {
	return &question{
		method: "/vote.v1.Votes/Cast", md: metadata.MD{}, caller: caller,
		set: &model.Set{Endpoints: map[model.ServiceName][]model.Endpoint{voting: endpoints}},
		inbound: func(string) (*resource.Inbound, error) {
			return nil, errNotServed
		},
	}
}

// live is an endpoint that registered itself.
func live(instance, address string, h model.Health) model.Endpoint {
	return model.Endpoint{Service: voting, Instance: instance, Addresses: []string{address}, Region: "eu", Zone: "north", Health: h, Since: time.Now()}
}
