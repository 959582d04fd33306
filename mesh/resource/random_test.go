package resource_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The pools are small, so that random routes and random calls meet.
var (
	poolMethods = []string{
		"/shop.Cart/Add", "/shop.Cart/Remove", "/shop.Pay/Charge", "/SHOP.cart/add", "/voting.Vote/Cast", "/v/ſ",
	}
	poolPrefixes = []string{"", "/", "/shop.", "/shop.Cart/", "/SHOP.", "/voting.Vote/Cast", "/v/S", "/nowhere"}
	poolRegexes  = []string{
		".*", "/shop.*", "/shop\\.(Cart|Pay)/.*", "(?i)/SHOP\\.CART/.*", "Cart", "/shop.Cart/Add|/voting.Vote/Cast", "[^/]*", "/[a-z]+\\..{4,}",
	}
	poolHeaders = []string{"x-a", "x-b", "X-C", "x-never"}
	poolValues  = []string{"", "a", "A", "abc", "ABC", "xabcx", "a,b", "12", "-5", "1000", "+7", "12,13", "application/grpc", "ß"}
	poolTexts   = []string{"a", "A", "b", "abc", "12", "a,b", ",", "application/grpc", "SS"}
)

func pick[T any](r *rand.Rand, pool []T) T { return pool[r.IntN(len(pool))] }

// chance is true once in n.
func chance(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// randomRoutes returns routes in each of which route i sends calls to
// cluster(i): where a call goes says which route took it. It decides everything
// by r, and leaves nothing to chance for the calls: weights and fractions are
// all or nothing.
func randomRoutes(r *rand.Rand, n int, cluster func(int) string) []*routev3.Route {
	routes := make([]*routev3.Route, n)
	for i := range routes {
		routes[i] = &routev3.Route{Name: fmt.Sprint(i), Match: randomMatch(r)}
		randomAction(r, routes[i], cluster(i))
	}
	return routes
}

func randomMatch(r *rand.Rand) *routev3.RouteMatch {
	m := &routev3.RouteMatch{}
	switch r.IntN(5) {
	case 0, 1:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: pick(r, poolPrefixes)}
	case 2, 3:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: pick(r, poolMethods)}
	default:
		m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: pick(r, poolRegexes)}}
	}
	if chance(r, 3) {
		m.CaseSensitive = wrapperspb.Bool(chance(r, 3))
	}
	if chance(r, 25) {
		m.QueryParameters = []*routev3.QueryParameterMatcher{{Name: "q"}}
	}
	if chance(r, 8) {
		m.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: allOrNothing(r)}
	}
	if chance(r, 2) {
		for range 1 + r.IntN(3) {
			m.Headers = append(m.Headers, randomHeader(r))
		}
	}
	return m
}

func allOrNothing(r *rand.Rand) *typev3.FractionalPercent {
	p := &typev3.FractionalPercent{Denominator: typev3.FractionalPercent_DenominatorType(r.IntN(3))}
	if chance(r, 2) {
		p.Numerator = []uint32{100, 10_000, 1_000_000}[p.GetDenominator()]
	}
	return p
}

func randomHeader(r *rand.Rand) *routev3.HeaderMatcher {
	h := &routev3.HeaderMatcher{Name: pick(r, poolHeaders), InvertMatch: chance(r, 4)}
	text := pick(r, poolTexts)
	switch r.IntN(9) {
	case 0:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_ExactMatch{ExactMatch: pick(r, poolValues)}
	case 1:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: text}
	case 2:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_SuffixMatch{SuffixMatch: text}
	case 3:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: text}
	case 4:
		regex := pick(r, []string{".*", "a", "a.*", "(?i)abc", "[0-9]+", ".+,.+", ""})
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: &matcherv3.RegexMatcher{Regex: regex}}
	case 5:
		start := int64(r.IntN(40) - 20)
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: start, End: start + int64(r.IntN(1000))}}
	case 6:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: chance(r, 2)}
	default:
		m := &matcherv3.StringMatcher{IgnoreCase: chance(r, 2)}
		switch r.IntN(5) {
		case 0:
			m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: pick(r, poolValues)}
		case 1:
			m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: text}
		case 2:
			m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: text}
		case 3:
			m.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: text}
		default:
			m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "a.*"}}
		}
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: m}
	}
	return h
}

// timeouts lie far enough apart to be told from each other on a slow machine.
var timeouts = []time.Duration{0, 2 * time.Minute, 10 * time.Minute, time.Hour}

func randomAction(r *rand.Rand, route *routev3.Route, cluster string) {
	switch r.IntN(25) {
	case 0:
		route.Action = &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}}
		return
	case 1:
		route.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{}}
		return
	case 2:
		return
	}
	action := &routev3.RouteAction{}
	switch r.IntN(20) {
	case 0:
		action.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x-cluster"}
	case 1, 2, 3, 4, 5:
		// One cluster takes all; the others' weights are zero.
		w := &routev3.WeightedCluster{}
		at := r.IntN(3)
		for i := range 3 {
			c := &routev3.WeightedCluster_ClusterWeight{Name: "unused", Weight: wrapperspb.UInt32(0)}
			if i == at {
				c = &routev3.WeightedCluster_ClusterWeight{Name: cluster, Weight: wrapperspb.UInt32(1 + r.Uint32N(100))}
			}
			w.Clusters = append(w.Clusters, c)
		}
		action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	default:
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: cluster}
	}
	if chance(r, 2) {
		m := &routev3.RouteAction_MaxStreamDuration{}
		if chance(r, 2) {
			m.GrpcTimeoutHeaderMax = durationpb.New(pick(r, timeouts))
		}
		if !chance(r, 3) {
			m.MaxStreamDuration = durationpb.New(pick(r, timeouts))
		}
		action.MaxStreamDuration = m
	}
	route.Action = &routev3.Route_Route{Route: action}
}

// randomCall returns a method, and the headers of a call as key, value, key...
func randomCall(r *rand.Rand) (method string, headers []string) {
	for range r.IntN(5) {
		headers = append(headers, pick(r, poolHeaders[:3]), pick(r, poolValues[:len(poolValues)-1]))
	}
	return pick(r, poolMethods), headers
}

// randomDomains returns domains that match authority, nearly do, or do not.
func randomDomains(r *rand.Rand, authority string) []string {
	n := len(authority)
	pool := []string{
		"*", authority, authority[:1+r.IntN(n)] + "*", "*" + authority[r.IntN(n):], authority + "*", "*" + authority,
		"other", "other*", "*other", authority + ".", "OTHER." + authority,
	}
	domains := make([]string, 1+r.IntN(3))
	for i := range domains {
		domains[i] = pick(r, pool)
	}
	return domains
}
