package snapshot

import (
	"testing"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// What comes of a registry's own routing is good for stock clients, too.
func TestTheJudgeTakesOrderedRoutesAndFailovers(t *testing.T) {
	w := newWorld("voting", "standby")
	rule := func(m model.Match, more model.Rule) model.Rule {
		more.Matches = []model.Match{m}
		more.Backends = []model.Backend{
			{Service: name("voting"), Version: "subset.one", Weight: 9999, Failover: []model.Target{
				{Service: name("voting")}, {Service: name("standby"), Version: "v1"},
			}},
			{Service: name("standby"), Weight: 1},
		}
		return more
	}
	w.routes = []*model.Route{{
		Namespace: model.DefaultNamespace, Name: "consul.voting", From: "consul:service-router/voting", Parents: []model.ServiceName{name("voting")},
		Ordered: true, Rules: []model.Rule{
			rule(model.Match{Path: &model.PathMatch{Value: "/a.B"}}, model.Rule{}),
			rule(model.Match{Path: &model.PathMatch{Kind: model.PathExpression, Value: "(?i)/a[.]b/.*"}}, model.Rule{}),
			rule(model.Match{Headers: []model.HeaderMatch{{Name: "x-a", Absent: true}, {Name: "x-a", Value: "1", Invert: true}}}, model.Rule{}),
			rule(model.Match{}, model.Rule{Fault: &model.Fault{AbortPerMillion: 1_000_000, AbortCode: 12}}),
		},
	}}
	snap, _ := w.build(t, builder(t, true), 0)
	for _, kind := range []string{resource.ClusterType, resource.EndpointsType} {
		if snap.Resource(kind, "voting/subset.one") == nil {
			t.Errorf("there is no %s of the subset", kind)
		}
	}
}
