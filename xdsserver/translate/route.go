package translate

import (
	"cmp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// An entry is one match of one rule: one xDS route, and one more for each of the
// service's methods that is known to be idempotent and not told apart otherwise.
type entry struct {
	name  string
	match model.Match
	rule  *model.Rule
}

// whole is what holds without a route of the operator's: every call goes to the
// service itself.
func whole(service model.ServiceName) entry {
	return entry{rule: &model.Rule{Backends: []model.Backend{{Service: service, Weight: 1}}}}
}

// ordered returns the matches of all routes, the most specific first. xDS takes
// the first route that matches; the Gateway API says which that must be: more
// characters of the service, then of the method, then more headers, then the
// order of names and of rules. An exact method comes before an expression. Routes that
// have an order of their own keep it, behind all others.
func ordered(routes []*model.Route) []entry {
	var entries, kept []entry
	for _, r := range routes {
		for i := range r.Rules {
			rule := &r.Rules[i]
			name := model.ServiceName{Namespace: r.Namespace, Name: r.Name}.String()
			if rule.Name != "" {
				name += "/" + rule.Name
			}
			matches := rule.Matches
			if len(matches) == 0 {
				matches = []model.Match{{}}
			}
			for _, m := range matches {
				if r.Ordered {
					kept = append(kept, entry{name: name, match: m, rule: rule})
				} else {
					entries = append(entries, entry{name: name, match: m, rule: rule})
				}
			}
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(
			cmp.Compare(kind(a.match), kind(b.match)),
			cmp.Compare(len(b.match.Service), len(a.match.Service)),
			cmp.Compare(len(b.match.Method), len(a.match.Method)),
			cmp.Compare(len(b.match.Headers), len(a.match.Headers)),
		)
	})
	return append(entries, kept...)
}

// kind ranks the ways to match a method.
func kind(m model.Match) int {
	switch {
	case m.Service == "" && m.Method == "" && m.Path == nil:
		return 2
	case m.Regex || m.Path != nil:
		return 1
	}
	return 0
}

// routes are the entry's, in order. A client retries by the route, so methods whose
// calls may be made twice have routes of their own, before the one for all: that
// changes nothing else, since they hold for nothing that the other does not.
func (e entry) routes(in Input) []*routev3.Route {
	methods := in.Service.Twice(e.rule)
	c := conduct{service: in.Service, rule: e.rule, hash: in.hashHeader(e.rule), twice: slices.ContainsFunc(methods, e.match.Names)}
	narrow := e.match.Only(methods)
	routes := make([]*routev3.Route, 0, 1+len(narrow))
	for _, only := range narrow {
		c := c
		c.twice = true
		routes = append(routes, e.route(only, c))
	}
	return append(routes, e.route(e.match, c))
}

func (e entry) route(m model.Match, c conduct) *routev3.Route {
	r := &routev3.Route{
		Name:   e.name,
		Match:  path(m),
		Action: &routev3.Route_Route{Route: action(e.rule)},
	}
	for _, h := range m.Headers {
		r.Match.Headers = append(r.Match.Headers, header(h))
	}
	if e.rule.Fault != nil {
		override(r, faultFilter, pack(fault(e.rule.Fault)))
	}
	c.apply(r)
	return r
}

// path matches "/service/method".
func path(m model.Match) *routev3.RouteMatch {
	switch {
	case m.Path != nil && m.Path.Kind == model.PathPrefix:
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: m.Path.Value}}
	case m.Service == "" && m.Method == "" && m.Path == nil:
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	case !m.Regex && m.Method == "" && m.Path == nil:
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/" + m.Service + "/"}}
	case !m.Regex && m.Service != "":
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/" + m.Service + "/" + m.Method}}
	}
	// The very expression that validation compiled.
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: m.PathRegex()}}}
}

func header(h model.HeaderMatch) *routev3.HeaderMatcher {
	if h.Absent {
		return &routev3.HeaderMatcher{
			Name: strings.ToLower(h.Name), HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}, InvertMatch: true,
		}
	}
	value := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: h.Value}}
	if h.Regex {
		value = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: h.Value}}}
	}
	return &routev3.HeaderMatcher{
		Name: strings.ToLower(h.Name), HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value}, InvertMatch: h.Invert,
	}
}

func action(rule *model.Rule) *routev3.RouteAction {
	a := &routev3.RouteAction{}
	if rule.Timeout != nil {
		// An explicit zero is the application's own deadline (gRFC A31).
		a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(*rule.Timeout)}
	}
	if len(rule.Backends) == 1 {
		b := rule.Backends[0]
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: clusterName(b.Service, b.Version)}
		return a
	}
	weighted := &routev3.WeightedCluster{}
	for _, b := range rule.Backends {
		weighted.Clusters = append(weighted.Clusters, &routev3.WeightedCluster_ClusterWeight{
			Name:   clusterName(b.Service, b.Version),
			Weight: wrapperspb.UInt32(b.Weight),
		})
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted}
	return a
}

func fault(f *model.Fault) *faultv3.HTTPFault {
	out := &faultv3.HTTPFault{}
	if f.FromHeaders {
		return asked(f)
	}
	if f.DelayPerMillion > 0 {
		out.Delay = &faultcommonv3.FaultDelay{
			FaultDelaySecifier: &faultcommonv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(f.Delay)},
			Percentage:         perMillion(f.DelayPerMillion),
		}
	}
	if f.AbortPerMillion > 0 {
		out.Abort = &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_GrpcStatus{GrpcStatus: f.AbortCode},
			Percentage: perMillion(f.AbortPerMillion),
		}
	}
	return out
}

// asked is a fault that callers ask for by headers (gRFC A33). A caller's own share
// counts in the unit of these, so they are percents.
func asked(f *model.Fault) *faultv3.HTTPFault {
	percents := func(perMillion uint32) *typev3.FractionalPercent {
		return &typev3.FractionalPercent{Numerator: perMillion / 10_000, Denominator: typev3.FractionalPercent_HUNDRED}
	}
	out := &faultv3.HTTPFault{}
	if f.DelayPerMillion > 0 {
		out.Delay = &faultcommonv3.FaultDelay{
			FaultDelaySecifier: &faultcommonv3.FaultDelay_HeaderDelay_{HeaderDelay: &faultcommonv3.FaultDelay_HeaderDelay{}},
			Percentage:         percents(f.DelayPerMillion),
		}
	}
	if f.AbortPerMillion > 0 {
		out.Abort = &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HeaderAbort_{HeaderAbort: &faultv3.FaultAbort_HeaderAbort{}},
			Percentage: percents(f.AbortPerMillion),
		}
	}
	return out
}

func perMillion(n uint32) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: n, Denominator: typev3.FractionalPercent_MILLION}
}
