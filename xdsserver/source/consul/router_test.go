package consul

import (
	"time"

	"github.com/hashicorp/consul/api"
)

var routerScenarios = []scenario{
	{
		name: "paths of methods in the order that is written",
		entries: append(grpcOf("web", "api"), router(
			matching(api.ServiceRouteHTTPMatch{PathPrefix: "/"}),
			matching(api.ServiceRouteHTTPMatch{PathExact: "/vote.v1.Votes/Cast"}),
			matching(api.ServiceRouteHTTPMatch{PathPrefix: "/vote.v1.Votes/"}),
			matching(api.ServiceRouteHTTPMatch{PathPrefix: "/vote.v1.Vo"}),
			matching(api.ServiceRouteHTTPMatch{PathPrefix: "/vote.v1.Votes/Ca"}),
			matching(api.ServiceRouteHTTPMatch{PathRegex: "/vote\\.v(1|2)\\..*/.*"}),
			matching(api.ServiceRouteHTTPMatch{PathExact: "/vote.v1.Votes/Cast", CaseInsensitive: true}),
			matching(api.ServiceRouteHTTPMatch{PathPrefix: "/vote.v1.", CaseInsensitive: true}),
			matching(api.ServiceRouteHTTPMatch{PathExact: "/admin"}),
		)),
		route: []string{
			"* -> api", "/vote.v1.Votes/Cast -> api", "/vote.v1.Votes/ -> api", "/vote.v1.Vo... -> api", "/vote.v1.Votes/Ca... -> api",
			"~/vote\\.v(1|2)\\..*/.* -> api", "~(?i)/vote\\.v1\\.Votes/Cast -> api", "~(?i)/vote\\.v1\\..* -> api", "~/admin -> api",
		},
	},
	{
		name: "headers",
		entries: append(grpcOf("web", "api"), router(
			headed(api.ServiceRouteHTTPMatchHeader{Name: "X-A", Exact: "1"}),
			headed(api.ServiceRouteHTTPMatchHeader{Name: "x-a", Prefix: "1."}),
			headed(api.ServiceRouteHTTPMatchHeader{Name: "x-a", Suffix: ".1"}),
			headed(api.ServiceRouteHTTPMatchHeader{Name: "x-a", Regex: "[0-9]+"}),
			headed(api.ServiceRouteHTTPMatchHeader{Name: "x-a", Present: true}),
			headed(api.ServiceRouteHTTPMatchHeader{Name: "x-a", Exact: "1", Invert: true}),
			headed(api.ServiceRouteHTTPMatchHeader{Name: "x-a", Present: true, Invert: true}),
			matching(api.ServiceRouteHTTPMatch{PathExact: "/a.B/C", Header: []api.ServiceRouteHTTPMatchHeader{
				{Name: "x-a", Prefix: "1"}, {Name: "x-a", Suffix: "2", Invert: true},
			}}),
			headed(api.ServiceRouteHTTPMatchHeader{Name: "grpc-timeout", Present: true}),
		)),
		route: []string{
			"* x-a=1 -> api", "* x-a~1\\..* -> api", "* x-a~.*\\.1 -> api", "* x-a~[0-9]+ -> api", "* x-a~.* -> api", "* x-a!=1 -> api",
			"* x-a absent -> api", "/a.B/C x-a~1.* x-a!~.*2 -> api", "* -> web",
		},
		problems: []string{"consul:service-router/web Routes[8].Match: grpc-timeout is gRPC's own, and added after a call is routed: match a header of the application: the route is left out"},
	},
	{
		name: "what no call of gRPC is",
		entries: append(grpcOf("web", "api"), router(
			matching(api.ServiceRouteHTTPMatch{Methods: []string{"GET", "PUT"}}),
			matching(api.ServiceRouteHTTPMatch{Methods: []string{"GET", "POST"}}),
			matching(api.ServiceRouteHTTPMatch{QueryParam: []api.ServiceRouteHTTPMatchQueryParam{{Name: "q", Present: true}}}),
		)),
		route: []string{"* -> api"},
		problems: []string{
			"warning consul:service-router/web Routes[2].Match.HTTP.QueryParam[0].Name, Routes[2].Match.HTTP.QueryParam[0].Present: is not honoured: a call of gRPC has no query",
			"warning consul:service-router/web Routes[0].Match.HTTP.Methods: holds for no call of gRPC",
		},
	},
	{
		name: "what else a destination says",
		entries: append(grpcOf("web", "api"), router(
			going(api.ServiceRouteDestination{Service: "api", RequestTimeout: 3 * time.Second, IdleTimeout: time.Minute}),
			going(api.ServiceRouteDestination{RequestTimeout: -time.Second, IdleTimeout: -time.Second}),
			going(api.ServiceRouteDestination{IdleTimeout: 48 * time.Hour}),
			going(api.ServiceRouteDestination{RequestHeaders: &api.HTTPHeaderModifiers{
				Add: map[string]string{"X-B": "2", "x-ip": "%DOWNSTREAM_REMOTE_ADDRESS%"}, Set: map[string]string{"x-a": "1", "te": "x"}, Remove: []string{"X-C"},
			}}),
			going(api.ServiceRouteDestination{ResponseHeaders: &api.HTTPHeaderModifiers{Remove: []string{"server"}}}),
		)),
		route: []string{
			"* -> api timeout 3s idle 1m0s", "* -> web timeout 0s idle 0s", "* -> web",
			"* -> web set [{x-a 1}] add [{x-b 2}] remove [x-c]", "* -> web",
		},
		problems: []string{
			"warning consul:service-router/web Routes[4].Destination.ResponseHeaders.Remove: is not honoured: clients change no headers of answers",
			"warning consul:service-router/web Routes[2].Destination.IdleTimeout: 48h",
			"warning consul:service-router/web Routes[3].Destination.RequestHeaders.Set: te is gRPC's own",
			"warning consul:service-router/web Routes[3].Destination.RequestHeaders.Add: x-ip is left out",
		},
	},
	{
		name: "retries",
		entries: append(grpcOf("web"), router(
			going(api.ServiceRouteDestination{NumRetries: 3}),
			going(api.ServiceRouteDestination{NumRetries: 9, RetryOnConnectFailure: true}),
			going(api.ServiceRouteDestination{RetryOn: []string{"unavailable", "cancelled", "deadline-exceeded", "resource-exhausted", "internal"}}),
			going(api.ServiceRouteDestination{RetryOn: []string{"5xx", "connect-failure"}}),
			going(api.ServiceRouteDestination{RetryOn: []string{"refused-stream"}}),
			going(api.ServiceRouteDestination{RetryOn: []string{"retriable-4xx"}}),
			going(api.ServiceRouteDestination{RetryOnStatusCodes: []uint32{503, 409}}),
		)),
		route: []string{
			"* -> web attempts 4 on []", "* -> web attempts 5 on []", "* -> web attempts 2 on [1 4 8 13 14] whatever the method",
			"* -> web attempts 2 on [14] whatever the method", "* -> web attempts 2 on []", "* -> web",
			"* -> web attempts 2 on [14] whatever the method",
		},
		problems: []string{
			"warning consul:service-router/web Routes[1].Destination.NumRetries: 9 is more than 4",
			"warning consul:service-router/web Routes[5].Destination.RetryOn: \"retriable-4xx\" is no condition",
			"warning consul:service-router/web Routes[6].Destination.RetryOnStatusCodes: 409 is no status",
		},
	},
	{
		name: "a rewrite fails the calls that it is for and no others",
		entries: append(grpcOf("web", "api"), router(api.ServiceRoute{
			Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: "/old.v1.Votes/"}},
			Destination: &api.ServiceRouteDestination{Service: "api", PrefixRewrite: "/new.v1.Votes/"},
		})),
		route:    []string{"/old.v1.Votes/ -> web fails with 12", "* -> web"},
		problems: []string{"consul:service-router/web Routes[0].Destination.PrefixRewrite: is not honoured, since a call of gRPC"},
	},
	{
		name: "a router to subsets and to a service that is redirected and split",
		entries: append(grpcOf("web", "api", "old", "new"),
			resolver(api.ServiceResolverConfigEntry{Subsets: subsetsOf("v1", "v2")}),
			resolver(api.ServiceResolverConfigEntry{Name: "old", Redirect: &api.ServiceResolverRedirect{Service: "new"}}),
			splitter("api", api.ServiceSplit{Weight: 99.99, Service: "api"}, api.ServiceSplit{Weight: 0.01, Service: "new"}),
			router(
				api.ServiceRoute{
					Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathExact: "/a.B/C"}},
					Destination: &api.ServiceRouteDestination{ServiceSubset: "v2"},
				},
				matching(api.ServiceRouteHTTPMatch{PathExact: "/a.B/D"}),
				api.ServiceRoute{
					Match:       &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathExact: "/a.B/E"}},
					Destination: &api.ServiceRouteDestination{Service: "old"},
				},
			)),
		route: []string{"/a.B/C -> web@v2", "/a.B/D -> api=9999 new=1", "/a.B/E -> new", "* -> web"},
	},
}
