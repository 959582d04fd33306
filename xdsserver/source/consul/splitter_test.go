package consul

import "github.com/hashicorp/consul/api"

var splitterScenarios = []scenario{
	{
		name: "subsets of one service",
		entries: append(grpcOf("web"), resolver(api.ServiceResolverConfigEntry{Subsets: subsetsOf("v1", "v2", "v3")}),
			splitter("web", api.ServiceSplit{Weight: 90, ServiceSubset: "v1"}, api.ServiceSplit{Weight: 10, ServiceSubset: "v2"},
				api.ServiceSplit{Weight: 0, ServiceSubset: "v3"})),
		route: []string{"* -> web@v1=9000 web@v2=1000 web@v3=0"},
	},
	{
		name: "splitters of splitters are multiplied out and the same is added up",
		entries: append(grpcOf("web", "api", "new"),
			splitter("api", api.ServiceSplit{Weight: 50, Service: "api"}, api.ServiceSplit{Weight: 50, Service: "new"}),
			splitter("web", api.ServiceSplit{Weight: 60, Service: "api"}, api.ServiceSplit{Weight: 40, Service: "new"})),
		route: []string{"* -> api=3000 new=7000"},
	},
	{
		name: "headers of a share",
		entries: append(grpcOf("web", "api"), splitter("web",
			api.ServiceSplit{Weight: 50}, api.ServiceSplit{Weight: 50, Service: "api", RequestHeaders: &api.HTTPHeaderModifiers{Set: map[string]string{"x": "1"}}})),
		route:    []string{"* -> web=5000 api=5000"},
		problems: []string{"warning consul:service-splitter/web Splits[1].RequestHeaders.Set: is not honoured: headers change for all calls"},
	},
	{
		name: "a share of another datacenter goes to the others",
		entries: append(grpcOf("web", "api"),
			resolver(api.ServiceResolverConfigEntry{Name: "api", Redirect: &api.ServiceResolverRedirect{Service: "api", Datacenter: "dc2"}}),
			splitter("web", api.ServiceSplit{Weight: 75}, api.ServiceSplit{Weight: 25, Service: "api"})),
		route: []string{"* -> web"},
		problems: []string{
			"consul:service-resolver/api : api is in the datacenter dc2, whose services are not called yet: calls fail with UNAVAILABLE",
			"consul:service-splitter/web Splits[1]: api is in the datacenter dc2, whose services are not called yet: the share goes to the other splits",
		},
	},
}
