package manifest

import (
	"math"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func (r *reader) service(v *value) *model.Service {
	spec := v.get("spec")
	s := &model.Service{Name: r.name(v), From: r.from(v)}
	s.Timeout, _ = r.duration(spec, "timeout")
	s.IdleTimeout, _ = r.duration(spec, "idleTimeout")
	s.HopCost, _ = r.duration(spec, "hopCost")
	s.Retry = r.retry(spec.get("retry"))
	s.RetryBudget = r.retryBudget(spec.get("retryBudget"))
	s.Hedge = r.hedge(spec.get("hedge"))
	s.Breaker = r.breaker(spec.get("breaker"))
	s.ServiceBreaker = r.breaker(spec.get("serviceBreaker"))
	s.MaxEjectedPercent = r.whole(spec, "maxEjectedPercent")
	s.OutlierDetection = r.outliers(spec.get("outlierDetection"))
	s.LoadBalancing = r.balancing(spec.get("loadBalancing"))
	s.MaxRequests = r.number(spec, "maxRequests", 0, 1, math.MaxUint32)
	s.MaxRequestsPerEndpoint = r.number(spec, "maxRequestsPerEndpoint", 0, 1, math.MaxUint32)
	s.RateLimit = r.rate(spec.get("rateLimit"))
	s.Admission = r.admission(spec.get("admission"), s.Name.Namespace)
	for _, m := range spec.listOf("methods") {
		s.Methods = append(s.Methods, model.Method{
			Name: m.textOf("name"), ClientStreaming: m.flag("clientStreaming"), Idempotent: m.flag("idempotent"),
		})
	}
	s.Strict, s.PermissiveUntil = r.mtls(spec.get("mtls"))
	for _, e := range spec.listOf("endpoints") {
		s.Endpoints = append(s.Endpoints, r.endpoint(s.Name, e))
	}
	return s
}

func (r *reader) endpoint(service model.ServiceName, v *value) model.Endpoint {
	e := model.Endpoint{
		Service:  service,
		Instance: v.textOf("instance"),
		Version:  v.textOf("version"),
		Region:   v.textOf("region"),
		Zone:     v.textOf("zone"),
		Weight:   r.number(v, "weight", 0, 1, math.MaxUint32),
		From:     r.from(v),
	}
	one, several := v.get("address"), v.get("addresses")
	switch {
	case one != nil && several != nil:
		r.errorf(one.path, one.pos, "address and addresses are both there: write all into addresses")
	case one != nil:
		r.address(&e, one)
	case several != nil:
		for _, a := range several.list {
			r.address(&e, a)
		}
		if len(several.list) == 0 {
			r.errorf(several.path, several.pos, "has no address: write one")
		}
	default:
		r.errorf(v.path, v.pos, "has no address: write address: \"10.0.0.7:8080\"")
	}
	return e
}

func (r *reader) address(e *model.Endpoint, v *value) {
	if err := model.CheckAddress(v.text); err != nil {
		r.errorf(v.path, v.pos, "%v", err)
	}
	e.Addresses = append(e.Addresses, v.text)
}
