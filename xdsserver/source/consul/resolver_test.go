package consul

import (
	"time"

	"github.com/hashicorp/consul/api"
)

func balanced(b api.LoadBalancer) []api.ConfigEntry {
	return []api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{LoadBalancer: &b})}
}

var resolverScenarios = []scenario{
	{name: "a resolver that says nothing", entries: []api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{})}},
	{
		name:    "a default subset",
		entries: []api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{DefaultSubset: "v1", Subsets: subsetsOf("v1", "v2")})},
		route:   []string{"* -> web@v1"},
	},
	{
		name:    "a redirect",
		entries: []api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{Redirect: &api.ServiceResolverRedirect{Service: "api"}})},
		route:   []string{"* -> api"},
	},
	{
		name:     "a redirect to another datacenter",
		entries:  []api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{Redirect: &api.ServiceResolverRedirect{Service: "web", Datacenter: "dc2"}})},
		route:    []string{"* -> web fails with 14"},
		problems: []string{"consul:service-resolver/web : web is in the datacenter dc2"},
	},
	{
		name:     "a redirect to a peer",
		entries:  []api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{Redirect: &api.ServiceResolverRedirect{Service: "external", Peer: "other"}})},
		route:    []string{"* -> web fails with 14"},
		problems: []string{"consul:service-resolver/web : external is of a peer"},
	},
	{
		name: "a failover to subsets and services in order",
		entries: []api.ConfigEntry{
			resolver(api.ServiceResolverConfigEntry{Subsets: subsetsOf("v1"), Failover: map[string]api.ServiceResolverFailover{
				"*": {Targets: []api.ServiceResolverFailoverTarget{{ServiceSubset: "v1"}, {Service: "api"}, {Service: "web", Datacenter: "dc2"}, {Service: "web", Peer: "other"}}},
			}}),
		},
		route: []string{"* -> web|web@v1|api"},
		problems: []string{
			"warning consul:service-resolver/web Failover{*}.Targets[2].Datacenter, Failover{*}.Targets[3].Peer: is not honoured",
			"warning consul:service-resolver/web Failover: web is in the datacenter dc2, whose services are not called yet: it is left out",
			"warning consul:service-resolver/web Failover: web is of a peer",
		},
	},
	{
		name: "a failover of one subset",
		entries: append(grpcOf("web", "api"),
			resolver(api.ServiceResolverConfigEntry{Subsets: subsetsOf("v1", "v2"), Failover: map[string]api.ServiceResolverFailover{"v2": {Service: "api"}}}),
			router(api.ServiceRoute{
				Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathExact: "/a.B/C"}},
				Destination: &api.ServiceRouteDestination{ServiceSubset: "v2"},
			})),
		route: []string{"/a.B/C -> web@v2|api", "* -> web"},
	},
	{
		name: "a failover to a service that is redirected",
		entries: []api.ConfigEntry{
			resolver(api.ServiceResolverConfigEntry{Name: "api", Redirect: &api.ServiceResolverRedirect{Service: "new"}}),
			resolver(api.ServiceResolverConfigEntry{Failover: map[string]api.ServiceResolverFailover{"*": {Service: "api"}}}),
		},
		route: []string{"* -> web|new"},
	},
	{
		name: "timeouts",
		entries: []api.ConfigEntry{
			resolver(api.ServiceResolverConfigEntry{RequestTimeout: 2 * time.Second, ConnectTimeout: time.Second}),
		},
		route:    []string{"* -> web timeout 2s"},
		problems: []string{"warning consul:service-resolver/web ConnectTimeout: is not honoured: clients connect ahead of calls"},
	},
	{
		name: "a timeout behind a router is none",
		entries: append(grpcOf("web"), resolver(api.ServiceResolverConfigEntry{RequestTimeout: 2 * time.Second}),
			router(going(api.ServiceRouteDestination{}))),
	},
	{
		name: "least request", services: []string{"web: by least-request of 3"},
		entries: balanced(api.LoadBalancer{Policy: leastRequest, LeastRequestConfig: &api.LeastRequestConfig{ChoiceCount: 3}}),
	},
	{
		name: "least request of too many", services: []string{"web: by least-request of 10"},
		entries:  balanced(api.LoadBalancer{Policy: leastRequest, LeastRequestConfig: &api.LeastRequestConfig{ChoiceCount: 64}}),
		problems: []string{"warning consul:service-resolver/web LoadBalancer.LeastRequestConfig.ChoiceCount: is out of range"},
	},
	{name: "round robin", services: []string{"web: by round-robin"}, entries: balanced(api.LoadBalancer{Policy: roundRobin})},
	{
		name: "random", services: []string{"web: by round-robin"}, entries: balanced(api.LoadBalancer{Policy: randomly}),
		problems: []string{"warning consul:service-resolver/web LoadBalancer.Policy: random is by turns here"},
	},
	{
		name: "a ring", services: []string{`web: by ring-hash of "x-user" from 100 to 8192`},
		entries: balanced(api.LoadBalancer{
			Policy: ringHash, RingHashConfig: &api.RingHashConfig{MinimumRingSize: 100, MaximumRingSize: 1 << 20},
			HashPolicies: []api.HashPolicy{
				{Field: "cookie", FieldValue: "c", CookieConfig: &api.CookieConfig{TTL: time.Minute, Path: "/"}},
				{SourceIP: true},
				{Field: hashHeader, FieldValue: "te"},
				{Field: hashHeader, FieldValue: "X-User", Terminal: true},
				{Field: hashHeader, FieldValue: "x-other"},
			},
		}),
		problems: []string{
			"warning consul:service-resolver/web LoadBalancer.HashPolicies[0].CookieConfig.TTL, LoadBalancer.HashPolicies[0].CookieConfig.Path: is not honoured: calls of gRPC have no cookies",
			"warning consul:service-resolver/web LoadBalancer.HashPolicies[1].SourceIP: is not honoured",
			"warning consul:service-resolver/web LoadBalancer.HashPolicies[].Field: is not honoured: calls of gRPC have neither",
			"warning consul:service-resolver/web LoadBalancer.HashPolicies[].FieldValue: te is gRPC's own",
			"warning consul:service-resolver/web LoadBalancer.HashPolicies[].FieldValue: is not honoured where another header",
			"warning consul:service-resolver/web LoadBalancer.RingHashConfig.MaximumRingSize: is more than 8192",
		},
	},
	{
		name: "maglev without a header", services: []string{`web: by ring-hash of "" from 0 to 0`}, entries: balanced(api.LoadBalancer{Policy: maglev}),
		problems: []string{
			"warning consul:service-resolver/web LoadBalancer.HashPolicies: names no header",
			"warning consul:service-resolver/web LoadBalancer.Policy: maglev is by a ring",
		},
	},
	{
		name:    "a name with a namespace of the mesh",
		entries: []api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{Redirect: &api.ServiceResolverRedirect{Service: "api--shop"}})},
		route:   []string{"* -> api.shop"},
	},
}
