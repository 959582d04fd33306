package consul

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

const (
	// maxNested bounds splitters of splitters, which Consul multiplies out, and maxSplits
	// the shares of one.
	maxNested, maxSplits = 4, 256
	// maxRoutes is of one router.
	maxRoutes = 1000
	// maxWalk bounds the nodes that are visited for one chain, and maxTold the problems.
	maxWalk, maxTold = 100_000, 64

	// allCalls is all of the calls, in the unit of shares: Consul's are percents with two
	// digits behind the point.
	allCalls = 100 * 100
	// always is every call, per million.
	always = 1_000_000

	codeUnimplemented = 12
	codeUnavailable   = 14
)

// A chain is a discovery chain on its way to become a route.
type chain struct {
	*api.CompiledDiscoveryChain

	entries   routingEntries
	partition string
	service   model.ServiceName
	// route is nil where calls go to the service itself, as they do without one.
	route    *model.Route
	problems []model.Problem
	walked   int // nodes that were visited
	untold   int // problems beyond the most
}

// compileChain makes the route of a service. Calls that cannot go where Consul says fail:
// nobody sends them elsewhere by accident.
func compileChain(name entryName, compiled *api.CompiledDiscoveryChain, entries routingEntries) *chain {
	service := meshName(name.namespace, name.name)
	c := &chain{CompiledDiscoveryChain: compiled, entries: entries, service: service, partition: model.DefaultNamespace}
	kind := api.ServiceResolver
	for _, k := range []string{api.ServiceSplitter, api.ServiceRouter} {
		if entries[k][name] != nil {
			kind = k
		}
	}
	if e := entries[kind][name]; e != nil {
		c.partition = cmp.Or(e.GetPartition(), c.partition)
	}
	from := entryFrom(kind, name.name)
	if err := checkName(service); err != nil {
		c.problems = []model.Problem{{From: from, Field: "Name", Message: fmt.Sprintf("is not honoured: %v", err)}}
		return c
	}
	c.route = &model.Route{
		Namespace: service.Namespace, Name: routeName(service), From: from, Parents: []model.ServiceName{service}, Ordered: true, Vouches: true,
	}
	start := c.Nodes[c.StartNode]
	if start != nil && start.Type == api.DiscoveryGraphNodeTypeRouter {
		c.router(start)
	} else {
		rule := c.to("", c.StartNode)
		rule.Timeout = c.timeout(start)
		c.add("", rule)
	}
	if len(c.route.Rules) == 0 {
		c.problemf(false, "", "consul's chain says of no call where it goes: calls fail with UNAVAILABLE")
		c.route.Rules = []model.Rule{c.failing(codeUnavailable)}
	}
	if c.plain() {
		c.route = nil
	}
	if c.untold > 0 {
		last := &c.problems[len(c.problems)-1]
		last.Message = fmt.Sprintf("%s (and %d more problems of this service)", last.Message, c.untold)
	}
	for i := range c.problems {
		c.problems[i].Object = model.Ref{Kind: model.KindService, Namespace: service.Namespace, Name: service.Name}
		c.problems[i].From = from
	}
	return c
}

// plain reports whether the route says what holds without one.
func (c *chain) plain() bool {
	return len(c.route.Rules) == 1 && reflect.DeepEqual(c.route.Rules[0], model.Rule{Backends: []model.Backend{{Service: c.service, Weight: allCalls}}})
}

// routeName is that of a service's route; no name in a manifest has to give way to it.
func routeName(s model.ServiceName) string { return "consul." + s.Name }

func (c *chain) problemf(warning bool, field, format string, args ...any) {
	if len(c.problems) == maxTold {
		c.untold++
		return
	}
	c.problems = append(c.problems, model.Problem{Field: field, Warning: warning, Message: fmt.Errorf(format, args...).Error()})
}

// router makes a rule of each route, in order.
func (c *chain) router(node *api.DiscoveryGraphNode) {
	routes := node.Routes
	if n := len(routes); n > maxRoutes {
		c.problemf(false, fmt.Sprintf("Routes[%d]", maxRoutes-1), "is left out, as are those after it: %d are the most", maxRoutes)
		routes = append(slices.Clone(routes[:maxRoutes-1]), routes[n-1]) // the last takes what is left
	}
	for i, r := range routes {
		if r == nil || i == len(routes)-1 && c.exhausted() {
			continue // Consul adds the last itself, for calls that are left
		}
		c.rule(fmt.Sprintf("Routes[%d]", i), r)
	}
}

// exhausted reports whether a rule takes every call that those before it leave.
func (c *chain) exhausted() bool {
	return slices.ContainsFunc(c.route.Rules, func(r model.Rule) bool { return len(r.Matches) == 0 })
}

// to is a rule for calls that go to a node.
func (c *chain) to(field, node string) model.Rule {
	backends, err := c.backends(field, node, 0)
	if err != nil {
		c.problemf(false, field, "%w: calls fail with UNAVAILABLE", err)
		return c.failing(codeUnavailable)
	}
	return model.Rule{Backends: backends}
}

// failing is a rule whose calls fail at their client.
func (c *chain) failing(code uint32) model.Rule {
	return model.Rule{
		Backends: []model.Backend{{Service: c.service, Weight: allCalls}},
		Fault:    &model.Fault{AbortPerMillion: always, AbortCode: code},
	}
}

// timeout is the RequestTimeout of a service-resolver, which Consul applies where no other
// entry comes before it; nil for none.
func (c *chain) timeout(start *api.DiscoveryGraphNode) *time.Duration {
	if start == nil || start.Resolver == nil {
		return nil
	}
	t := c.Targets[start.Resolver.Target]
	if t == nil {
		return nil
	}
	e, ok := c.entries[api.ServiceResolver][entryNamed(t.Namespace, t.Service)].(*api.ServiceResolverConfigEntry)
	if !ok || e.RequestTimeout <= 0 {
		return nil
	}
	return &e.RequestTimeout
}

// backends are where a node sends calls, with their shares. The error is why there is none.
func (c *chain) backends(field, at string, depth int) ([]model.Backend, error) {
	node := c.Nodes[at]
	c.walked++
	switch {
	case c.walked > maxWalk:
		return nil, fmt.Errorf("consul's chain is of more than %d steps", maxWalk)
	case node == nil || depth > maxNested:
		return nil, fmt.Errorf("consul's chain leads to nothing at %.80q", at)
	case node.Type == api.DiscoveryGraphNodeTypeSplitter:
		return c.splits(field, node, depth)
	case node.Type != api.DiscoveryGraphNodeTypeResolver || node.Resolver == nil:
		return nil, fmt.Errorf("consul's chain has a node of the type %.40q where a service should be", node.Type)
	}
	to, err := c.target(node.Resolver.Target)
	if err != nil {
		return nil, err
	}
	return []model.Backend{{Service: to.Service, Version: to.Version, Weight: allCalls, Failover: c.failover(to, node.Resolver.Failover)}}, nil
}

// splits are the shares of a splitter; those of the same endpoints are one.
func (c *chain) splits(field string, node *api.DiscoveryGraphNode, depth int) ([]model.Backend, error) {
	var all []model.Backend
	var sum uint32
	for i, split := range node.Splits {
		if split == nil {
			continue
		}
		if i == maxSplits {
			return nil, fmt.Errorf("a service-splitter has %d splits, and %d are the most", len(node.Splits), maxSplits)
		}
		if c.walked > maxWalk {
			break // else each of those left would be told of
		}
		share := float64(split.Weight) / 100
		if !(share >= 0 && share <= 1) {
			return nil, fmt.Errorf("a service-splitter has the weight %v, want 0 to 100", split.Weight)
		}
		to, err := c.backends(field, split.NextNode, depth+1)
		if err != nil {
			c.problemf(false, strings.TrimPrefix(fmt.Sprintf("%s.Splits[%d]", field, i), "."), "%w: the share goes to the other splits", err)
			continue
		}
		for _, b := range to {
			b.Weight = uint32(math.Round(float64(b.Weight) * share))
			sum += b.Weight
			all = addBackend(all, b)
		}
	}
	switch {
	case sum == 0:
		return nil, errors.New("no split of a service-splitter leads anywhere")
	case len(all) > maxSplits:
		return nil, fmt.Errorf("a service-splitter leads to %d services and subsets, and %d are the most", len(all), maxSplits)
	}
	return all, nil
}

func addBackend(all []model.Backend, b model.Backend) []model.Backend {
	i := slices.IndexFunc(all, func(o model.Backend) bool { return o.Service == b.Service && o.Version == b.Version })
	if i < 0 {
		return append(all, b)
	}
	all[i].Weight += b.Weight
	return all
}

// failover are the targets that take calls while one does not. Those that the mesh does
// not call are left out; that an entry names them is told of it.
func (c *chain) failover(own model.Target, f *api.DiscoveryFailover) []model.Target {
	if f == nil {
		return nil
	}
	var all []model.Target
	for _, id := range f.Targets {
		to, err := c.target(id)
		if err != nil {
			c.problemf(true, "Failover", "%w: it is left out", err)
			continue
		}
		if to == own || slices.Contains(all, to) {
			continue
		}
		if len(all) == model.MaxFailover {
			c.problemf(true, "Failover", "has more than %d targets: the others are left out", model.MaxFailover)
			break
		}
		all = append(all, to)
	}
	return all
}

// target is a target of the chain as the mesh knows it.
func (c *chain) target(id string) (to model.Target, err error) {
	t := c.Targets[id]
	switch {
	case t == nil:
		return to, fmt.Errorf("consul's chain has no target %.80q", id)
	case t.External:
		return to, fmt.Errorf("%.80s is outside of the mesh (ExternalSNI), and has no identity there", t.Service)
	case t.Datacenter == "":
		return to, fmt.Errorf("%.80s is of a peer, whose services are not called yet", t.Service)
	case t.Datacenter != c.Datacenter:
		return to, fmt.Errorf("%.80s is in the datacenter %.80s, whose services are not called yet", t.Service, t.Datacenter)
	}
	if parts := strings.Split(id, "."); len(parts) >= 4 && parts[len(parts)-2] != c.partition {
		return to, fmt.Errorf("%.80s is in the partition %.80s, whose services are not called yet", t.Service, parts[len(parts)-2])
	}
	defaults, _ := c.entries[api.ServiceDefaults][entryNamed(t.Namespace, t.Service)].(*api.ServiceConfigEntry)
	if defaults != nil && defaults.Destination != nil {
		return to, fmt.Errorf("%.80s is outside of the mesh (Destination), and has no identity there", t.Service)
	}
	to = model.Target{Service: meshName(t.Namespace, t.Service), Version: subsetVersion(t.ServiceSubset)}
	if err := checkName(to.Service); err != nil {
		return to, err
	}
	return to, nil
}

// meshName is what the mesh calls a service of Consul, as far as its name tells.
func meshName(namespace, name string) model.ServiceName {
	if namespace == "" || namespace == model.DefaultNamespace {
		if all := servicesOf(name); len(all) > 1 {
			return all[1] // NAME--NAMESPACE
		}
	}
	return model.ServiceName{Namespace: cmp.Or(namespace, model.DefaultNamespace), Name: name}
}

// checkName reports why the mesh has no service of such a name.
func checkName(s model.ServiceName) error {
	for _, label := range []string{s.Name, s.Namespace} {
		if err := model.CheckLabel(label); err != nil {
			return fmt.Errorf("service %w: the mesh takes names that DNS takes", err)
		}
	}
	return nil
}

// subsetVersion is what a subset of a service is called among its versions: a name that
// no process has for a version by accident.
func subsetVersion(subset string) string {
	const prefix, most = "subset.", 63
	switch name := prefix + subset; {
	case subset == "":
		return ""
	case len(name) <= most && model.CheckVersion(name) == nil:
		return name
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(subset))
	return fmt.Sprintf("%s%016x", prefix, sum.Sum64())
}
