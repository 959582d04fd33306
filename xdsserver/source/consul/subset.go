package consul

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-bexpr"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A subset is a named part of a service's instances.
type subset struct {
	version     string
	filter      *bexpr.Evaluator // nil holds for every instance
	onlyPassing bool
}

// maxFilter bounds an expression, in bytes.
const maxFilter = 4 << 10

// subsetsOf reads the subsets of all service-resolvers; one whose filter cannot be read
// has no instance, and a problem.
func subsetsOf(entries []api.ConfigEntry) (map[model.ServiceName][]subset, []model.Problem) {
	all := map[model.ServiceName][]subset{}
	var problems []model.Problem
	for _, entry := range entries {
		e, ok := entry.(*api.ServiceResolverConfigEntry)
		if !ok || len(e.Subsets) == 0 {
			continue
		}
		name, err := labelled(e.Name)
		if err != nil {
			continue // the chain's problem
		}
		for _, key := range slices.Sorted(maps.Keys(e.Subsets)) {
			s := subset{version: subsetVersion(key), onlyPassing: e.Subsets[key].OnlyPassing}
			if text := e.Subsets[key].Filter; text != "" {
				if len(text) > maxFilter {
					err = fmt.Errorf("is %d bytes long, %d are the most", len(text), maxFilter)
				} else {
					s.filter, err = bexpr.CreateEvaluator(text)
				}
				if err != nil {
					problems = append(problems, model.Problem{
						Object: model.Ref{Kind: model.KindService, Namespace: name.Namespace, Name: name.Name},
						From:   "consul:service-resolver/" + e.Name, Field: "Subsets[" + key + "].Filter",
						Message: fmt.Sprintf("%v: the subset has no instance", err),
					})
					continue
				}
			}
			all[name] = append(all[name], s)
		}
	}
	return all, problems
}

// has reports whether an instance is in the subset.
func (s subset) has(entry *api.ServiceEntry) bool {
	if s.onlyPassing && entry.Checks.AggregatedStatus() != api.HealthPassing {
		return false
	}
	if s.filter == nil {
		return true
	}
	in, err := s.filter.Evaluate(entry)
	return err == nil && in // a selector that the instance lacks does not hold for it
}
