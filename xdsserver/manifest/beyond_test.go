package manifest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// What other sources can say, and no manifest, is shown as it is enforced, and never
// applied as what a manifest could say of it.
func TestWhatNoManifestCanSayIsWrittenAndNotReadAsSomethingElse(t *testing.T) {
	web := model.ServiceName{Namespace: "default", Name: "web"}
	rule := func(r model.AccessRule) model.Object {
		return &model.AccessPolicy{
			Namespace: "default", Name: "web", Services: []model.ServiceName{web},
			Rules: model.AccessRules{HasAllow: true, Allow: []model.AccessRule{r}},
		}
	}
	metadata := func(m model.MetadataMatch) model.Object {
		m.Name = "x-a"
		return rule(model.AccessRule{Metadata: []model.MetadataMatch{m}})
	}
	route := func(r model.Rule) model.Object {
		if r.Backends == nil {
			r.Backends = []model.Backend{{Service: web, Weight: 1}}
		}
		return &model.Route{Namespace: "default", Name: "web", Parents: []model.ServiceName{web}, Rules: []model.Rule{r}}
	}
	match := func(m model.Match) model.Object { return route(model.Rule{Matches: []model.Match{m}}) }
	short := 1500 * time.Microsecond
	for _, tt := range []struct {
		name   string
		object model.Object
		want   string // is all behind "spec:", or a part of it
	}{
		{
			"a rule with everything",
			rule(model.AccessRule{
				NotFrom: []model.Principal{{Kind: model.OfService, Value: "evil"}},
				Path:    &model.PathMatch{Kind: model.PathPrefix, Value: "/a.B/Get"},
				Unless: []model.CallMatch{{
					Methods: []string{"/a.B/GetKey"}, Path: &model.PathMatch{Kind: model.PathExpression, Value: ".*"},
					Metadata: []model.MetadataMatch{{Name: "x-a", Kind: model.ValueAny, Invert: true}},
				}},
			}),
			`  allow:
    - notFrom: # no manifest can say this
        - evil
      path: # no manifest can say this
        type: Prefix
        value: "/a.B/Get"
      unless: # no manifest can say this
        - methods:
            - "/a.B/GetKey"
          path: # no manifest can say this
            type: RegularExpression
            value: ".*"
          metadata:
            - name: x-a
              type: Any # no manifest can say this
              invert: true # no manifest can say this
`,
		},
		{"a prefix", metadata(model.MetadataMatch{Kind: model.ValuePrefix, Value: "v"}), "type: Prefix # no manifest"},
		{"a suffix", metadata(model.MetadataMatch{Kind: model.ValueSuffix, Value: "v"}), "type: Suffix # no manifest"},
		{"a part", metadata(model.MetadataMatch{Kind: model.ValueContains, Value: "v"}), "type: Contains # no manifest"},
		{"an expression", metadata(model.MetadataMatch{Kind: model.ValueExpression, Value: "v"}), "type: RegularExpression # no manifest"},
		{"any letter case", metadata(model.MetadataMatch{Value: "v", IgnoreCase: true}), "ignoreCase: true # no manifest"},
		{
			"services that are left out",
			&model.AccessPolicy{
				Namespace: "default", Name: "all", AllServices: true, Except: []model.ServiceName{web, {Namespace: "shop", Name: "cart"}},
				Rules: model.AccessRules{HasAllow: true},
			},
			`  services:
    - "*"
  except: # no manifest can say this
    - web
    - cart.shop
  allow: []
`,
		},
		{"what stands for a policy", rule(model.AccessRule{}).(*model.AccessPolicy).Close(), "  closed: true # no manifest can say this\n  deny:\n    - {}\n"},
		{
			"a route in order",
			&model.Route{Namespace: "default", Name: "web", Parents: []model.ServiceName{web}, Ordered: true, Rules: route(model.Rule{}).(*model.Route).Rules},
			"  ordered: true # no manifest can say this\n",
		},
		{
			"a path",
			match(model.Match{Path: &model.PathMatch{Kind: model.PathExpression, Value: "/a.*"}}),
			`        - path: # no manifest can say this
            type: RegularExpression
            value: "/a.*"
`,
		},
		{
			"a header that is absent",
			match(model.Match{Headers: []model.HeaderMatch{{Name: "x-a", Absent: true}}}),
			"            - name: x-a\n              absent: true # no manifest can say this\n      backend",
		},
		{
			"a header of another value",
			match(model.Match{Headers: []model.HeaderMatch{{Name: "x-a", Value: "v", Regex: true, Invert: true}}}),
			`            - type: RegularExpression
              name: x-a
              invert: true # no manifest can say this
              value: v
`,
		},
		{
			"who takes calls instead",
			route(model.Rule{Backends: []model.Backend{{Service: web, Weight: 1, Failover: []model.Target{
				{Service: web, Version: "v1"}, {Service: model.ServiceName{Namespace: "shop", Name: "web"}},
			}}}}),
			`          failover: # no manifest can say this
            - name: web
              version: v1
            - name: web
              namespace: shop
`,
		},
		{"a time that is finer than a millisecond", route(model.Rule{Timeout: &short}), "request: 1.5ms\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := Marshal(tt.object)
			if err != nil {
				t.Fatal(err)
			}
			_, got, _ := strings.Cut(string(text), "\nspec:\n")
			if !strings.Contains(got, tt.want) {
				t.Errorf("(-want +got):\n%s", cmp.Diff(tt.want, got))
			}
			if objects, problems := Parse("f", text); len(objects) > 0 || len(problems) == 0 {
				t.Errorf("it is read as %+v", objects)
			}
		})
	}
}

// A kind that is added is known to the checks first.
func TestEveryKindHasAName(t *testing.T) {
	names := map[string]bool{}
	kinds := 0
	for kind := range model.MetadataKind(100) {
		if strings.Contains(problemsOf(model.CallMatch{Metadata: []model.MetadataMatch{{Name: "a", Value: "v", Kind: kind}}}), "unknown") {
			break
		}
		kinds++
		names[metadataType(kind)] = true
	}
	for kind := range model.PathKind(100) {
		if strings.Contains(problemsOf(model.CallMatch{Path: &model.PathMatch{Value: "/v", Kind: kind}}), "unknown") {
			break
		}
		kinds++
		names["path "+pathType(kind)] = true
	}
	if len(names) != kinds || kinds == 0 {
		t.Errorf("of %d kinds got %v", kinds, names)
	}
	for name := range names {
		if strings.Contains(name, "unknown") {
			t.Error(name)
		}
	}
}

func problemsOf(m model.CallMatch) string {
	var all strings.Builder
	for _, p := range model.CheckCalls(m) {
		all.WriteString(p.Message)
	}
	return all.String()
}
