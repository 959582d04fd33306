package daemon

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func TestProblemsAreToldOnce(t *testing.T) {
	voting := model.Problem{
		Object: model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: "voting"},
		From:   "mesh.yaml:4:8", Field: "spec.timeuot", Message: `unknown field "timeuot": did you mean timeout?`,
	}
	large := model.Problem{From: "large.yaml", Message: "is 50.0 MiB"}
	warning := model.Problem{From: "mesh.yaml:9", Message: "no endpoint has version v2", Warning: true}
	many := make([]model.Problem, mostTold+3)
	for i := range many {
		many[i] = model.Problem{From: fmt.Sprint("mesh.yaml:", i), Message: "is wrong"}
	}
	const again = `level=INFO msg="configuration is served as it is written again"`
	for name, test := range map[string]struct {
		before, now []model.Problem
		want        []string // the lines, or how they end
	}{
		"nothing is wrong": {},
		"one is new": {nil, []model.Problem{voting}, []string{
			`level=WARN msg="configuration is not served as it is written" where=mesh.yaml:4:8 object="Service voting" ` +
				`field=spec.timeuot problem="unknown field \"timeuot\": did you mean timeout?"`,
		}},
		"one is of no object": {nil, []model.Problem{large}, []string{
			`level=WARN msg="configuration is not served as it is written" where=large.yaml problem="is 50.0 MiB"`,
		}},
		"one is known":           {[]model.Problem{voting}, []model.Problem{voting}, nil},
		"one of two is mended":   {[]model.Problem{voting, large}, []model.Problem{large}, nil},
		"all is mended":          {[]model.Problem{voting}, nil, []string{again}},
		"all but a warning":      {[]model.Problem{voting, warning}, []model.Problem{warning}, []string{again}},
		"a warning is for check": {nil, []model.Problem{warning}, nil},
		"a warning goes":         {[]model.Problem{warning}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, told(test.before, test.now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	got := told(nil, many)
	if len(got) != mostTold+1 || !strings.Contains(got[mostTold], "'xdsserver check' lists all\" more=3") {
		t.Errorf("of %d: %d lines, the last %q", len(many), len(got), got[len(got)-1])
	}
}

// told returns the lines that tell logs.
func told(before, now []model.Problem) []string {
	var b strings.Builder
	handler := slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	tell(slog.New(handler), before, now)
	if b.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimSpace(b.String()), "\n")
}
