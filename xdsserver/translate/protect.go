package translate

import (
	"slices"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// protectors are the policies of a set by whom they protect. Each list has the
// order of the set, as positions in all.
type protectors struct {
	all         []*model.AccessPolicy
	every       []int
	byNamespace map[string][]int
	byService   map[model.ServiceName][]int
	// shared is every as policies, which most services have in common.
	shared []*model.AccessPolicy
}

func policyIndex(policies []*model.AccessPolicy) *protectors {
	x := &protectors{all: policies, byNamespace: map[string][]int{}, byService: map[model.ServiceName][]int{}}
	for i, p := range policies {
		if p.AllServices {
			x.every = append(x.every, i)
			x.shared = append(x.shared, p)
			continue
		}
		for _, n := range p.Namespaces {
			x.byNamespace[n] = append(x.byNamespace[n], i)
		}
		for _, s := range p.Services {
			if !slices.Contains(p.Namespaces, s.Namespace) {
				x.byService[s] = append(x.byService[s], i)
			}
		}
	}
	return x
}

// of returns the policies that protect the service, each once.
func (x *protectors) of(service model.ServiceName) []*model.AccessPolicy {
	namespace, own := x.byNamespace[service.Namespace], x.byService[service]
	if len(namespace)+len(own) == 0 {
		return x.shared
	}
	at := slices.Concat(x.every, namespace, own)
	slices.Sort(at)
	at = slices.Compact(at)
	policies := make([]*model.AccessPolicy, len(at))
	for i, n := range at {
		policies[i] = x.all[n]
	}
	return policies
}
