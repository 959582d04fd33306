package resource_test

import (
	"context"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// naive is a matcher that shares nothing with the package's: it reads the
// message on each call, as gRFC A28 describes it, and returns the name of the
// route. Fractions are all or nothing.
func naive(ctx context.Context, routes []*routev3.Route, method string) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	md = metadata.Join(md)
	for name := range md {
		if strings.HasSuffix(name, "-bin") {
			delete(md, name)
		}
	}
	md["content-type"] = []string{"application/grpc"}

	for _, r := range routes {
		m := r.GetMatch()
		if len(m.GetQueryParameters()) > 0 || r.GetRoute().GetClusterHeader() != "" {
			continue // skipped, whatever else it says
		}
		none := m.GetRuntimeFraction() != nil && m.GetRuntimeFraction().GetDefaultValue().GetNumerator() == 0
		misses := func(h *routev3.HeaderMatcher) bool { return !naiveHeader(h, md) }
		if naivePath(m, method) && !slices.ContainsFunc(m.GetHeaders(), misses) && !none {
			return r.GetName()
		}
	}
	return ""
}

func naivePath(m *routev3.RouteMatch, method string) bool {
	if m.GetSafeRegex() != nil {
		return naiveRegex(m.GetSafeRegex().GetRegex(), method)
	}
	path, prefix := m.GetPath(), m.GetPrefix()
	if m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue() {
		method, path, prefix = strings.ToUpper(method), strings.ToUpper(path), strings.ToUpper(prefix)
	}
	if _, ok := m.GetPathSpecifier().(*routev3.RouteMatch_Path); ok {
		return method == path
	}
	return strings.HasPrefix(method, prefix)
}

func naiveRegex(pattern, text string) bool {
	return regexp.MustCompile(`\A(?:` + pattern + `)\z`).MatchString(text)
}

func naiveHeader(h *routev3.HeaderMatcher, md metadata.MD) bool {
	values, ok := md[strings.ToLower(h.GetName())]
	value := strings.Join(values, ",")
	if p, is := h.GetHeaderMatchSpecifier().(*routev3.HeaderMatcher_PresentMatch); is {
		present := ok && value != ""
		return present == (p.PresentMatch != h.GetInvertMatch())
	}
	if !ok {
		return false
	}
	var holds bool
	switch m := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_ExactMatch:
		holds = value == m.ExactMatch
	case *routev3.HeaderMatcher_PrefixMatch:
		holds = strings.HasPrefix(value, m.PrefixMatch)
	case *routev3.HeaderMatcher_SuffixMatch:
		holds = strings.HasSuffix(value, m.SuffixMatch)
	case *routev3.HeaderMatcher_ContainsMatch:
		holds = strings.Contains(value, m.ContainsMatch)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		holds = naiveRegex(m.SafeRegexMatch.GetRegex(), value)
	case *routev3.HeaderMatcher_RangeMatch:
		n, err := strconv.ParseInt(value, 10, 64)
		holds = err == nil && m.RangeMatch.GetStart() <= n && n < m.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_StringMatch:
		holds = naiveString(m.StringMatch, value)
	}
	return holds != h.GetInvertMatch()
}

func naiveString(m *matcherv3.StringMatcher, value string) bool {
	fold := func(s string) string {
		if m.GetIgnoreCase() {
			return strings.ToLower(s)
		}
		return s
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(value) == fold(p.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(value), fold(p.Prefix))
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(value), fold(p.Suffix))
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(fold(value), fold(p.Contains))
	default:
		return naiveRegex(m.GetSafeRegex().GetRegex(), value)
	}
}

// FuzzMatch makes random routes of a seed, and compares how they match the
// fuzzed call with how a naive matcher does.
func FuzzMatch(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		f.Add(seed, pick(r, poolMethods), pick(r, poolHeaders), pick(r, poolValues), pick(r, poolValues))
	}
	f.Add(uint64(1), "/shop.Cart/Add", "content-type", "text/html", "")
	f.Add(uint64(2), "/shop.Cart/Add", "x-d-bin", "a", "\x00")
	name := regexp.MustCompile("^[0-9A-Za-z_.-]+$") // grpc refuses calls with others
	f.Fuzz(func(t *testing.T, seed uint64, method, header, first, second string) {
		if !name.MatchString(header) {
			t.Skip()
		}
		r := rand.New(rand.NewPCG(seed, 1))
		routes := randomRoutes(r, 1+r.IntN(8), func(int) string { return "c" })
		// The fuzzed header is one that some route asks for.
		for _, route := range routes {
			for _, h := range route.GetMatch().GetHeaders() {
				if chance(r, 3) {
					h.Name = header
				}
			}
		}
		decoded, err := resource.DecodeRouteConfiguration(encode(t, &routev3.RouteConfiguration{
			Name:         "r",
			VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: routes}},
		}))
		if err != nil {
			t.Fatal(err)
		}
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("x-b", pick(r, poolValues), header, first, "X-C", pick(r, poolValues)))
		ctx = metadata.AppendToOutgoingContext(ctx, header, second)
		for range 2 { // the second time from the plan
			got := ""
			if m := decoded.VirtualHost("any").Match(ctx, method); m != nil {
				got = m.Name
			}
			if want := naive(ctx, routes, method); got != want {
				t.Errorf("%s with %s: %q, %q takes route %q, want %q of %v", method, header, first, second, got, want, routes)
			}
		}
	})
}

// TestMatchesAsANaiveMatcherDoes is FuzzMatch with many seeds, for every run.
func TestMatchesAsANaiveMatcherDoes(t *testing.T) {
	names := append(slices.Clone(poolHeaders), "content-type", "x-d-bin")
	matched := 0
	for seed := range uint64(1_000) {
		r := rand.New(rand.NewPCG(seed, 2))
		routes := randomRoutes(r, 1+r.IntN(20), func(int) string { return "c" })
		for _, route := range routes {
			for _, h := range route.GetMatch().GetHeaders() {
				h.Name = pick(r, names)
			}
		}
		decoded, err := resource.DecodeRouteConfiguration(encode(t, &routev3.RouteConfiguration{
			Name:         "r",
			VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: routes}},
		}))
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			method, headers := randomCall(r)
			ctx := metadata.AppendToOutgoingContext(t.Context(), append(headers, pick(r, names), pick(r, poolValues))...)
			got := ""
			if m := decoded.VirtualHosts[0].Match(ctx, method); m != nil {
				got = m.Name
				matched++
			}
			if want := naive(ctx, routes, method); got != want {
				t.Fatalf("seed %d: %s with %q takes route %q, want %q of %v", seed, method, headers, got, want, routes)
			}
		}
	}
	if matched < 5_000 {
		t.Errorf("%d of 20,000 calls matched, which compares too little", matched)
	}
}
