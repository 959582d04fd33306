package resource_test

import (
	"context"
	"errors"
	"fmt"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

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
				RetryPolicy:      &routev3.RetryPolicy{RetryOn: "unavailable,reset"},
			}},
		}}}},
	})
	_, err := resource.Decode(resource.RouteType, value)
	fmt.Println(err)

	var refused *resource.DecodeError
	fmt.Println(errors.As(err, &refused), refused.Name, refused.Field)
	// Output:
	// RouteConfiguration "voting": virtual_hosts[0].routes[0].route.retry_policy.retry_on: "reset" is no condition that gRPC knows: use cancelled, deadline-exceeded, internal, resource-exhausted, unavailable
	// true voting virtual_hosts[0].routes[0].route.retry_policy.retry_on
}

func ExampleAccess_Decide() {
	web := &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: &rbacv3.Principal_Authenticated{
		PrincipalName: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "spiffe://tulle.local/ns/default/svc/web"},
		},
	}}}
	overrides := map[string]*anypb.Any{}
	for name, rules := range map[string]*rbacv3.RBAC{
		resource.AccessDenyFilter: {Action: rbacv3.RBAC_DENY},
		resource.AccessAllowFilter: {Policies: map[string]*rbacv3.Policy{"default/voting/allow/0": {
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
			Principals:  []*rbacv3.Principal{web},
		}}},
	} {
		overrides[name], _ = anypb.New(&httprbacv3.RBACPerRoute{Rbac: &httprbacv3.RBAC{Rules: rules}})
	}
	value, _ := proto.Marshal(&routev3.RouteConfiguration{
		Name: resource.ServerListener("voting"),
		VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match:                &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action:               &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
			TypedPerFilterConfig: overrides,
		}}}},
	})
	routes, err := resource.DecodeRouteConfiguration(value)
	if err != nil {
		fmt.Println(err)
		return
	}
	access := routes.VirtualHosts[0].Routes[0].Access
	for _, id := range []string{"spiffe://tulle.local/ns/default/svc/web", "spiffe://tulle.local/ns/shop/svc/cart", ""} {
		decision := access.Decide(&resource.Caller{ID: id}, "/voting.v1.Voting/Vote", nil)
		fmt.Printf("%q: %v by %s\n", id, decision.Allowed, decision.Policy)
	}
	// Output:
	// "spiffe://tulle.local/ns/default/svc/web": true by default/voting/allow/0
	// "spiffe://tulle.local/ns/shop/svc/cart": false by default/voting
	// "": false by default/voting
}

func ExampleWithPeerIDs() {
	attributes := resource.WithPeerIDs(nil, []string{"spiffe://tulle.local/ns/default/svc/voting"}) // the balancer's
	fmt.Println(resource.PeerIDsFrom(attributes))
	// Output: [spiffe://tulle.local/ns/default/svc/voting]
}

func ExampleWithConfig() {
	config := &resource.Config{Service: "voting"}
	attributes := resource.WithConfig(nil, config) // the resolver's
	fmt.Println(resource.ConfigFrom(attributes).Service)
	// Output: voting
}
