package balancer_test

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A spec is a cluster in few words, from which the protobuf resources are made
// that both stacks are given.
type spec struct {
	localities []place
	drops      []uint32 // percent, a category each
	// limit is max_requests less one, so that zero is the default.
	limit uint32
}

// A place is a locality.
type place struct {
	zone     string
	priority uint32
	weight   uint32 // zero is one
	backends string // their names, one letter each
	sick     string // further ones that are UNHEALTHY
	heavy    string // those of backends that weigh 9, the others 1
}

func (s spec) cluster(name string) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
	}
	if s.limit > 0 {
		c.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
			{MaxRequests: wrapperspb.UInt32(s.limit - 1)},
		}}
	}
	return c
}

func (s spec) endpoints(name string) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for _, p := range s.localities {
		l := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Zone: p.zone},
			Priority:            p.priority,
			LoadBalancingWeight: wrapperspb.UInt32(max(p.weight, 1)),
		}
		for _, b := range p.backends + p.sick {
			e := lbEndpoint(string(b))
			if strings.ContainsRune(p.heavy, b) {
				e.LoadBalancingWeight = wrapperspb.UInt32(9)
			}
			l.LbEndpoints = append(l.LbEndpoints, e)
		}
		for i := range p.sick {
			l.LbEndpoints[len(p.backends)+i].HealthStatus = corev3.HealthStatus_UNHEALTHY
		}
		a.Endpoints = append(a.Endpoints, l)
	}
	for i, percent := range s.drops {
		if a.Policy == nil {
			a.Policy = &endpointv3.ClusterLoadAssignment_Policy{}
		}
		a.Policy.DropOverloads = append(a.Policy.DropOverloads, &endpointv3.ClusterLoadAssignment_Policy_DropOverload{
			Category:       string(rune('a' + i)),
			DropPercentage: &typev3.FractionalPercent{Numerator: percent, Denominator: typev3.FractionalPercent_HUNDRED},
		})
	}
	return a
}

func lbEndpoint(name string) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address:       host(name),
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
			}}},
		}},
		HealthStatus: corev3.HealthStatus_HEALTHY,
	}
}

// routes sends all calls to the cluster called as the service.
func routes() proto.Message {
	return &routev3.RouteConfiguration{
		Name: service,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    service,
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: service},
				}},
			}},
		}},
	}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// one is a cluster of one locality.
func one(backends string) spec { return spec{localities: []place{{zone: "z", backends: backends}}} }

// ranked is a cluster with a locality per priority.
func ranked(backends ...string) spec {
	var s spec
	for i, b := range backends {
		s.localities = append(s.localities, place{zone: string(rune('p' + i)), priority: uint32(i), backends: b})
	}
	return s
}
