package resource_test

import (
	"context"
	"errors"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func Example() {
	canary := &routev3.Route{
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/voting."},
			Headers: []*routev3.HeaderMatcher{{
				Name:                 "x-canary",
				HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
			}},
		},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "voting/v2"},
		}},
	}
	rest := &routev3.Route{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "voting/v1"},
		}},
	}
	value, _ := proto.Marshal(&routev3.RouteConfiguration{
		Name:         "voting",
		VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: []*routev3.Route{canary, rest}}},
	})

	routes, err := resource.DecodeRouteConfiguration(value)
	if err != nil {
		fmt.Println(err)
		return
	}
	host := routes.VirtualHost("voting")
	ctx := context.Background()
	fmt.Println(host.Match(ctx, "/voting.v1.Voting/Vote").Pick().Name)
	ctx = metadata.AppendToOutgoingContext(ctx, "x-canary", "yes")
	fmt.Println(host.Match(ctx, "/voting.v1.Voting/Vote").Pick().Name)
	// Output:
	// voting/v1
	// voting/v2
}

func ExampleDecode() {
	value, _ := proto.Marshal(&routev3.RouteConfiguration{
		Name: "voting",
		VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "voting"},
				RetryPolicy:      &routev3.RetryPolicy{RetryOn: "unavailable"},
			}},
		}}}},
	})
	_, err := resource.Decode(resource.RouteType, value)
	fmt.Println(err)

	var refused *resource.DecodeError
	fmt.Println(errors.As(err, &refused), refused.Name, refused.Field)
	// Output:
	// RouteConfiguration "voting": virtual_hosts[0].routes[0].route.retry_policy: is not supported yet: the call would not be retried
	// true voting virtual_hosts[0].routes[0].route.retry_policy
}

func ExampleWithConfig() {
	config := &resource.Config{Service: "voting"}
	attributes := resource.WithConfig(nil, config) // the resolver's
	fmt.Println(resource.ConfigFrom(attributes).Service)
	// Output: voting
}
