package consul

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// maxDepth bounds the walk through a chain, which Consul compiles without cycles.
const maxDepth = 16

// subsetVersion is what a subset of a service is called among its versions: a name that
// no process gives itself as a version by accident.
func subsetVersion(subset string) string {
	if subset == "" {
		return ""
	}
	return "subset." + subset
}

// A chain is a compiled discovery chain on its way to become a route.
type chain struct {
	*api.CompiledDiscoveryChain

	// timeouts are the RequestTimeouts of service-resolvers, by service.
	timeouts map[string]timeout
	problems []model.Problem
	// wrong is set where calls would not go where Consul says.
	wrong error
}

// compileChain makes the route of a service; nil where its calls go to the service itself,
// as they do without a route. What cannot be honoured are problems, and no route is made
// of a chain that calls would leave.
func compileChain(compiled *api.CompiledDiscoveryChain, timeouts map[string]timeout) (*model.Route, []model.Problem) {
	name, err := labelled(compiled.ServiceName)
	c := &chain{CompiledDiscoveryChain: compiled, timeouts: timeouts}
	origin := "consul:discovery-chain/" + compiled.ServiceName
	if err != nil {
		return nil, []model.Problem{{From: origin, Message: fmt.Sprintf("is of a service whose name the mesh cannot have: %v", err)}}
	}
	route := &model.Route{
		Namespace: name.Namespace, Name: routeName(name), From: origin, Parents: []model.ServiceName{name}, Ordered: true, Vouches: true,
	}
	start := c.Nodes[c.StartNode]
	switch {
	case start == nil:
		c.fail("", errors.New("the chain has no start"))
	case start.Type == api.DiscoveryGraphNodeTypeRouter:
		for i, r := range start.Routes {
			route.Rules = append(route.Rules, c.rule(fmt.Sprintf("Routes[%d]", i), r)...)
		}
	default:
		route.Rules = []model.Rule{{Backends: c.backends("", c.StartNode, 1, 0), Timeout: c.timeoutOf(c.StartNode)}}
	}
	for i := range c.problems {
		c.problems[i].Object, c.problems[i].From = route.Ref(), origin
	}
	if c.wrong != nil || plain(route, name) {
		return nil, c.problems
	}
	return route, c.problems
}

// plain reports whether a route says what holds without one.
func plain(route *model.Route, name model.ServiceName) bool {
	if len(route.Rules) != 1 || len(route.Rules[0].Matches) > 0 || route.Rules[0].Timeout != nil || len(route.Rules[0].Backends) != 1 {
		return false
	}
	b := route.Rules[0].Backends[0]
	return b.Service == name && b.Version == "" && len(b.Failover) == 0
}

// routeName is that of the route: its service's, marked as Consul's.
func routeName(name model.ServiceName) string { return "consul." + name.Name }

// fail notes what cannot be honoured so that calls would go elsewhere than Consul says.
func (c *chain) fail(field string, err error) {
	c.wrong = err
	c.problems = append(c.problems, model.Problem{
		Field: field, Message: fmt.Sprintf("%v: calls go on as without the entry; change it, or apply a GRPCRoute", err),
	})
}

// rule is one route of a router.
func (c *chain) rule(field string, r *api.DiscoveryRoute) []model.Rule {
	rule := model.Rule{Backends: c.backends(field, r.NextNode, 1, 0), Timeout: c.timeoutOf(r.NextNode)}
	if r.Definition == nil {
		return []model.Rule{rule}
	}
	if m := r.Definition.Match; m != nil && m.HTTP != nil {
		match, never, err := matchOf(m.HTTP)
		switch {
		case err != nil:
			c.fail(field+".Match.HTTP", err)
			return nil
		case never:
			return nil // no call of gRPC is of that method
		case !match.Catchall():
			rule.Matches = []model.Match{match}
		}
	}
	if d := r.Definition.Destination; d != nil {
		destination(&rule, d)
	}
	return []model.Rule{rule}
}

// backends are where a node sends calls, with their shares in hundredths of a percent.
func (c *chain) backends(field, at string, share float64, depth int) []model.Backend {
	node := c.Nodes[at]
	switch {
	case node == nil || depth > maxDepth:
		c.fail(field, fmt.Errorf("the chain has no node %.80q", at))
	case node.Type == api.DiscoveryGraphNodeTypeSplitter:
		var all []model.Backend
		for i, split := range node.Splits {
			for _, b := range c.backends(cmp.Or(field, fmt.Sprintf("Splits[%d]", i)), split.NextNode, share*float64(split.Weight)/percent, depth+1) {
				all = addBackend(all, b)
			}
		}
		return all
	case node.Type == api.DiscoveryGraphNodeTypeResolver && node.Resolver != nil:
		if b, ok := c.resolver(field, node.Resolver); ok {
			b.Weight = uint32(math.Round(share * percent * percent))
			return []model.Backend{b}
		}
	default:
		c.fail(field, fmt.Errorf("the chain has a node of the type %.40q where a service should be", node.Type))
	}
	return nil
}

const percent = 100

// addBackend adds a share; those of the same endpoints are one.
func addBackend(all []model.Backend, b model.Backend) []model.Backend {
	i := slices.IndexFunc(all, func(o model.Backend) bool { return o.Service == b.Service && o.Version == b.Version })
	if i < 0 {
		return append(all, b)
	}
	all[i].Weight += b.Weight
	return all
}

// resolver is a backend that takes everything.
func (c *chain) resolver(field string, r *api.DiscoveryResolver) (model.Backend, bool) {
	to, err := c.target(r.Target)
	if err != nil {
		c.fail(field, err)
		return model.Backend{}, false
	}
	b := model.Backend{Service: to.Service, Version: to.Version}
	if r.Failover == nil {
		return b, true
	}
	for _, id := range r.Failover.Targets {
		other, err := c.target(id)
		if err != nil {
			// Calls go where Consul says while there is anybody; that they have nowhere to go
			// after that must be known.
			c.problems = append(c.problems, model.Problem{Field: "Failover", Warning: true, Message: fmt.Sprintf("%v: it is left out of the failover", err)})
			continue
		}
		if other != to && !slices.Contains(b.Failover, other) {
			b.Failover = append(b.Failover, other)
		}
	}
	return b, true
}

// target is a target of the chain as the mesh knows it.
func (c *chain) target(id string) (model.Target, error) {
	t := c.Targets[id]
	if t == nil {
		return model.Target{}, fmt.Errorf("the chain has no target %.80q", id)
	}
	switch {
	case t.Datacenter != "" && c.Datacenter != "" && t.Datacenter != c.Datacenter:
		return model.Target{}, fmt.Errorf("%s is in the datacenter %s, whose services the mesh does not call yet", t.Service, t.Datacenter)
	case t.External:
		return model.Target{}, fmt.Errorf("%s is outside of the mesh", t.Service)
	case strings.Contains(t.ID, "external."):
		return model.Target{}, fmt.Errorf("%s is of a peer, whose services the mesh does not call", t.Service)
	}
	name, err := labelled(t.Service)
	if err != nil {
		return model.Target{}, err
	}
	return model.Target{Service: name, Version: subsetVersion(t.ServiceSubset)}, nil
}

// labelled is a service of Consul's catalog in the mesh.
func labelled(name string) (model.ServiceName, error) {
	if err := model.CheckLabel(name); err != nil {
		return model.ServiceName{}, fmt.Errorf("service %.80q: %w", name, err)
	}
	return model.ServiceName{Namespace: model.DefaultNamespace, Name: name}, nil
}
