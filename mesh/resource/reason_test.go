package resource_test

import (
	"math/rand/v2"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// soleRoute decodes one route with a match.
func soleRoute(t *testing.T, m *routev3.RouteMatch) *resource.Route {
	t.Helper()
	decoded, err := resource.DecodeRouteConfiguration(encode(t, &routev3.RouteConfiguration{
		Name: "r",
		VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match:  m,
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "c"}}},
		}}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return decoded.VirtualHosts[0].Routes[0]
}

func TestARouteSaysWhatItAsksOfACallAndWhyOneDoesNotMatch(t *testing.T) {
	const method = "/shop.Cart/Add"
	headers := func(h ...*routev3.HeaderMatcher) *routev3.RouteMatch {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}, Headers: h}
	}
	text := func(name string, m *matcherv3.StringMatcher) *routev3.RouteMatch {
		return headers(&routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}})
	}
	inverted := text("X-A", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "b"}})
	inverted.Headers[0].InvertMatch = true
	share := func(percent uint32) *routev3.RouteMatch {
		m := headers()
		m.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: percent}}
		return m
	}
	for name, test := range map[string]struct {
		match *routev3.RouteMatch
		want  resource.Match
		why   string
	}{
		"every method": {headers(), resource.Match{Method: "*"}, ""},
		"the methods of another service": {
			&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/shop.Pay/"}},
			resource.Match{Method: "/shop.Pay/*"},
			"the method is not /shop.Pay/*",
		},
		"another method": {
			&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/shop.Cart/Remove"}},
			resource.Match{Method: "/shop.Cart/Remove"},
			"the method is not /shop.Cart/Remove",
		},
		"the method in any case": {
			&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/shop.cart/add"}, CaseSensitive: wrapperspb.Bool(false)},
			resource.Match{Method: "/SHOP.CART/ADD (any case)"},
			"",
		},
		"an expression of methods": {
			&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "/pay.*"}}},
			resource.Match{Method: "~ /pay.*"},
			"the method does not match ~ /pay.*",
		},
		"a header with its value": {
			text("x-a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "b"}}),
			resource.Match{Method: "*", Headers: []string{"x-a=b"}},
			"",
		},
		"a header with another value": {
			text("x-a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "c"}}),
			resource.Match{Method: "*", Headers: []string{"x-a=c"}},
			`header x-a is "b", want x-a=c`,
		},
		"a header with a value it must not have": {
			inverted, resource.Match{Method: "*", Headers: []string{"not x-a=b"}}, `header x-a is "b", want not x-a=b`,
		},
		"a header that is missing": {
			text("x-b", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "V"}, IgnoreCase: true}),
			resource.Match{Method: "*", Headers: []string{"x-b=v* (any case)"}},
			"header x-b is missing, want x-b=v* (any case)",
		},
		"a header and an expression": {
			text("x-a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "a|c"}}}),
			resource.Match{Method: "*", Headers: []string{"x-a~a|c"}},
			`header x-a is "b", which the expression does not match: want x-a~a|c`,
		},
		"a number out of range": {
			headers(&routev3.HeaderMatcher{Name: "x-a", HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{
				RangeMatch: &typev3.Int64Range{Start: 1, End: 5},
			}}),
			resource.Match{Method: "*", Headers: []string{"x-a in 1..4"}},
			`header x-a is "b", want x-a in 1..4`,
		},
		"a header that must be there": {
			headers(&routev3.HeaderMatcher{Name: "x-b", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}),
			resource.Match{Method: "*", Headers: []string{"x-b present"}},
			"header x-b is missing, want x-b present",
		},
		"a header that must not be there": {
			headers(&routev3.HeaderMatcher{Name: "x-a", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{}}),
			resource.Match{Method: "*", Headers: []string{"x-a absent"}},
			"header x-a is there, want none",
		},
		"a share":    {share(10), resource.Match{Method: "*", PerMillion: 100_000}, ""},
		"no share":   {share(0), resource.Match{Method: "*"}, "the route takes no share of the calls"},
		"all of all": {share(100), resource.Match{Method: "*", PerMillion: 1_000_000}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if test.match.GetRuntimeFraction() == nil {
				test.want.PerMillion = 1_000_000
			}
			r := soleRoute(t, test.match)
			if diff := cmp.Diff(test.want, r.Match()); diff != "" {
				t.Errorf("what it asks (-want +got):\n%s", diff)
			}
			if got := r.Mismatch(method, metadata.Pairs("x-a", "b")); got != test.why {
				t.Errorf("got %q, want %q", got, test.why)
			}
		})
	}
}

// What is said of routes is what becomes of calls.
func TestTheFirstRouteWithoutAMismatchIsTheOneThatMatches(t *testing.T) {
	matched := 0
	for seed := range uint64(5_000) {
		r := rand.New(rand.NewPCG(seed, 2))
		decoded, err := resource.DecodeRouteConfiguration(encode(t, &routev3.RouteConfiguration{
			Name: "r",
			VirtualHosts: []*routev3.VirtualHost{{
				Domains: []string{"*"}, Routes: randomRoutes(r, 1+r.IntN(8), func(int) string { return "c" }),
			}},
		}))
		if err != nil {
			t.Fatal(err)
		}
		host := decoded.VirtualHosts[0]
		method, headers := randomCall(r)
		ctx := metadata.AppendToOutgoingContext(t.Context(), headers...)
		md, _ := metadata.FromOutgoingContext(ctx)
		var want *resource.Route
		for _, route := range host.Routes {
			if route.Mismatch(method, md) == "" {
				want = route
				break
			}
		}
		if got := host.Match(ctx, method); got != want {
			t.Fatalf("seed %d: %s %v takes %+v, and the first without a mismatch is %+v", seed, method, md, got, want)
		}
		if want != nil {
			matched++
		}
	}
	if matched < 500 || matched > 4_500 {
		t.Errorf("%d of 5,000 calls matched: the pools do not test both", matched)
	}
}
