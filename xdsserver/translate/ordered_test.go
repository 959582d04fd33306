package translate_test

import (
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// The first rule that matches decides, as clients read it: what counts is where calls go.
func TestTheFirstRuleOfAnOrderedRouteDecides(t *testing.T) {
	expression := func(value string) *model.PathMatch { return &model.PathMatch{Kind: model.PathExpression, Value: value} }
	one := func(h ...model.HeaderMatch) model.Match { return model.Match{Headers: h} }
	for _, tt := range []struct {
		name    string
		first   model.Match // the others take what it leaves: /a.B/ and all
		method  string
		headers metadata.MD
		want    string
	}{
		{"a beginning", model.Match{Path: &model.PathMatch{Value: "/a.B/Ge"}}, "/a.B/Get", nil, "first"},
		{"another beginning", model.Match{Path: &model.PathMatch{Value: "/a.B/Ge"}}, "/a.B/Put", nil, "second"},
		{"an expression", model.Match{Path: expression("/a[.](B|C)/(Get|Put)")}, "/a.C/Put", nil, "first"},
		{"of the whole path", model.Match{Path: expression("/a[.]B/G")}, "/a.B/Get", nil, "second"},
		{"whatever the case", model.Match{Path: expression("(?i)/A[.]B/GET")}, "/a.B/Get", nil, "first"},
		{"less specific than what follows", model.Match{Path: &model.PathMatch{Value: "/"}}, "/a.B/Get", nil, "first"},
		{"a header is absent", one(model.HeaderMatch{Name: "X-A", Absent: true}), "/a.B/Get", nil, "first"},
		{"a header is not absent", one(model.HeaderMatch{Name: "x-a", Absent: true}), "/a.B/Get", metadata.Pairs("x-a", "1"), "second"},
		{"a header has another value", one(model.HeaderMatch{Name: "x-a", Value: "1", Invert: true}), "/c.D/E", metadata.Pairs("x-a", "2"), "first"},
		{"a header has that value", one(model.HeaderMatch{Name: "x-a", Value: "1", Invert: true}), "/c.D/E", metadata.Pairs("x-a", "1"), "third"},
		{"a header has no value", one(model.HeaderMatch{Name: "x-a", Value: "1", Invert: true}), "/c.D/E", nil, "third"},
		{
			"both matches of one header", one(model.HeaderMatch{Name: "x-a", Value: "a.*", Regex: true}, model.HeaderMatch{Name: "x-a", Value: ".*b", Regex: true}),
			"/c.D/E", metadata.Pairs("x-a", "a-b"), "first",
		},
		{
			"one of both", one(model.HeaderMatch{Name: "x-a", Value: "a.*", Regex: true}, model.HeaderMatch{Name: "x-a", Value: ".*b", Regex: true}),
			"/c.D/E", metadata.Pairs("x-a", "a-c"), "third",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rule := func(version string, matches ...model.Match) model.Rule {
				return model.Rule{Matches: matches, Backends: []model.Backend{{Service: named("voting"), Version: version, Weight: 1}}}
			}
			set := model.Validate([]model.Object{&model.Route{
				Namespace: model.DefaultNamespace, Name: "voting", Parents: []model.ServiceName{named("voting")}, Ordered: true, Vouches: true,
				Rules: []model.Rule{rule("first", tt.first), rule("second", model.Match{Service: "a.B"}), rule("third")},
			}}, nil, nil)
			for _, p := range set.Problems {
				if !p.Warning {
					t.Fatal(p)
				}
			}
			set.Trust = trust(t)
			host := decode[*resource.RouteConfiguration](t, set, resource.RouteType, "voting").VirtualHost("voting")
			ctx := metadata.NewOutgoingContext(t.Context(), tt.headers)
			if got := host.Match(ctx, tt.method); got == nil || got.Clusters[0].Name != "voting/"+tt.want {
				t.Errorf("%s %v: got %+v, want it at %s", tt.method, tt.headers, got, tt.want)
			}
		})
	}
}
