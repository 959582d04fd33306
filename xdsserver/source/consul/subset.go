package consul

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-bexpr"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// maxFilter bounds an expression, in bytes.
	maxFilter = 4 << 10
	// maxSteps bounds how long one is parsed: with each parenthesis in another it takes
	// four times as long, and with ten it would be seconds.
	maxSteps = 500_000
)

// A subset is a named part of a service's instances.
type subset struct {
	version     string
	filter      *bexpr.Evaluator // nil holds for every instance
	onlyPassing bool
}

// subsets are those of services, by what Consul calls them; each in order of name.
type subsets map[entryName][]subset

// filters are what the texts of filters were read as before.
type filters map[string]parsed

// parsed is a filter, or why its text is none.
type parsed struct {
	filter *bexpr.Evaluator
	err    error
}

// compileSubsets reads the subsets of service-resolvers. One whose filter cannot be read
// has no instance, and a problem. Of known are the filters left that are still in use.
func compileSubsets(resolvers map[entryName]api.ConfigEntry, known filters) (subsets, []model.Problem) {
	all, used := make(subsets), make(filters)
	defer func() {
		clear(known)
		maps.Copy(known, used)
	}()
	var problems []model.Problem
	for _, name := range slices.SortedFunc(maps.Keys(resolvers), entryName.compare) {
		e, ok := resolvers[name].(*api.ServiceResolverConfigEntry)
		if !ok {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(e.Subsets)) {
			text := e.Subsets[key].Filter
			read, ok := known[text]
			if !ok {
				read.filter, read.err = compileFilter(text)
			}
			used[text] = read
			if read.err != nil {
				problems = append(problems, problemOf(e, "Subsets{"+key+"}.Filter", fmt.Sprintf("%v: no instance is in the subset", read.err), false))
				continue
			}
			all[name] = append(all[name], subset{version: subsetVersion(key), filter: read.filter, onlyPassing: e.Subsets[key].OnlyPassing})
		}
		slices.SortFunc(all[name], func(a, b subset) int { return strings.Compare(a.version, b.version) })
	}
	return all, problems
}

// compileFilter returns nil for an expression that holds for everything.
//
// The module is of the release that Consul has, go-bexpr v0.1.2. A later one (v0.1.17) holds
// otherwise for keys that are absent ("not matches") and for fields of checks, and takes
// expressions that Consul refuses; a test against a real agent shows it.
func compileFilter(expression string) (filter *bexpr.Evaluator, err error) {
	if expression == "" {
		return nil, nil
	}
	if len(expression) > maxFilter {
		return nil, fmt.Errorf("is %d bytes long, and %d are the most", len(expression), maxFilter)
	}
	err = safely(func() error {
		if _, err := bexpr.Parse("", []byte(expression), bexpr.MaxExpressions(maxSteps)); err != nil {
			return err
		}
		filter, err = bexpr.CreateEvaluatorForType(expression, nil, (*api.ServiceEntry)(nil))
		return err
	})
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return nil, fmt.Errorf("is no expression of Consul's, or too deep in parentheses: %s", first)
	}
	return filter, nil
}

// of are the subsets that an instance is in, in order.
func (s subsets) of(_ model.ServiceName, entry *api.ServiceEntry) []string {
	if entry == nil || entry.Service == nil {
		return nil
	}
	var in []string
	for _, one := range s[entryNamed(entry.Service.Namespace, entry.Service.Service)] {
		if one.has(entry) {
			in = append(in, one.version)
		}
	}
	return in
}

// has reports whether an instance is in the subset. A field that the instance has not
// holds for none, as with Consul.
func (s subset) has(entry *api.ServiceEntry) (in bool) {
	if s.onlyPassing && status(entry) != api.HealthPassing {
		return false
	}
	if s.filter == nil {
		return true
	}
	err := safely(func() (err error) {
		in, err = s.filter.Evaluate(entry)
		return err
	})
	return in && err == nil
}
