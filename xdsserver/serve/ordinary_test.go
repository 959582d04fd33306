package serve

import (
	"fmt"

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
)

// ordinary makes a resource as a mesh has it, which a real client takes: a
// service of ten endpoints in two zones. The number tells versions apart.
func ordinary(typeURL, name string, number int) proto.Message {
	switch typeURL {
	case lds:
		return ordinaryListener(name, number)
	case rds:
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
		}
	case cds:
		return &clusterv3.Cluster{
			Name:                 name,
			AltStatName:          fmt.Sprint(number),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{
				EdsConfig:   overADS(),
				ServiceName: name,
			},
			CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
				MaxRequests: wrapperspb.UInt32(1024),
			}}},
		}
	default:
		return ordinaryEndpoints(name, number)
	}
}

func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func ordinaryListener(name string, number int) *listenerv3.Listener {
	router, err := anypb.New(&routerv3.Router{})
	if err != nil {
		panic(err)
	}
	manager, err := anypb.New(&hcmv3.HttpConnectionManager{
		StatPrefix: fmt.Sprint(number),
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource:    overADS(),
			RouteConfigName: name,
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router},
		}},
	})
	if err != nil {
		panic(err)
	}
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: manager}}
}

func ordinaryEndpoints(name string, number int) *endpointv3.ClusterLoadAssignment {
	cla := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for z := range 2 {
		zone := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: "eu", Zone: fmt.Sprintf("eu-%d", z)},
			LoadBalancingWeight: wrapperspb.UInt32(5),
		}
		for i := range 5 {
			port := uint32(1024 + 16*i + z)
			if i == 0 {
				port += 1 + uint32(number)
			}
			zone.LbEndpoints = append(zone.LbEndpoints, endpoint(fmt.Sprintf("10.%d.0.%d", z, i+1), port))
		}
		cla.Endpoints = append(cla.Endpoints, zone)
	}
	return cla
}

func endpoint(host string, port uint32) *endpointv3.LbEndpoint {
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
