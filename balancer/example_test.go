package balancer_test

import (
	"fmt"

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

// A chooser is a function of what it may choose among; this one takes the first that
// is admitted.
func ExampleAlgorithm() {
	var first balancer.Algorithm = func(*resource.Balancing, []balancer.Member) balancer.Chooser { return firstOf{} }
	_ = first
}

type firstOf struct{}

func (firstOf) Choose(c balancer.Choice) int {
	for i := range c.InUse {
		if c.Admits(i) {
			return i
		}
	}
	return -1
}
