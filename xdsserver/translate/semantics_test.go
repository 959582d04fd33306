package translate_test

import (
	"slices"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

// decode returns a translated resource as clients have it.
func decode[T resource.Resource](t *testing.T, set *model.Set, typeURL, name string) T {
	t.Helper()
	all := translate.Translate(set)
	i := slices.IndexFunc(all, func(r translate.Resource) bool { return r.TypeURL == typeURL && r.Name == name })
	if i < 0 {
		t.Fatalf("no %s %s", typeURL, name)
	}
	b, err := proto.Marshal(all[i].Message)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := resource.Decode(typeURL, b)
	if err != nil {
		t.Fatal(err)
	}
	return decoded.(T)
}

// TestTheMostSpecificMatchDecides sends calls through the routes as clients do:
// what counts is where they go, not how the routes are written.
func TestTheMostSpecificMatchDecides(t *testing.T) {
	const service = "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\n---\n"
	route := func(name, rules string) string {
		return "apiVersion: tulle/v1\nkind: GRPCRoute\nmetadata: {name: " + name + "}\n" +
			"spec:\n  parentRefs: [{kind: Service, name: voting}]\n  rules:\n" + rules + "---\n"
	}
	rule := func(name, matches string) string {
		return "  - {name: " + name + ", matches: [" + matches + "], backendRefs: [{name: voting}]}\n"
	}
	const (
		every      = "{}"
		svc        = "{method: {service: a.B}}"
		method     = "{method: {method: M}}"
		both       = "{method: {service: a.B, method: M}}"
		withHeader = "{method: {service: a.B, method: M}, headers: [{name: X-A, value: one}]}"
		headers    = "{headers: [{name: x-a, value: one}, {name: x-b, value: two}]}"
		header     = "{headers: [{name: x-a, type: RegularExpression, value: o.e}]}"
		expression = "{method: {type: RegularExpression, service: 'a[.]B|c[.]D', method: 'M|N'}}"
		dot        = "{method: {type: RegularExpression, service: 'a.B'}}"
	)
	for _, tt := range []struct {
		name    string
		routes  string
		method  string
		headers metadata.MD
		want    string // empty where no route holds
	}{
		{"without routes every call goes to the service", "", "/a.B/M", nil, "voting"},
		{
			"a rule without matches holds for every call",
			route("r", "  - {name: all, backendRefs: [{name: voting}]}\n"),
			"/x/y",
			nil,
			"r/all",
		},
		{"a call that no rule holds for has no route", route("r", rule("svc", svc)), "/a.C/M", nil, ""},
		{"a service is not the beginning of another", route("r", rule("svc", svc)), "/a.BC/M", nil, ""},
		{"a method is that of any service", route("r", rule("method", method)), "/x.Y/M", nil, "r/method"},
		{"a method is not the end of another", route("r", rule("method", method)), "/x.Y/XM", nil, ""},
		{"service and method come before the service", route("r", rule("svc", svc)+rule("both", both)), "/a.B/M", nil, "r/both"},
		{"the service comes before the method", route("r", rule("method", method)+rule("svc", svc)), "/a.B/M", nil, "r/svc"},
		{"an exact match comes before an expression", route("r", rule("expression", expression)+rule("svc", svc)), "/a.B/M", nil, "r/svc"},
		{
			"an expression comes before headers alone",
			route("r", rule("headers", headers)+rule("expression", expression)),
			"/c.D/N",
			metadata.Pairs("x-a", "one", "x-b", "two"),
			"r/expression",
		},
		{"an expression holds for the whole", route("r", rule("expression", expression)), "/a.B/MN", nil, ""},
		{"an expression's dot is any character", route("r", rule("dot", dot)), "/aXB/M", nil, "r/dot"},
		{"alternatives stay within their part", route("r", rule("expression", expression)), "/a.B/x", nil, ""},
		{
			"a header makes a match more specific",
			route("r", rule("both", both)+rule("header", withHeader)),
			"/a.B/M",
			metadata.Pairs("x-a", "one"),
			"r/header",
		},
		{"without the header the other holds", route("r", rule("both", both)+rule("header", withHeader)), "/a.B/M", nil, "r/both"},
		{
			"more headers come before fewer",
			route("r", rule("one", header)+rule("two", headers)),
			"/x/y",
			metadata.Pairs("x-a", "one", "x-b", "two"),
			"r/two",
		},
		{"all headers must be there", route("r", rule("two", headers)), "/x/y", metadata.Pairs("x-a", "one"), ""},
		{"a header's expression holds for the whole value", route("r", rule("one", header)), "/x/y", metadata.Pairs("x-a", "onee"), ""},
		{"any of several matches will do", route("r", rule("some", svc+", "+method)), "/x.Y/M", nil, "r/some"},
		{
			"of equals the route first in the alphabet decides",
			route("z", rule("both", both)) + route("a", rule("both", both)),
			"/a.B/M",
			nil,
			"a/both",
		},
		{"of equals in a route the first rule decides", route("r", rule("x", both)+rule("a", both)), "/a.B/M", nil, "r/x"},
		{
			"a more specific match of a later route decides",
			route("a", rule("all", every)) + route("z", rule("both", both)),
			"/a.B/M",
			nil,
			"z/both",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := load(t, "f", []byte(service+tt.routes))
			host := decode[*resource.RouteConfiguration](t, set, resource.RouteType, "voting").VirtualHost("voting")
			got := ""
			ctx := metadata.NewOutgoingContext(t.Context(), tt.headers)
			if r := host.Match(ctx, tt.method); r != nil {
				if got = r.Name; tt.routes == "" {
					got = r.Clusters[0].Name
				}
			}
			if got != tt.want {
				t.Errorf("%s with %v: got %q, want %q", tt.method, tt.headers, got, tt.want)
			}
		})
	}
}

func TestTimeoutsAreThoseOfTheRuleAndThenOfTheService(t *testing.T) {
	set := load(t, "f", []byte(`
apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec: {timeout: 2s}
---
apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: r}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
  - {matches: [{method: {method: Own}}], backendRefs: [{name: voting}], timeouts: {request: 5s}}
  - {matches: [{method: {method: None}}], backendRefs: [{name: voting}], timeouts: {request: 0s}}
  - {backendRefs: [{name: voting}]}
`))
	c := &resource.Config{
		Listener:    decode[*resource.Listener](t, set, resource.ListenerType, "voting"),
		VirtualHost: decode[*resource.RouteConfiguration](t, set, resource.RouteType, "voting").VirtualHost("voting"),
	}
	for method, want := range map[string]time.Duration{"/a.B/Own": 5 * time.Second, "/a.B/None": 0, "/a.B/Other": 2 * time.Second} {
		if got := c.Timeout(c.VirtualHost.Match(t.Context(), method)); got != want {
			t.Errorf("%s: got %v, want %v", method, got, want)
		}
	}
}

func TestHealthSaysWhoTakesCalls(t *testing.T) {
	voting := model.ServiceName{Namespace: "shop", Name: "voting"}
	endpoint := func(instance, address string, h model.Health, change func(*model.Endpoint)) model.Endpoint {
		e := model.Endpoint{
			Service: voting, Instance: instance, Addresses: []string{address}, Version: "v1", Zone: "a",
			Health: h, From: model.Registered,
		}
		if change != nil {
			change(&e)
		}
		return e
	}
	set := model.Validate(nil, []model.Endpoint{
		endpoint("healthy", "10.0.0.1:80", model.Healthy, func(e *model.Endpoint) { e.Weight = 3 }),
		endpoint("lost", "10.0.0.2:80", model.Lost, nil),
		endpoint("sick", "10.0.0.3:80", model.NotServing, func(e *model.Endpoint) { e.Weight = 100 }),
		endpoint("leaving", "10.0.0.4:80", model.Leaving, nil),
		endpoint("far", "10.0.0.5:80", model.Healthy, func(e *model.Endpoint) { e.Zone, e.Region = "b", "eu" }),
		endpoint("sick too", "10.0.0.6:80", model.NotServing, func(e *model.Endpoint) { e.Zone = "c" }),
	}, nil)
	got := decode[*resource.Endpoints](t, set, resource.EndpointsType, "voting.shop")
	weights, takes := map[string]uint32{}, map[string]bool{}
	for _, l := range got.Localities {
		weights[l.Region+"/"+l.Zone] = l.Weight
		for _, e := range l.Endpoints {
			takes[e.Instance] = true
		}
	}
	// A zone's share is that of the endpoints in it that take calls.
	if weights["/a"] != 4 || weights["eu/b"] != 1 || weights["/c"] != 1 {
		t.Errorf("weights %v, want a 4, b 1, c 1", weights)
	}
	for instance, want := range map[string]bool{"healthy": true, "lost": true, "far": true, "sick": false, "leaving": false, "sick " +
		"too": false} {
		if takes[instance] != want {
			t.Errorf("%s takes calls: %v, want %v", instance, takes[instance], want)
		}
	}

	// The sick are told, so that operators and other clients see them; who leaves is not.
	all := translate.Translate(set)
	for _, r := range all {
		if r.TypeURL != resource.EndpointsType {
			continue
		}
		n := 0
		for _, l := range r.Message.(*endpointv3.ClusterLoadAssignment).GetEndpoints() {
			n += len(l.GetLbEndpoints())
		}
		if n != 5 {
			t.Errorf("%d endpoints are told, want 5", n)
		}
	}
}

func TestAVersionThatARouteNamesHasAClusterEvenWithoutEndpoints(t *testing.T) {
	set := load(t, "f", []byte(`
apiVersion: tulle/v1
kind: Service
metadata: {name: web}
---
apiVersion: tulle/v1
kind: Service
metadata: {name: voting, namespace: shop}
spec: {maxRequests: 7, endpoints: [{address: "10.0.0.1:80", version: v1}]}
---
apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: r}
spec:
  parentRefs: [{kind: Service, name: web}]
  rules:
  - backendRefs:
    - {name: voting, namespace: shop, version: v1}
    - {name: voting, namespace: shop, version: v2}
`))
	for name, want := range map[string]int{"voting.shop": 1, "voting.shop/v1": 1, "voting.shop/v2": 0} {
		if c := decode[*resource.Cluster](t, set, resource.ClusterType, name); c.EndpointsName != name || c.MaxRequests != 7 {
			t.Errorf("cluster %+v", c)
		}
		if e := decode[*resource.Endpoints](t, set, resource.EndpointsType, name); len(e.Localities) != want {
			t.Errorf("%s: got %d localities, want %d", name, len(e.Localities), want)
		}
	}
}

// routeConfiguration is that of the service voting, as it is written.
func routeConfiguration(t *testing.T, set *model.Set) *routev3.RouteConfiguration {
	t.Helper()
	for _, r := range translate.Translate(set) {
		if m, ok := r.Message.(*routev3.RouteConfiguration); ok && r.Name == "voting" {
			return m
		}
	}
	t.Fatal("no routes")
	return nil
}
