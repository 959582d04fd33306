package translate_test

import (
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// setOf holds voting and web, and policies.
func setOf(t *testing.T, policies ...*model.AccessPolicy) *model.Set {
	t.Helper()
	var objects []model.Object
	for _, s := range []string{"voting", "web"} {
		objects = append(objects, &model.Service{Name: model.ServiceName{Namespace: model.DefaultNamespace, Name: s}})
	}
	for _, p := range policies {
		objects = append(objects, p)
	}
	set := model.Validate(objects, nil, nil)
	for _, p := range set.Problems {
		if !p.Warning {
			t.Fatal(p)
		}
	}
	set.Trust = trust(t)
	return set
}

func TestRulesWithExceptionsAndFinerMatches(t *testing.T) {
	web := []model.Principal{{Kind: model.OfService, Value: "web"}}
	header := func(kind model.MetadataKind, value string, change ...func(*model.MetadataMatch)) model.AccessRule {
		m := model.MetadataMatch{Name: "x-a", Kind: kind, Value: value}
		for _, c := range change {
			c(&m)
		}
		return model.AccessRule{Metadata: []model.MetadataMatch{m}}
	}
	inverted := func(m *model.MetadataMatch) { m.Invert = true }
	caseless := func(m *model.MetadataMatch) { m.IgnoreCase = true }
	path := func(kind model.PathKind, value string) model.AccessRule {
		return model.AccessRule{Path: &model.PathMatch{Kind: kind, Value: value}}
	}
	const vote, count = "/a.Voting/Vote", "/a.Voting/Count"
	a := metadata.Pairs("x-a", "abc")
	for _, tt := range []struct {
		name           string
		rule           model.AccessRule
		caller, method string
		md             metadata.MD
		want           bool
	}{
		{"an exception does not match", model.AccessRule{From: []model.Principal{{}}, NotFrom: web}, idWeb, vote, nil, false},
		{"another caller does", model.AccessRule{From: []model.Principal{{}}, NotFrom: web}, idShop, vote, nil, true},
		{"from nobody in particular, with an exception", model.AccessRule{NotFrom: web}, nobody, vote, nil, true},
		{"a path by prefix", path(model.PathPrefix, "/a.Voting/V"), idWeb, vote, nil, true},
		{"another path", path(model.PathPrefix, "/a.Voting/V"), idWeb, count, nil, false},
		{"a path by expression", path(model.PathExpression, "/a[.].*"), idWeb, vote, nil, true},
		{"an expression is for all of it", path(model.PathExpression, "/a"), idWeb, vote, nil, false},
		{"unless, and so", model.AccessRule{From: web, Unless: []model.CallMatch{{Methods: []string{vote}}}}, idWeb, vote, nil, false},
		{"unless, and not so", model.AccessRule{From: web, Unless: []model.CallMatch{{Methods: []string{vote}}}}, idWeb, count, nil, true},
		{
			"unless one of two", model.AccessRule{Methods: []string{"/a.Voting/*"}, Unless: []model.CallMatch{
				{Methods: []string{count}, Metadata: header(model.ValueIs, "x").Metadata}, {Metadata: header(model.ValuePrefix, "a").Metadata},
			}}, idWeb, vote, a, false,
		},
		{"a header by prefix", header(model.ValuePrefix, "ab"), idWeb, vote, a, true},
		{"a header by suffix", header(model.ValueSuffix, "bc"), idWeb, vote, a, true},
		{"a header by part", header(model.ValueContains, "b"), idWeb, vote, a, true},
		{"a header by expression", header(model.ValueExpression, "[a-c]+"), idWeb, vote, a, true},
		{"a header in another case", header(model.ValueIs, "ABC", caseless), idWeb, vote, a, true},
		{"a prefix in another case", header(model.ValuePrefix, "AB"), idWeb, vote, a, false},
		{"another value", header(model.ValueIs, "x", inverted), idWeb, vote, a, true},
		{"another value where there is none", header(model.ValueIs, "x", inverted), idWeb, vote, nil, false},
		{"any value", header(model.ValueAny, ""), idWeb, vote, metadata.Pairs("x-a", ""), true},
		{"any value where there is none", header(model.ValueAny, ""), idWeb, vote, nil, false},
		{"no value", header(model.ValueAny, "", inverted), idWeb, vote, nil, true},
		{"no value where there is an empty one", header(model.ValueAny, "", inverted), idWeb, vote, metadata.Pairs("x-a", ""), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &model.AccessPolicy{Namespace: "default", Name: "p", AllServices: true, Except: []model.ServiceName{{Namespace: "default", Name: "web"}}}
			p.Rules = model.AccessRules{Allow: []model.AccessRule{tt.rule}, HasAllow: true}
			set := setOf(t, p)
			if got := decide(inbound(t, set, "voting"), tt.caller, tt.method, tt.md); got.Allowed != tt.want {
				t.Errorf("allow: got %+v", got)
			}
			if got := decide(inbound(t, set, "web"), idWeb, tt.method, tt.md); !got.Allowed || got.Policy != "mesh/default" {
				t.Errorf("of a service that is excepted: got %+v", got)
			}
			p.Rules = model.AccessRules{Deny: []model.AccessRule{tt.rule}}
			if got := decide(inbound(t, setOf(t, p), "voting"), tt.caller, tt.method, tt.md); tt.caller != nobody && got.Allowed == tt.want {
				t.Errorf("deny: got %+v", got)
			}
		})
	}
}
