package translate

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	faultFilter  = "envoy.filters.http.fault"
	routerFilter = "envoy.filters.http.router"
)

// defaultMaxRequests is what clients take where a cluster says nothing (gRFC
// A32); it is written out so that operators see it.
const defaultMaxRequests = resource.DefaultMaxRequests

// Configuration returns the Listener, the RouteConfiguration and the Clusters of
// the service: what operators change, and what endpoints that come and go do not.
func (in Input) Configuration() []Resource {
	name := in.Service.Name.String()
	resources := make([]Resource, 0, 3+len(in.Versions))
	resources = append(resources,
		Resource{resource.ListenerType, name, listener(name, in.Service.Timeout)},
		Resource{resource.RouteType, name, routes(in)},
		Resource{resource.ClusterType, name, in.cluster("")},
	)
	for _, version := range in.Versions {
		resources = append(resources, Resource{resource.ClusterType, clusterName(in.Service.Name, version), in.cluster(version)})
	}
	return resources
}

// ads says that a resource comes over the stream that carries this one.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func listener(name string, timeout time.Duration) *listenerv3.Listener {
	manager := &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: name}},
		HttpFilters: []*hcmv3.HttpFilter{
			// Listed for every service: a filter that came and went with its
			// first fault would change the Listener, where a route's own
			// configuration changes only the route.
			{Name: faultFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&faultv3.HTTPFault{})}},
			{Name: routerFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})}},
		},
	}
	if timeout > 0 {
		manager.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxStreamDuration: durationpb.New(timeout)}
	}
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: pack(manager)}}
}

// cluster is one of the service's, of all versions or of one. Whoever calls it
// connects to nobody but the service itself, and those who take its calls while it does
// not; without a trust domain to nobody.
func (in Input) cluster(version string) *clusterv3.Cluster {
	maxRequests := in.Service.MaxRequests
	if maxRequests == 0 {
		maxRequests = defaultMaxRequests
	}
	c := &clusterv3.Cluster{
		Name:                 clusterName(in.Service.Name, version),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		// load_balancing_policy goes before it, and clients hold it to its rules (gRFC A52).
		LbPolicy: clusterv3.Cluster_ROUND_ROBIN,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			Priority:    corev3.RoutingPriority_DEFAULT,
			MaxRequests: wrapperspb.UInt32(maxRequests),
		}}},
		LrsServer: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}},
	}
	c.LoadBalancingPolicy = plainPolicies
	if !sayNothing(in.Service) {
		c.LoadBalancingPolicy = policies(in.Service)
		c.OutlierDetection = outliers(in.Service)
	}
	if in.Domain.Name != "" {
		ids := []string{in.Domain.ServiceID(in.Service.Name.String())}
		for _, to := range in.Failover[version] {
			if id := in.Domain.ServiceID(to.Service.String()); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		c.TransportSocket = upstreamTLS(ids)
	}
	return c
}

// routes is the route table of the service. Without a route of the operator's all
// calls go to the service itself; with one, calls that no rule matches fail, as
// the Gateway API has it: an operator who names the calls that may pass means it.
func routes(in Input) *routev3.RouteConfiguration {
	name := in.Service.Name.String()
	host := &routev3.VirtualHost{Name: name, Domains: []string{"*"}}
	entries := ordered(in.Routes)
	if len(in.Routes) == 0 {
		entries = []entry{whole(in.Service.Name)}
	}
	for _, e := range entries {
		host.Routes = append(host.Routes, e.routes(in)...)
	}
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{host}}
}

// pack wraps a message. Only text that is not UTF-8 does not marshal, and the
// model's checks refuse it; were one to come through, the empty Any would be
// refused by every decoder, and the service set aside.
func pack(m proto.Message) *anypb.Any {
	a := new(anypb.Any)
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return new(anypb.Any)
	}
	return a
}
