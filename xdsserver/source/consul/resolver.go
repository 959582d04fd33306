package consul

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// What LoadBalancer.Policy and HashPolicies[].Field may be.
const (
	leastRequest, roundRobin, ringHash, maglev, randomly = "least_request", "round_robin", "ring_hash", "maglev", "random"

	hashHeader = "header"
)

// configuredServices are what service-resolvers and service-defaults say of services
// themselves. A service of which they say nothing that the mesh has is not there.
func configuredServices(entries routingEntries) (map[model.ServiceName]*model.Service, []model.Problem) {
	c := &serviceCompiler{services: make(map[model.ServiceName]*model.Service)}
	for _, name := range slices.SortedFunc(maps.Keys(entries[api.ServiceResolver]), entryName.compare) {
		if e, ok := entries[api.ServiceResolver][name].(*api.ServiceResolverConfigEntry); ok {
			c.resolver(e)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(entries[api.ServiceDefaults]), entryName.compare) {
		if e, ok := entries[api.ServiceDefaults][name].(*api.ServiceConfigEntry); ok {
			c.defaults(e)
		}
	}
	return c.services, c.problems
}

type serviceCompiler struct {
	services map[model.ServiceName]*model.Service
	problems []model.Problem
}

func (c *serviceCompiler) warn(e api.ConfigEntry, field, message string) {
	c.problems = append(c.problems, problemOf(e, field, message, true))
}

// say has the service of an entry say one thing more. What clients would not take is told
// of, and left out.
func (c *serviceCompiler) say(e api.ConfigEntry, field string, set func(*model.Service)) {
	name := meshName(e.GetNamespace(), e.GetName())
	alone := &model.Service{Name: name}
	set(alone)
	problems := model.CheckService(alone)
	for _, p := range problems {
		if !p.Warning {
			c.warn(e, field, p.Message+": it is left out")
		}
	}
	if len(problems) > 0 {
		return
	}
	s := c.services[name]
	if s == nil {
		s = &model.Service{Name: name, From: entryFrom(e.GetKind(), e.GetName())}
		c.services[name] = s
	}
	set(s)
}

// resolver is how the instances of a service are chosen from.
func (c *serviceCompiler) resolver(e *api.ServiceResolverConfigEntry) {
	b := c.balancing(e)
	if p := e.PrioritizeByLocality; p != nil {
		switch p.Mode {
		case "", "failover": // the mesh does so by itself
		case "none":
			if b == nil {
				b = &model.LoadBalancing{}
			}
			b.Zone = &model.Zone{Spread: true}
		default:
			c.warn(e, "PrioritizeByLocality.Mode", "is not honoured: there are failover and none")
		}
	}
	if b != nil {
		c.say(e, "LoadBalancer", func(s *model.Service) { s.LoadBalancing = b })
	}
}

// balancing is nil where nothing is said.
func (c *serviceCompiler) balancing(e *api.ServiceResolverConfigEntry) *model.LoadBalancing {
	lb := e.LoadBalancer
	if lb == nil {
		return nil
	}
	switch lb.Policy {
	case "":
		return nil
	case roundRobin:
		return &model.LoadBalancing{Policy: model.RoundRobin}
	case randomly:
		c.warn(e, "LoadBalancer.Policy", "random is by turns here (round-robin), which spreads calls more evenly")
		return &model.LoadBalancing{Policy: model.RoundRobin}
	case leastRequest:
		b := &model.LoadBalancing{Policy: model.LeastRequest}
		if lb.LeastRequestConfig != nil {
			b.Choices = c.choices(e, lb.LeastRequestConfig.ChoiceCount)
		}
		return b
	case ringHash, maglev:
		b := &model.LoadBalancing{Policy: model.RingHash, HashHeader: c.hashHeader(e, lb.HashPolicies)}
		if lb.Policy == maglev {
			c.warn(e, "LoadBalancer.Policy", "maglev is by a ring here (ring-hash): both keep most calls where they were when instances change")
		}
		if r := lb.RingHashConfig; r != nil {
			b.MinRingSize = c.ring(e, "MinimumRingSize", r.MinimumRingSize)
			b.MaxRingSize = c.ring(e, "MaximumRingSize", r.MaximumRingSize)
		}
		return b
	default:
		c.warn(e, "LoadBalancer.Policy", "is not honoured: it is none that the mesh knows, and calls go as without it")
		return nil
	}
}

// choices is how many instances are drawn.
func (c *serviceCompiler) choices(e api.ConfigEntry, n uint32) uint32 {
	bounded := min(max(n, 2), model.MaxChoices)
	if n == 0 {
		return 0
	}
	if bounded != n {
		c.warn(e, "LoadBalancer.LeastRequestConfig.ChoiceCount", "is out of range, which is 2 to 10: the nearest is taken")
	}
	return bounded
}

// ring is a size in entries.
func (c *serviceCompiler) ring(e api.ConfigEntry, field string, n uint64) uint32 {
	if n > model.MaxRing {
		c.warn(e, "LoadBalancer.RingHashConfig."+field, "is more than 8192, the most that clients keep: that is taken")
		n = model.MaxRing
	}
	return uint32(n)
}

// hashHeader is the header that decides the instance: the first that is asked for.
func (c *serviceCompiler) hashHeader(e api.ConfigEntry, policies []api.HashPolicy) string {
	header := ""
	for _, p := range policies {
		switch {
		case p.SourceIP: // which is told of as refused
		case p.Field != hashHeader:
			c.warn(e, "LoadBalancer.HashPolicies[].Field", "is not honoured: calls of gRPC have neither cookies nor a query, so choose by a header")
		case header != "":
			c.warn(e, "LoadBalancer.HashPolicies[].FieldValue", "is not honoured where another header comes before it: one decides")
		default:
			lower := strings.ToLower(p.FieldValue)
			problems := model.CheckService(&model.Service{
				Name: meshName(e.GetNamespace(), e.GetName()), LoadBalancing: &model.LoadBalancing{Policy: model.RingHash, HashHeader: lower},
			})
			if len(problems) > 0 {
				c.warn(e, "LoadBalancer.HashPolicies[].FieldValue", problems[0].Message+": it is left out")
				continue
			}
			header = lower
		}
	}
	if header == "" {
		c.warn(e, "LoadBalancer.HashPolicies", "names no header, so that calls without a key of their application's go to any instance")
	}
	return header
}
