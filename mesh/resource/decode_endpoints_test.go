package resource_test

import (
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// locality is one in zone, of a priority and a weight; a weight of zero is left out.
func locality(zone string, priority, weight uint32, endpoints ...*endpointv3.LbEndpoint) *endpointv3.LocalityLbEndpoints {
	l := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Region: "r", Zone: zone}, Priority: priority, LbEndpoints: endpoints}
	if weight > 0 {
		l.LoadBalancingWeight = wrapperspb.UInt32(weight)
	}
	return l
}

func endpoint(host string, changes ...func(*endpointv3.LbEndpoint)) *endpointv3.LbEndpoint {
	e := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: tcp(host, 80)}}}
	for _, change := range changes {
		change(e)
	}
	return e
}

func inHealth(h corev3.HealthStatus) func(*endpointv3.LbEndpoint) {
	return func(e *endpointv3.LbEndpoint) { e.HealthStatus = h }
}

func ofWeight(w uint32) func(*endpointv3.LbEndpoint) {
	return func(e *endpointv3.LbEndpoint) { e.LoadBalancingWeight = wrapperspb.UInt32(w) }
}

func known(t *testing.T, facts map[string]any) func(*endpointv3.LbEndpoint) {
	t.Helper()
	s, err := structpb.NewStruct(facts)
	if err != nil {
		t.Fatal(err)
	}
	return func(e *endpointv3.LbEndpoint) {
		e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"tulle": s}}
	}
}

func assigned(localities ...*endpointv3.LocalityLbEndpoints) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{ClusterName: "voting", Endpoints: localities}
}

func dropping(p *typev3.FractionalPercent) *endpointv3.ClusterLoadAssignment {
	m := assigned()
	m.Policy = &endpointv3.ClusterLoadAssignment_Policy{
		DropOverloads: []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{{Category: "shed", DropPercentage: p}},
	}
	return m
}

func TestEndpointsAreDecoded(t *testing.T) {
	one := func(e resource.Endpoint) []resource.Locality {
		return []resource.Locality{{Region: "r", Zone: "a", Weight: 1, Endpoints: []resource.Endpoint{e}}}
	}
	for _, tt := range []struct {
		name string
		in   *endpointv3.ClusterLoadAssignment
		want resource.Endpoints
	}{
		{"of a service without any", assigned(), resource.Endpoints{}},
		{
			"with weights, addresses and what the mesh knows of them",
			assigned(locality("a", 0, 1, endpoint("10.0.0.1", ofWeight(3), known(t, map[string]any{"instance": "i", "version": "v1", "other": 1}),
				func(e *endpointv3.LbEndpoint) {
					e.GetEndpoint().AdditionalAddresses = []*endpointv3.Endpoint_AdditionalAddress{{Address: tcp("::1", 81)}}
				}))),
			resource.Endpoints{Localities: one(resource.Endpoint{Addresses: []string{"10.0.0.1:80", "[::1]:81"}, Weight: 3, Instance: "i", Version: "v1"})},
		},
		{
			"without a weight they weigh one, and may be known by name",
			assigned(locality("a", 0, 1, endpoint("voting.example", known(t, map[string]any{"version": ""})))),
			resource.Endpoints{Localities: one(resource.Endpoint{Addresses: []string{"voting.example:80"}, Weight: 1})},
		},
		{
			"that take no calls are left out, their locality is not",
			assigned(
				locality("a", 0, 1, endpoint("1", inHealth(corev3.HealthStatus_HEALTHY)), endpoint("2", inHealth(corev3.HealthStatus_UNHEALTHY)),
					endpoint("3", inHealth(corev3.HealthStatus_DRAINING)), endpoint("4", inHealth(corev3.HealthStatus_TIMEOUT)), endpoint("5", inHealth(corev3.HealthStatus_DEGRADED))),
				locality("b", 0, 1, endpoint("6", inHealth(corev3.HealthStatus_DRAINING))),
			),
			resource.Endpoints{Localities: append(one(resource.Endpoint{Addresses: []string{"1:80"}, Weight: 1}), resource.Locality{Region: "r", Zone: "b", Weight: 1})},
		},
		{
			"localities stand by priority, else as they came",
			assigned(locality("c", 1, 1), locality("b", 0, 2), locality("a", 0, 3), locality("a", 1, 4)),
			resource.Endpoints{Localities: []resource.Locality{
				{Region: "r", Zone: "b", Weight: 2},
				{Region: "r", Zone: "a", Weight: 3},
				{Region: "r", Zone: "c", Weight: 1, Priority: 1},
				{Region: "r", Zone: "a", Weight: 4, Priority: 1},
			}},
		},
		{
			"localities without a weight are left out unread",
			assigned(locality("a", 7, 0, endpoint("", ofWeight(0))), locality("a", 0, 1)),
			resource.Endpoints{Localities: []resource.Locality{{Region: "r", Zone: "a", Weight: 1}}},
		},
		{"drops", dropping(share(3, typev3.FractionalPercent_TEN_THOUSAND)), resource.Endpoints{Drops: []resource.Drop{{Category: "shed", PerMillion: 300}}}},
		{"drops of more than all are of all", dropping(share(1<<32-1, typev3.FractionalPercent_HUNDRED)), resource.Endpoints{Drops: []resource.Drop{{Category: "shed", PerMillion: 1_000_000}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resource.DecodeEndpoints(encode(t, tt.in))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Name = "voting"
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}

func TestEndpointsAreRefused(t *testing.T) {
	at := func(address *corev3.Address) *endpointv3.ClusterLoadAssignment {
		return assigned(locality("a", 0, 1, endpoint("", func(e *endpointv3.LbEndpoint) { e.GetEndpoint().Address = address })))
	}
	for _, tt := range []struct {
		name string
		in   *endpointv3.ClusterLoadAssignment
		want string
	}{
		{"without a name", &endpointv3.ClusterLoadAssignment{}, "ClusterLoadAssignment: cluster_name: is empty"},
		{"without a locality's name", assigned(&endpointv3.LocalityLbEndpoints{}), `ClusterLoadAssignment "voting": endpoints[0].locality: is missing`},
		{"with a gap in the priorities", assigned(locality("a", 0, 1), locality("a", 2, 1)), "endpoints: have no locality of priority 1"},
		{"without priority 0", assigned(locality("a", 1, 1)), "endpoints: have no locality of priority 0"},
		{"with a locality twice", assigned(locality("a", 0, 1), locality("a", 0, 1)), "endpoints[1].locality: is there twice at priority 0"},
		{"with localities that weigh too much", assigned(locality("a", 0, 1<<32-1), locality("b", 0, 1)), "endpoints[1].load_balancing_weight: makes the sum of priority 0 exceed"},
		{"with an endpoint that weighs nothing", assigned(locality("a", 0, 1, endpoint("1", ofWeight(0)))), "endpoints[0].lb_endpoints[0].load_balancing_weight: is zero"},
		{
			"with endpoints that weigh too much, whatever their health",
			assigned(locality("a", 0, 1, endpoint("1", ofWeight(1<<32-1), inHealth(corev3.HealthStatus_UNHEALTHY)), endpoint("2"))),
			"endpoints[0].lb_endpoints[1].load_balancing_weight: makes the sum of the locality exceed",
		},
		{
			"with an address twice, in whatever locality",
			assigned(locality("a", 0, 1, endpoint("10.0.0.1")), locality("b", 0, 1, endpoint("10.0.0.1"))),
			"endpoints[1].lb_endpoints[0].endpoint.address: 10.0.0.1:80 is there twice",
		},
		{"without an address", at(nil), "endpoint.address.socket_address.address: is empty"},
		{"without a host", at(tcp("", 80)), "endpoint.address.socket_address.address: is empty"},
		{"without a port", at(tcp("10.0.0.1", 0)), "endpoint.address.socket_address.port_value: 0 is no port"},
		{"with what is no port", at(tcp("10.0.0.1", 65536)), "endpoint.address.socket_address.port_value: 65536 is no port"},
		{
			"that listen for UDP",
			at(&corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Protocol: corev3.SocketAddress_UDP}}}),
			"socket_address.protocol: UDP is not supported; use TCP",
		},
		{"at a pipe", at(&corev3.Address{Address: &corev3.Address_Pipe{}}), "endpoint.address.pipe: is not supported"},
		{
			"known by name only",
			assigned(locality("a", 0, 1, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_EndpointName{EndpointName: "x"}})),
			"endpoints[0].lb_endpoints[0].endpoint_name: is not supported; set endpoint",
		},
		{
			"with 17 addresses of one",
			assigned(locality("a", 0, 1, endpoint("1", func(e *endpointv3.LbEndpoint) {
				e.GetEndpoint().AdditionalAddresses = slices.Repeat([]*endpointv3.Endpoint_AdditionalAddress{{}}, 16)
			}))),
			"endpoint.additional_addresses: make 17 addresses, at most 16 are accepted",
		},
		{
			"with a further address that is none",
			assigned(locality("a", 0, 1, endpoint("1", func(e *endpointv3.LbEndpoint) {
				e.GetEndpoint().AdditionalAddresses = []*endpointv3.Endpoint_AdditionalAddress{{}}
			}))),
			"endpoint.additional_addresses[0].address.socket_address.address: is empty",
		},
		{
			"with a version that is a number",
			assigned(locality("a", 0, 1, endpoint("1", known(t, map[string]any{"version": 2})))),
			"lb_endpoints[0].metadata.filter_metadata.tulle.version: is no string",
		},
		{"with a share of an unknown denominator", dropping(share(1, 3)), "policy.drop_overloads[0].drop_percentage.denominator: 3 is unknown"},
		{
			"that go stale",
			&endpointv3.ClusterLoadAssignment{ClusterName: "voting", Policy: &endpointv3.ClusterLoadAssignment_Policy{EndpointStaleAfter: durationpb.New(1)}},
			"policy.endpoint_stale_after: is not supported",
		},
		{"with 100,001 of them", assigned(locality("a", 0, 1, slices.Repeat([]*endpointv3.LbEndpoint{{}}, 100_001)...)), "endpoints[0].lb_endpoints: make more than 100000 endpoints"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.EndpointsType, tt.in, tt.want)
		})
	}
}
