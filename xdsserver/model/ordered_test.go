package model

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func expression(value string) *PathMatch { return &PathMatch{Kind: PathExpression, Value: value} }

func TestRulesThatKeepTheirOrder(t *testing.T) {
	good := []Backend{backend("voting", "", 1)}
	matching := func(m Match) Rule { return Rule{Matches: []Match{m}, Backends: good} }
	many := make([]Backend, maxShares+1)
	for i := range many {
		many[i] = backend("voting", "v"+strings.Repeat("1", i%60)+strings.Repeat("2", i/60), 1)
	}
	for _, tt := range []struct {
		name string
		rule Rule
		want []string
	}{
		{"the beginning of a path", matching(Match{Path: &PathMatch{Value: "/a.B"}}), nil},
		{"an expression for a path", matching(Match{Path: expression("/a[.](B|C)/.*")}), nil},
		{"a header twice", matching(Match{Headers: []HeaderMatch{{Name: "x", Value: "a.*", Regex: true}, {Name: "x", Value: "b", Invert: true}}}), nil},
		{"a header that is absent", matching(Match{Headers: []HeaderMatch{{Name: "x", Absent: true}}}), nil},
		{"as many shares as there may be", Rule{Backends: many[:maxShares]}, nil},
		{"more", Rule{Backends: many}, []string{".backendRefs: has 257 entries, 256 is the most"}},
		{
			"a path and a service", matching(Match{Service: "a.B", Path: expression("/.*")}),
			[]string{".matches[0].path: is there beside method: write one of them"},
		},
		{"a path that no method has", matching(Match{Path: &PathMatch{Value: "a.B"}}), []string{`.matches[0].path: "a.B" begins the path of no method`}},
		{"an expression that is none", matching(Match{Path: expression("(")}), []string{`.matches[0].path: "(" is no RE2 expression`}},
		{"a kind of path that is not known", matching(Match{Path: &PathMatch{Kind: 7, Value: "/"}}), []string{".matches[0].path: is of a kind"}},
		{
			"an absent header with a value", matching(Match{Headers: []HeaderMatch{{Name: "x", Value: "1", Absent: true}}}),
			[]string{".matches[0].headers[0].value: is of a header that is to be absent: remove it"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) { wantProblems(t, CheckRule(tt.rule), tt.want...) })
	}
}

func TestMatchesOfPathsAreNarrowedToMethods(t *testing.T) {
	methods := []string{"/a.B/Get", "/a.B/Put", "/a.C/Get"}
	headers := []HeaderMatch{{Name: "x", Absent: true}}
	for _, tt := range []struct {
		path *PathMatch
		want []Match
	}{
		{&PathMatch{Value: "/a.B/P"}, []Match{{Service: "a.B", Method: "Put", Headers: headers}}},
		{expression("(?i)/A[.].*/get"), []Match{{Service: "a.B", Method: "Get", Headers: headers}, {Service: "a.C", Method: "Get", Headers: headers}}},
		{expression("/a"), nil},
	} {
		m := Match{Path: tt.path, Headers: headers}
		if d := cmp.Diff(tt.want, m.Only(methods)); d != "" {
			t.Errorf("%v (-want +got):\n%s", *tt.path, d)
		}
		if m.Catchall() || m.Names("/a.B/Get") {
			t.Errorf("%v holds for all, or for one by name", *tt.path)
		}
	}
}

// What routes that keep their order say counts behind all others.
func TestAnOrderedRouteIsHiddenByOthers(t *testing.T) {
	ordered := route("a", to(backend("voting", "", 1)), to(backend("voting", "", 1)))
	ordered.Name, ordered.Ordered, ordered.From = "consul.voting", true, "consul:service-router/voting"
	set := Validate([]Object{service("voting", "f:1"), ordered, route("own", to(backend("voting", "", 1)))}, nil, nil)
	wantProblems(t, set.Problems,
		"warning GRPCRoute consul.voting consul:service-router/voting spec.rules[0].matches: holds for the same calls to voting as rules[0] of GRPCRoute own at mesh.yaml:9",
		"warning GRPCRoute consul.voting consul:service-router/voting spec.rules[1].matches: holds for the same calls to voting as rules[0] of GRPCRoute own",
	)
}

func TestAnOrderedRouteMayHaveManyRules(t *testing.T) {
	rules := make([]Rule, maxRules+1)
	for i := range rules {
		rules[i] = Rule{Matches: []Match{{Path: &PathMatch{Value: "/" + strings.Repeat("a", i+1)}}}, Backends: []Backend{backend("voting", "", 1)}}
	}
	rules = append(rules, to(backend("voting", "", 1))) //nolint:makezero // the last of them is another
	r := route("r", rules...)
	wantProblems(t, Validate([]Object{service("voting", "f:1"), r}, nil, nil).Problems, "spec.rules: has 66 entries, 64 is the most")
	r.Ordered = true
	wantProblems(t, Validate([]Object{service("voting", "f:1"), r}, nil, nil).Problems)
}

func TestSubsetsOfNobodyAreWarnedOf(t *testing.T) {
	r := route("r", to(backend("voting", "subset.v1", 1), backend("voting", "subset.v2", 1), backend("voting", "subset.v3", 0)))
	r.Ordered, r.Vouches = true, true
	r.Rules[0].Backends[1].Failover = []Target{{Service: name("voting")}} // whose calls do not fail
	set := Validate([]Object{service("voting", "f:1"), r}, nil, nil)
	wantProblems(t, set.Problems, "warning GRPCRoute r mesh.yaml:9 spec.rules[0].backendRefs[0].version: no endpoint of voting is in subset.v1, so calls sent there fail until one is")
}
