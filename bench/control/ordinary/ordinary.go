// Package ordinary makes xDS resources as a mesh has them, which real clients take: for
// benchmarks, and for tests that want the size and the shape of real ones.
package ordinary

import (
	"fmt"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Types are the type URLs of what makes a service up, in the order in which a client asks.
var Types = []string{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointsType}

// PerService is how many endpoints an ordinary service has.
const PerService = 10

// Resource makes one of an ordinary service. The number tells versions apart.
func Resource(typeURL, name string, number int) proto.Message {
	switch typeURL {
	case resource.ListenerType:
		return listener(name, number)
	case resource.RouteType:
		return routes(name, number)
	case resource.ClusterType:
		return cluster(name, number)
	default:
		return Endpoints(name, number, PerService)
	}
}

// NumberIn is where the number is in encoded endpoints and routes: the field that holds
// the next, down to a varint. Zero is not written.
var NumberIn = map[string][]int32{
	resource.EndpointsType: {4, 3, 1}, // policy.overprovisioning_factor
	resource.RouteType:     {11, 1},   // max_direct_response_body_size_bytes
}

// numbered is what NumberIn leads to; no client of ours or of grpc-go's reads it.
func numbered(number int) *wrapperspb.UInt32Value {
	if number == 0 {
		return nil
	}
	return wrapperspb.UInt32(uint32(number))
}

func routes(name string, number int) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    fmt.Sprintf("%s-%d", name, number),
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
				}},
			}},
		}},
		MaxDirectResponseBodySizeBytes: numbered(number),
	}
}

func cluster(name string, number int) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		AltStatName:          strconv.Itoa(number),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS(), ServiceName: name},
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxRequests: wrapperspb.UInt32(1024),
		}}},
	}
}

func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func listener(name string, number int) *listenerv3.Listener {
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: strconv.Itoa(number),
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    overADS(),
			RouteConfigName: name,
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&routerv3.Router{})},
		}},
	}
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: packed(manager)}}
}

func packed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err) //nolint:forbidigo // these messages are written above, and nobody sends them
	}
	return a
}

// Endpoints makes so many of a service, in two zones.
func Endpoints(name string, number, n int) *endpointv3.ClusterLoadAssignment {
	cla := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	if number != 0 {
		cla.Policy = &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: numbered(number)}
	}
	for z := range 2 {
		zone := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: "eu", Zone: fmt.Sprintf("eu-%d", z)},
			LoadBalancingWeight: wrapperspb.UInt32(5),
		}
		for i := range n / 2 {
			port := uint32(1024 + 16*(i%250) + z)
			if i == 0 {
				port += 1 + uint32(number%1000)
			}
			zone.LbEndpoints = append(zone.LbEndpoints, Endpoint(fmt.Sprintf("10.%d.%d.%d", z, i/250, i%250+1), port))
		}
		cla.Endpoints = append(cla.Endpoints, zone)
	}
	return cla
}

// Endpoint makes one, with labels.
func Endpoint(host string, port uint32) *endpointv3.LbEndpoint {
	labels := &structpb.Struct{Fields: map[string]*structpb.Value{
		"instance": structpb.NewStringValue(host + "-5f6c9"),
		"version":  structpb.NewStringValue("v1"),
	}}
	return &endpointv3.LbEndpoint{
		Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"tulle": labels}},
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address:       host,
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
			}}},
		}},
	}
}
