package admin

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/model/modeltest"
)

func TestWhatColumnsDoNotHoldIsSaidInWords(t *testing.T) {
	got := onlyIf(model.AccessRule{
		From:     []model.Principal{{}},
		NotFrom:  []model.Principal{{Kind: model.OfService, Value: "evil"}, {Kind: model.OfNamespace, Value: "shop"}},
		Methods:  []string{"/a.B/M"},
		Path:     &model.PathMatch{Value: "/a.B/Get"},
		Metadata: []model.MetadataMatch{{Name: "x-plain", Value: "1"}, {Name: "x-any"}, {Name: "x-a", Kind: model.ValueAny, Invert: true}},
		Unless: []model.CallMatch{
			{Methods: []string{"/a.B/N", "/a.B/O"}, Metadata: []model.MetadataMatch{{Name: "x-a", Value: "1", Invert: true}}},
			{Path: &model.PathMatch{Kind: model.PathExpression, Value: ".*"}},
		},
	})
	want := []string{
		"the caller is not evil or *.shop", "the method begins with /a.B/Get", "not (x-a is there)",
		`not (the method is /a.B/N or /a.B/O and x-a is there and not (x-a is "1"))`, "not (the method matches .*)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for m, want := range map[model.MetadataMatch]string{
		{}:                             "x-a is there and not empty",
		{Invert: true}:                 "not (x-a is there and not empty)",
		{Value: "v", IgnoreCase: true}: `x-a is "v" in any letter case`,
		{Kind: model.ValueAny}:         "x-a is there",
		{Kind: model.ValuePrefix}:      `x-a begins with ""`,
		{Kind: model.ValueSuffix}:      `x-a ends with ""`,
		{Kind: model.ValueContains}:    `x-a contains ""`,
		{Kind: model.ValueExpression}:  `x-a matches ""`,
		{Kind: model.ValueAny + 1}:     `x-a is as kind 6 has it of ""`,
		{Value: "v", Invert: true}:     `x-a is there and not (x-a is "v")`,
		{Kind: model.ValueSuffix, Value: "v", Invert: true}: `x-a is there and not (x-a ends with "v")`,
	} {
		m.Name = "x-a"
		if got := metadataWords(m); got != want {
			t.Errorf("%+v: got %s, want %s", m, got, want)
		}
	}
}

// A part of a rule that nobody tells of is shown as a rule that is wider than it is.
func TestEveryPartOfARuleIsShown(t *testing.T) {
	modeltest.EveryField(t, &model.AccessRule{}, func(r *model.AccessRule) string {
		deny, _ := rows(&model.AccessPolicy{}, modeEnforce, model.AccessRules{Deny: []model.AccessRule{*r}})
		return fmt.Sprint(deny)
	}, nil)
}
