package translate

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// metadataKey is where clients of ours read an endpoint's instance and version.
const metadataKey = "tulle"

// Assignments returns the ClusterLoadAssignments of the service: who takes calls.
func (in Input) Assignments() []Resource {
	resources := make([]Resource, 0, 1+len(in.Versions))
	resources = append(resources, in.assignment(""))
	for _, version := range in.Versions {
		resources = append(resources, in.assignment(version))
	}
	return resources
}

// assignment is of one cluster: its own endpoints first, and those that take calls while
// none of them does below, by priority.
func (in Input) assignment(version string) Resource {
	name := clusterName(in.Service.Name, version)
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	seen := map[string]bool{} // an address that is there twice is refused as a whole
	// Priorities have no gaps: who has no endpoints has none either.
	priority := uint32(0)
	add := func(endpoints []model.Endpoint, version string) {
		if group := localities(endpoints, version, priority, seen); len(group) > 0 {
			out.Endpoints = append(out.Endpoints, group...)
			priority++
		}
	}
	add(in.Endpoints, version)
	for _, to := range in.Failover[version] {
		add(in.Elsewhere[to.Service], to.Version)
	}
	return Resource{resource.EndpointsType, name, out}
}

// localities are the endpoints of one priority, by place.
func localities(endpoints []model.Endpoint, version string, priority uint32, seen map[string]bool) []*endpointv3.LocalityLbEndpoints {
	type place struct{ region, zone string }
	groups := map[place][]model.Endpoint{}
	for _, e := range endpoints {
		if e.Health == model.Leaving || !e.In(version) || slices.ContainsFunc(e.Addresses, func(a string) bool { return seen[a] }) {
			continue
		}
		p := place{e.Region, e.Zone}
		groups[p] = append(groups[p], e)
	}
	places := make([]place, 0, len(groups))
	for p := range groups {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.region, b.region), cmp.Compare(a.zone, b.zone)) })

	out := make([]*endpointv3.LocalityLbEndpoints, 0, len(places))
	for _, p := range places {
		locality := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Region: p.region, Zone: p.zone}, Priority: priority}
		var sum uint64
		for _, e := range groups[p] {
			for _, a := range e.Addresses {
				seen[a] = true
			}
			weight := max(1, e.Weight)
			if e.Health != model.NotServing {
				sum += uint64(weight)
			}
			locality.LbEndpoints = append(locality.LbEndpoints, lbEndpoint(e, weight))
		}
		// A locality's share is that of its endpoints which take calls, so that
		// one with few is not sent as much as one with many. Clients leave out
		// a locality of weight zero, and with it endpoints nobody may call.
		locality.LoadBalancingWeight = wrapperspb.UInt32(uint32(min(max(1, sum), math.MaxUint32/maxLocalities)))
		out = append(out, locality)
	}
	return out
}

// maxLocalities keeps the sum of the localities' weights in 32 bits (gRFC A27).
const maxLocalities = 1 << 10

func lbEndpoint(e model.Endpoint, weight uint32) *endpointv3.LbEndpoint {
	endpoint := &endpointv3.Endpoint{Address: address(e.Addresses[0])}
	for _, a := range e.Addresses[1:] {
		endpoint.AdditionalAddresses = append(endpoint.AdditionalAddresses, &endpointv3.Endpoint_AdditionalAddress{Address: address(a)})
	}
	facts := map[string]*structpb.Value{"instance": structpb.NewStringValue(e.Instance)}
	if e.Version != "" {
		facts["version"] = structpb.NewStringValue(e.Version)
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: endpoint},
		HealthStatus:        health(e.Health),
		LoadBalancingWeight: wrapperspb.UInt32(weight),
		Metadata:            &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {Fields: facts}}},
	}
}

// health is what clients are told. A lost registration is not a lost service.
func health(h model.Health) corev3.HealthStatus {
	if h == model.NotServing {
		return corev3.HealthStatus_UNHEALTHY
	}
	return corev3.HealthStatus_HEALTHY
}

// address is of a host:port that the model's checks accepted, an IP and a port;
// of another it is one that clients refuse, and the snapshot with them.
func address(hostPort string) *corev3.Address {
	a, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return new(corev3.Address)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       a.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}
