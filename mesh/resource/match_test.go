package resource_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// host decodes routes and returns their virtual host.
func host(t testing.TB, list ...*routev3.Route) *resource.VirtualHost {
	t.Helper()
	c, err := resource.DecodeRouteConfiguration(encode(t, routes(list...)))
	if err != nil {
		t.Fatal(err)
	}
	return c.VirtualHosts[0]
}

func sending(headers ...string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), headers...)
}

func byPath(path string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}}
}

func byPrefix(prefix string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}}
}

func byRegex(regex string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: regex}}}
}

func folding(m *routev3.RouteMatch) *routev3.RouteMatch {
	m.CaseSensitive = wrapperspb.Bool(false)
	return m
}

func TestPathsMatch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		match  *routev3.RouteMatch
		method string
		want   bool
	}{
		{"an empty prefix matches all", byPrefix(""), "/shop.Cart/Add", true},
		{"a prefix matches the start", byPrefix("/shop."), "/shop.Cart/Add", true},
		{"a prefix matches no other start", byPrefix("/shop."), "/v/shop.Cart", false},
		{"a path matches as a whole", byPath("/shop.Cart/Add"), "/shop.Cart/Add", true},
		{"a path matches no longer one", byPath("/shop.Cart/Add"), "/shop.Cart/AddAll", false},
		{"case counts", byPath("/shop.Cart/Add"), "/shop.cart/add", false},
		{"case does not count where it is said", folding(byPath("/shop.Cart/Add")), "/SHOP.cart/add", true},
		{"nor in a prefix", folding(byPrefix("/SHOP")), "/shop.Cart/Add", true},
		{"a regex matches the whole path", byRegex("/shop.Cart/(Add|Remove)"), "/shop.Cart/Add", true},
		{"a regex matches no part of the path", byRegex("Cart"), "/shop.Cart/Add", false},
		{"an alternative of a regex is bound on both ends", byRegex("/a|/b"), "/ab", false},
		{"a regex has its own case", folding(byRegex("/SHOP.*")), "/shop.Cart/Add", false},
		{"a regex may ignore case", byRegex("(?i)/SHOP.*"), "/shop.Cart/Add", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vh := host(t, to("voting", func(r *routev3.Route) { r.Match = tt.match }))
			for range 2 { // the second time from memory
				if got := vh.Match(t.Context(), tt.method) != nil; got != tt.want {
					t.Errorf("%s matches %v, want %v", tt.method, got, tt.want)
				}
			}
		})
	}
}

func TestHeadersMatch(t *testing.T) {
	type h = routev3.HeaderMatcher
	text := func(ignoreCase bool, pattern *matcherv3.StringMatcher) *h {
		pattern.IgnoreCase = ignoreCase
		return &h{HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: pattern}}
	}
	named := func(name string, m *h) *h { m.Name = name; return m }
	not := func(m *h) *h { m.InvertMatch = true; return m }
	exact := func(s string) *h {
		return &h{HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: s}}
	}
	present := func(is bool) *h {
		return &h{HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: is}}
	}
	regex := func(s string) *h {
		return &h{HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: &matcherv3.RegexMatcher{Regex: s}}}
	}
	within := func(start, end int64) *h {
		return &h{HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: start, End: end}}}
	}
	for _, tt := range []struct {
		name  string
		match *h
		sent  []string
		want  bool
	}{
		{"exact", exact("a"), []string{"x", "a"}, true},
		{"exact, of another case", exact("a"), []string{"x", "A"}, false},
		{"exact, inverted", not(exact("a")), []string{"x", "b"}, true},
		{"exact, absent", exact(""), nil, false},
		{"exact, absent and inverted", not(exact("a")), nil, false},
		{"exact of nothing matches an empty value", exact(""), []string{"x", ""}, true},
		{"the name's case does not count", named("X", exact("a")), []string{"x", "a"}, true},
		{"several values are one, joined by commas", exact("a,b"), []string{"x", "a", "y", "c", "X", "b"}, true},
		{"none of several values is matched alone", exact("a"), []string{"x", "a", "x", "b"}, false},
		{"prefix", &h{HeaderMatchSpecifier: &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: "a"}}, []string{"x", "ab"}, true},
		{"suffix", &h{HeaderMatchSpecifier: &routev3.HeaderMatcher_SuffixMatch{SuffixMatch: "a"}}, []string{"x", "ab"}, false},
		{"contains", &h{HeaderMatchSpecifier: &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: ",b"}}, []string{"x", "a", "x", "b"}, true},
		{"regex matches the whole value", regex("a+"), []string{"x", "aaa"}, true},
		{"regex matches no part of it", regex("a+"), []string{"x", "aab"}, false},
		{"range includes its start", within(-5, 5), []string{"x", "-5"}, true},
		{"range excludes its end", within(-5, 5), []string{"x", "5"}, false},
		{"range of what is no number", within(-5, 5), []string{"x", "one"}, false},
		{"range of what is no number, inverted", not(within(-5, 5)), []string{"x", "one"}, true},
		{"range of two numbers, which are none", within(-5, 5), []string{"x", "1", "x", "2"}, false},
		{"range of a number beyond 64 bits", within(math.MinInt64, math.MaxInt64), []string{"x", "9223372036854775808"}, false},
		{"present", present(true), []string{"x", "a"}, true},
		{"present, absent", present(true), nil, false},
		{"present, inverted", not(present(true)), nil, true},
		{"absent", present(false), nil, true},
		{"absent, inverted", not(present(false)), []string{"x", "a"}, true},
		{"an empty value is absent", present(true), []string{"x", ""}, false},
		{"two empty values are not", present(true), []string{"x", "", "x", ""}, true},
		{"text, exact", text(false, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "a"}}), []string{"x", "A"}, false},
		{"text, exact in any case", text(true, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "aB"}}), []string{"x", "Ab"}, true},
		{"text, prefix in any case", text(true, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "A"}}), []string{"x", "ab"}, true},
		{"text, suffix in any case", text(true, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "B"}}), []string{"x", "ab"}, true},
		{"text, contains in any case", text(true, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "B"}}), []string{"x", "abc"}, true},
		{
			"text, regex has its own case",
			text(true, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "A"}}}),
			[]string{"x", "a"},
			false,
		},
		{"a binary header is absent", named("x-bin", present(true)), []string{"x-bin", "a"}, false},
		{"a binary header is absent, inverted too", named("x-bin", not(exact("a"))), []string{"x-bin", "b"}, false},
		{"content-type is gRPC's", named("content-type", exact("application/grpc")), nil, true},
		{"content-type is not the application's to say", named("content-type", exact("application/grpc")), []string{"content-type", "text/html"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.match.Name == "" {
				tt.match.Name = "x"
			}
			vh := host(t, matching(func(m *routev3.RouteMatch) { m.Headers = []*routev3.HeaderMatcher{tt.match} }))
			if got := vh.Match(sending(tt.sent...), "/shop.Cart/Add") != nil; got != tt.want {
				t.Errorf("%q matches %v, want %v", tt.sent, got, tt.want)
			}
		})
	}
}

func TestAnEmptyListOfValuesIsAnEmptyHeader(t *testing.T) {
	vh := host(t, matching(func(m *routev3.RouteMatch) {
		m.Headers = []*routev3.HeaderMatcher{{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{}}}
	}))
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"x": {}})
	if vh.Match(ctx, "/") == nil {
		t.Error("no match")
	}
}

func TestTheFirstRouteThatMatchesWins(t *testing.T) {
	canary := func(m *routev3.RouteMatch, names ...string) *routev3.RouteMatch {
		for _, name := range names {
			m.Headers = append(m.Headers, &routev3.HeaderMatcher{
				Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "1"},
			})
		}
		return m
	}
	named := func(name string, m *routev3.RouteMatch) *routev3.Route {
		return to("voting", func(r *routev3.Route) { r.Name, r.Match = name, m })
	}
	// More names than are kept on the stack.
	many := strings.Fields("a b c d e f g h i j k l")
	vh := host(t,
		named("many", canary(byPrefix("/shop."), many...)),
		named("two", canary(byPrefix("/shop."), "a", "b")),
		named("one", canary(byPath("/shop.Cart/Add"), "a")),
		named("rest", byPrefix("/shop.")),
		named("never", byPath("/shop.Cart/Add")),
	)
	var all []string
	for _, name := range many {
		all = append(all, name, "1")
	}
	for _, tt := range []struct {
		name, method string
		sent         []string
		want         string
	}{
		{"all headers are there", "/shop.Cart/Add", all, "many"},
		{"two headers are there", "/shop.Cart/Add", []string{"b", "1", "a", "1"}, "two"},
		{"one header is there", "/shop.Cart/Add", []string{"a", "1"}, "one"},
		{"one header is there, for another method", "/shop.Cart/Remove", []string{"a", "1"}, "rest"},
		{"no header is there", "/shop.Cart/Add", nil, "rest"},
		{"no path matches", "/voting", all, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if r := vh.Match(sending(tt.sent...), tt.method); r != nil {
				got = r.Name
			}
			if got != tt.want {
				t.Errorf("route %q, want %q", got, tt.want)
			}
		})
	}
}

func TestARouteWithoutAMatcherMatchesAll(t *testing.T) {
	vh := &resource.VirtualHost{Routes: []*resource.Route{{Name: "all"}}}
	if r := vh.Match(t.Context(), "/shop.Cart/Add"); r == nil || r.Name != "all" {
		t.Errorf("got %v", r)
	}
	if r := new(resource.VirtualHost).Match(t.Context(), "/"); r != nil {
		t.Errorf("no routes, but got %v", r)
	}
}

func TestFractionsMatchTheirShare(t *testing.T) {
	const calls = 100_000
	for _, tt := range []struct {
		name  string
		share *typev3.FractionalPercent
		want  float64
	}{
		{"none in a hundred", share(0, typev3.FractionalPercent_HUNDRED), 0},
		{"a fraction without a value is none", nil, 0},
		{"thirty in a hundred", share(30, typev3.FractionalPercent_HUNDRED), 0.3},
		{"thirty in ten thousand", share(30, typev3.FractionalPercent_TEN_THOUSAND), 0.003},
		{"half of a million", share(500_000, typev3.FractionalPercent_MILLION), 0.5},
		{"all of a hundred", share(100, typev3.FractionalPercent_HUNDRED), 1},
		{"more than all, where 32 bits would wrap round", share(429_497, typev3.FractionalPercent_HUNDRED), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vh := host(t, matching(func(m *routev3.RouteMatch) {
				m.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: tt.share}
			}))
			got := 0.0
			for range calls {
				if vh.Match(t.Context(), "/shop.Cart/Add") != nil {
					got++
				}
			}
			if off := 5 * math.Sqrt(calls*tt.want*(1-tt.want)); math.Abs(got-calls*tt.want) > off {
				t.Errorf("%v of %d calls matched, want %v within %.0f", got, calls, calls*tt.want, off)
			}
		})
	}
}

func TestClustersArePickedByWeight(t *testing.T) {
	const calls = 100_000
	route := host(t, weighted(weight("a", 90), weight("none", 0), weight("b", 9), weight("c", 1))).Routes[0]
	got := map[string]float64{}
	for range calls {
		got[route.Pick().Name]++
	}
	for cluster, w := range map[string]float64{"a": 0.9, "b": 0.09, "c": 0.01} {
		if off := 5 * math.Sqrt(calls*w*(1-w)); math.Abs(got[cluster]-calls*w) > off {
			t.Errorf("%s got %v of %d calls, want %v within %.0f", cluster, got[cluster], calls, calls*w, off)
		}
	}
	if len(got) != 3 {
		t.Errorf("picked %v", got)
	}
}

func TestTheBestDomainWins(t *testing.T) {
	for _, tt := range []struct {
		name      string
		authority string
		hosts     [][]string
		want      int // -1 for none
	}{
		{"exact before suffix", "a.shop", [][]string{{"*.shop"}, {"a.shop"}}, 1},
		{"suffix before prefix", "a.shop", [][]string{{"a.sho*"}, {"*p"}}, 1},
		{"prefix before all", "a.shop", [][]string{{"*"}, {"a*"}}, 1},
		{"all when nothing else does", "a.shop", [][]string{{"b.shop", "*"}}, 0},
		{"the longer suffix", "a.shop", [][]string{{"*shop"}, {"*.shop"}}, 1},
		{"the longer prefix", "a.shop", [][]string{{"a.*"}, {"a*"}}, 0},
		{"the first of two alike", "a.shop", [][]string{{"a.shop"}, {"a.shop"}}, 0},
		{"the best of a host's domains counts", "a.shop", [][]string{{"b", "*.shop"}, {"a*", "*"}}, 0},
		{"case counts", "a.shop", [][]string{{"A.shop"}}, -1},
		{"the port counts", "a.shop:80", [][]string{{"a.shop"}}, -1},
		{"a suffix may be the whole", "a.shop", [][]string{{"*a.shop"}}, 0},
		{"nothing matches", "a.shop", [][]string{{"b"}, {}}, -1},
		{"a domain that is none matches nothing", "a*b", [][]string{{"a*b", ""}}, -1},
		{"there are no hosts", "a", nil, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &resource.RouteConfiguration{}
			for _, domains := range tt.hosts {
				c.VirtualHosts = append(c.VirtualHosts, &resource.VirtualHost{Domains: domains})
			}
			got := c.VirtualHost(tt.authority)
			if tt.want < 0 && got != nil || tt.want >= 0 && got != c.VirtualHosts[tt.want] {
				t.Errorf("got %v, want host %d", got, tt.want)
			}
		})
	}
}

// An application may make up method names. They must not fill the memory, and
// must match all the same.
func TestMadeUpMethodsMatchAndAreForgotten(t *testing.T) {
	vh := host(t, to("voting", func(r *routev3.Route) { r.Match = byPrefix("/shop.") }))
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for i := range 2_000 {
				if vh.Match(t.Context(), fmt.Sprint("/shop.Cart/", i)) == nil || vh.Match(t.Context(), fmt.Sprint("/v/", i)) != nil {
					t.Error("a made up method is matched wrong")
				}
			}
		})
	}
	callers.Wait()
	if vh.Match(t.Context(), "/shop."+strings.Repeat("x", 1<<20)) == nil {
		t.Error("a long method is not matched")
	}
	if n := resource.Remembered(vh); n != 512 {
		t.Errorf("%d methods are remembered, want 512", n)
	}
}

func TestMatchAllocatesForHeadersOnly(t *testing.T) {
	vh, withHeader, without := benchmarkHost(t)
	ctx := sending("x-canary", "1")
	for _, tt := range []struct {
		name, method string
		want         float64
	}{
		{"a method whose routes look at headers", withHeader, 1},
		{"a method whose routes do not", without, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := testing.AllocsPerRun(100, func() { vh.Match(ctx, tt.method).Pick() }); got > tt.want {
				t.Errorf("%v allocations, want at most %v", got, tt.want)
			}
		})
	}
}
