package resource_test

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func cluster(changes ...func(*clusterv3.Cluster)) *clusterv3.Cluster {
	m := edsCluster("voting")
	for _, change := range changes {
		change(m)
	}
	return m
}

func threshold(p corev3.RoutingPriority, maxRequests *wrapperspb.UInt32Value) *clusterv3.CircuitBreakers_Thresholds {
	return &clusterv3.CircuitBreakers_Thresholds{Priority: p, MaxRequests: maxRequests}
}

func breakers(list ...*clusterv3.CircuitBreakers_Thresholds) func(*clusterv3.Cluster) {
	return func(m *clusterv3.Cluster) { m.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: list} }
}

func TestClustersAreDecoded(t *testing.T) {
	want := func(maxRequests uint32) resource.Cluster {
		return resource.Cluster{Name: "voting", EndpointsName: "voting", MaxRequests: maxRequests, Balancing: resource.StandardBalancing(resource.RoundRobin)}
	}
	for _, tt := range []struct {
		name string
		in   *clusterv3.Cluster
		want resource.Cluster
	}{
		{"endpoints go by the cluster's name", cluster(), want(1024)},
		{
			"endpoints may go by another",
			cluster(func(m *clusterv3.Cluster) { m.EdsClusterConfig.ServiceName = "votes" }),
			resource.Cluster{Name: "voting", EndpointsName: "votes", MaxRequests: 1024, Balancing: resource.StandardBalancing(resource.RoundRobin)},
		},
		{"a limit of requests", cluster(breakers(threshold(0, wrapperspb.UInt32(7)))), want(7)},
		{"a limit of no request", cluster(breakers(threshold(0, wrapperspb.UInt32(0)))), want(0)},
		{"a limit without a number is the default", cluster(breakers(threshold(0, nil))), want(1024)},
		{
			"the first limit of the default priority counts",
			cluster(breakers(threshold(corev3.RoutingPriority_HIGH, wrapperspb.UInt32(1)), threshold(0, wrapperspb.UInt32(2)), threshold(0, wrapperspb.UInt32(3)))),
			want(2),
		},
		{"what changes nothing is let by", cluster(func(m *clusterv3.Cluster) {
			m.ConnectTimeout = durationpb.New(time.Second)
			m.LrsServer = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}}
		}), want(1024)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resource.DecodeCluster(encode(t, tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}

func TestClustersAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*clusterv3.Cluster)
		want   string
	}{
		{"without a name", func(m *clusterv3.Cluster) { m.Name = "" }, "Cluster: name: is empty"},
		{
			"of type LOGICAL_DNS",
			func(m *clusterv3.Cluster) {
				m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS}
			},
			`Cluster "voting": type: LOGICAL_DNS is not supported; use EDS`,
		},
		{"of no type, which is STATIC", func(m *clusterv3.Cluster) { m.ClusterDiscoveryType = nil }, "type: STATIC is not supported"},
		{
			"that are aggregates",
			func(m *clusterv3.Cluster) {
				m.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "envoy.clusters.aggregate"}}
			},
			`cluster_type: "envoy.clusters.aggregate" is not supported`,
		},
		{"balanced at random", func(m *clusterv3.Cluster) { m.LbPolicy = clusterv3.Cluster_RANDOM }, "lb_policy: RANDOM is not supported; use ROUND_ROBIN, LEAST_REQUEST, RING_HASH or load_balancing_policy"},
		{
			"whose endpoints come from elsewhere",
			func(m *clusterv3.Cluster) { m.EdsClusterConfig.EdsConfig = &corev3.ConfigSource{} },
			"eds_cluster_config.eds_config: must be ads or self",
		},
		{
			"with a name of xdstp and none for the endpoints",
			func(m *clusterv3.Cluster) { m.Name = "xdstp://a/b" },
			"eds_cluster_config.service_name: is empty; a cluster with an xdstp name needs one",
		},
		{"that want TLS of another for each endpoint", func(m *clusterv3.Cluster) {
			m.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{{}}
		}, "transport_socket_matches: is not supported"},
		{"whose load goes elsewhere", func(m *clusterv3.Cluster) { m.LrsServer = ads() }, "lrs_server: must be self"},
		{
			"with a limit of connections",
			breakers(&clusterv3.CircuitBreakers_Thresholds{MaxConnections: wrapperspb.UInt32(1)}),
			"circuit_breakers.thresholds[0].max_connections: is not supported by this client",
		},
		{
			"with limits per host",
			func(m *clusterv3.Cluster) {
				m.CircuitBreakers = &clusterv3.CircuitBreakers{PerHostThresholds: []*clusterv3.CircuitBreakers_Thresholds{{}}}
			},
			"circuit_breakers.per_host_thresholds",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantRefused(t, resource.ClusterType, cluster(tt.change), tt.want)
		})
	}
}
