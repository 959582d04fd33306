package resource_test

import (
	"fmt"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// benchmarkHost has 20 routes for methods of their own, two for one service of
// which the first looks at a header, and one for the rest, split in two.
func benchmarkHost(tb testing.TB) (vh *resource.VirtualHost, withHeader, without string) {
	tb.Helper()
	var list []*routev3.Route
	for i := range 20 {
		list = append(list, to("voting", func(r *routev3.Route) { r.Match = byPath(fmt.Sprintf("/shop.Cart/Method%d", i)) }))
	}
	canary := byPrefix("/shop.Pay/")
	canary.Headers = []*routev3.HeaderMatcher{{
		Name: "x-canary",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "1"}},
		},
	}}
	list = append(list,
		to("voting/v2", func(r *routev3.Route) { r.Match = canary }),
		to("voting/v1", func(r *routev3.Route) { r.Match = byPrefix("/shop.Pay/") }),
		weighted(weight("voting/v1", 90), weight("voting/v2", 10)),
	)
	return host(tb, list...), "/shop.Pay/Charge", "/shop.Cart/Method19"
}

func BenchmarkMatch(b *testing.B) {
	vh, withHeader, without := benchmarkHost(b)
	for _, bb := range []struct {
		name, method string
		headers      []string
	}{
		{"the last of 20 paths", without, nil},
		{"by default, split by weight", "/voting.Vote/Cast", nil},
		{"a header that is there", withHeader, []string{"authorization", "x", "x-canary", "1"}},
		{"a header that is not there", withHeader, []string{"authorization", "x"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			ctx := sending(bb.headers...)
			b.ReportAllocs()
			for b.Loop() {
				vh.Match(ctx, bb.method).Pick()
			}
		})
	}
}

func BenchmarkMatchParallel(b *testing.B) {
	vh, _, without := benchmarkHost(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			vh.Match(b.Context(), without).Pick()
		}
	})
}

func BenchmarkDecodeRouteConfiguration(b *testing.B) {
	var list []*routev3.Route
	for i := range 20 {
		list = append(list, to("voting", func(r *routev3.Route) { r.Match = byPath(fmt.Sprintf("/shop.Cart/Method%d", i)) }))
	}
	value := encode(b, routes(list...))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resource.DecodeRouteConfiguration(value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEndpoints(b *testing.B) {
	var list []*endpointv3.LbEndpoint
	for i := range 100 {
		list = append(list, endpoint(fmt.Sprintf("10.0.0.%d", i)))
	}
	value := encode(b, assigned(locality("a", 0, 1, list...)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resource.DecodeEndpoints(value); err != nil {
			b.Fatal(err)
		}
	}
}
