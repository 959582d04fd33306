package balancer_test

import (
	"fmt"

	grpcbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A resolver hands the policy a configuration with the endpoints it speaks of,
// and the count of open calls that all connections of its mesh share.
func ExampleWithShared() {
	shared := balancer.NewShared() // one per mesh

	config := &resource.Config{Service: "voting", Clusters: map[string]*resource.ClusterConfig{"voting": {
		Cluster: &resource.Cluster{Name: "voting", MaxRequests: resource.DefaultMaxRequests, Balancing: resource.StandardBalancing(resource.RoundRobin)},
		Endpoints: &resource.Endpoints{Name: "voting", Localities: []resource.Locality{{
			Zone: "a", Weight: 1, Endpoints: []resource.Endpoint{{Addresses: []string{"10.0.0.7:8080"}, Weight: 1}},
		}}},
	}}}
	state := resolver.State{
		Endpoints:  []resolver.Endpoint{{Addresses: []resolver.Address{{Addr: "10.0.0.7:8080"}}}},
		Attributes: balancer.WithShared(resource.WithConfig(nil, config), shared),
	}
	fmt.Println(resource.ConfigFrom(state.Attributes).Service, len(state.Endpoints))
	// Output: voting 1
}

// A leaf is a function of the ready endpoints; this one always takes the first.
func ExampleLeaf() {
	var first balancer.Leaf = func(ready []balancer.Ready) grpcbalancer.Picker {
		return ready[0].Picker
	}
	_ = first
}
