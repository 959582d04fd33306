package translate

import (
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

var ratePers = map[model.RatePer]policyv1.RateLimit_Per{
	"":                policyv1.RateLimit_PER_TOTAL,
	model.PerTotal:    policyv1.RateLimit_PER_TOTAL,
	model.PerIdentity: policyv1.RateLimit_PER_IDENTITY,
	model.PerMethod:   policyv1.RateLimit_PER_METHOD,
	model.PerMetadata: policyv1.RateLimit_PER_METADATA,
}

// admission is what the service's servers take. Where nothing is said it is empty,
// and left out.
func (in Input) admission() *policyv1.Admission {
	m := &policyv1.Admission{}
	a := in.Service.Admission
	if a == nil {
		return m
	}
	for _, l := range a.RateLimits {
		limit := &policyv1.RateLimit{
			Name: l.Name, Per: ratePers[l.Per], MetadataKey: l.Key, Rate: rate(&l.Rate), Methods: l.Methods,
		}
		for _, p := range l.Callers {
			id := p.Value
			if p.Kind == model.OfService {
				id = in.Domain.ServiceID(p.Value)
			}
			limit.Callers = append(limit.Callers, id)
		}
		m.RateLimits = append(m.RateLimits, limit)
	}
	m.Concurrency = concurrency(a.Concurrency)
	if f := a.Fault; f != nil {
		m.Fault = &policyv1.Fault{DelayPerMillion: f.DelayPerMillion, AbortPerMillion: f.AbortPerMillion}
		if f.DelayPerMillion > 0 {
			m.Fault.Delay = length(f.Delay, 0)
		}
		if f.AbortPerMillion > 0 {
			m.Fault.AbortCode = f.AbortCode
		}
	}
	return m
}

func concurrency(c *model.Concurrency) *policyv1.Concurrency {
	switch {
	case c == nil:
		return nil
	case !c.Adaptive:
		return &policyv1.Concurrency{Limit: c.Limit}
	}
	normal := resource.DefaultConcurrency()
	first, least, most := c.Bounds()
	return &policyv1.Concurrency{
		Limit:     unless(first, normal.Limit),
		Adaptive:  true,
		Min:       unless(least, normal.Min),
		Max:       unless(most, normal.Max),
		Tolerance: unless(c.Tolerance, normal.Tolerance),
	}
}
