package translate

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A conduct is what clients do for the calls of one route, beside sending them on.
type conduct struct {
	service *model.Service // the one that is called
	rule    *model.Rule
	// twice is whether the calls are of a method that is known to be idempotent.
	twice bool
	// hash is the header that decides the endpoint.
	hash string
}

// retry is the rule's, or the service's; nil where neither says anything.
func (c conduct) retry() *model.Retry {
	if c.rule.Retry != nil {
		return c.rule.Retry
	}
	return c.service.Retry
}

// apply puts the conduct into a route.
func (c conduct) apply(r *routev3.Route) {
	if m := c.traffic(); proto.Size(m) > 0 {
		override(r, resource.TrafficFilter, optional(m))
	}
	action := r.GetRoute()
	action.RetryPolicy = c.retryPolicy()
	if c.hash != "" {
		action.HashPolicy = []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: c.hash},
		}}}
	}
}

// override puts a filter's configuration of its own into a route.
func override(r *routev3.Route, filter string, config *anypb.Any) {
	if r.TypedPerFilterConfig == nil {
		r.TypedPerFilterConfig = make(map[string]*anypb.Any, 2)
	}
	r.TypedPerFilterConfig[filter] = config
}

// optional has clients that do not know the message pass over it.
func optional(m proto.Message) *anypb.Any {
	return pack(&routev3.FilterConfig{IsOptional: true, Config: pack(m)})
}

// traffic is what differs from [resource.DefaultTraffic].
func (c conduct) traffic() *policyv1.Traffic {
	m := &policyv1.Traffic{
		Retry:       c.ownRetry(),
		RetryBudget: retryBudget(c.service.RetryBudget),
		Hedge:       hedge(c.service.Hedge),
		Headers:     headers(c.rule.Headers),
		RateLimit:   rate(c.service.RateLimit),
		Breaker:     serviceBreaker(c.service.ServiceBreaker),
		IdleTimeout: length(c.service.IdleTimeout, 0),
		HopCost:     length(c.service.HopCost, 0),
		HashHeader:  c.hash,
	}
	if c.rule.Hedge != nil {
		m.Hedge = hedge(c.rule.Hedge)
	}
	if c.rule.RateLimit != nil {
		m.RateLimit = rate(c.rule.RateLimit)
	}
	if c.rule.IdleTimeout != nil {
		m.IdleTimeout = length(*c.rule.IdleTimeout, 0)
	}
	for _, mirror := range c.rule.Mirrors {
		if mirror.PerMillion > 0 {
			m.Mirrors = append(m.Mirrors, &policyv1.Mirror{
				Cluster:    clusterName(mirror.Service, mirror.Version),
				PerMillion: mirror.PerMillion,
				Timeout:    length(mirror.Timeout, 0),
			})
		}
	}
	return m
}

func hedge(h *model.Hedge) *policyv1.Hedge {
	if !h.Hedges() {
		return nil
	}
	return &policyv1.Hedge{Delay: length(h.Delay, 0), Quantile: h.Quantile, Attempts: h.Attempts}
}

func headers(h *model.Headers) *policyv1.Headers {
	if h == nil {
		return nil
	}
	values := func(list []model.HeaderValue) []*policyv1.Header {
		out := make([]*policyv1.Header, 0, len(list))
		for _, v := range list {
			out = append(out, &policyv1.Header{Name: strings.ToLower(v.Name), Value: v.Value})
		}
		return out
	}
	m := &policyv1.Headers{Set: values(h.Set), Add: values(h.Add)}
	for _, name := range h.Remove {
		m.Remove = append(m.Remove, strings.ToLower(name))
	}
	return m
}

func rate(r *model.Rate) *policyv1.Rate {
	if r == nil {
		return nil
	}
	return &policyv1.Rate{PerSecond: r.PerSecond, Burst: r.Burst}
}
