package manifest

import (
	"math"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func (r *reader) route(v *value) *model.Route {
	name, spec := r.name(v), v.get("spec")
	route := &model.Route{Namespace: name.Namespace, Name: name.Name, From: r.from(v)}
	for _, p := range spec.listOf("parentRefs") {
		route.Parents = append(route.Parents, r.reference(p, name.Namespace))
	}
	for _, rule := range spec.listOf("rules") {
		route.Rules = append(route.Rules, r.rule(rule, name.Namespace))
	}
	return route
}

func (r *reader) rule(v *value, namespace string) model.Rule {
	rule := model.Rule{
		Name:      v.textOf("name"),
		Retry:     r.retry(v.get("retry")),
		Hedge:     r.hedge(v.get("hedge")),
		RateLimit: r.rate(v.get("rateLimit")),
		Fault:     r.fault(v.get("fault")),
	}
	for _, m := range v.listOf("matches") {
		rule.Matches = append(rule.Matches, r.match(m))
	}
	for _, b := range v.listOf("backendRefs") {
		rule.Backends = append(rule.Backends, r.backend(b, namespace))
	}
	if d, set := r.duration(v.get("timeouts"), "request"); set {
		rule.Timeout = &d
	}
	if d, set := r.duration(v, "idleTimeout"); set {
		rule.IdleTimeout = &d
	}
	r.filters(&rule, v, namespace)
	return rule
}

func (r *reader) match(v *value) model.Match {
	var m model.Match
	if method := v.get("method"); method != nil {
		m.Service, m.Method = method.textOf("service"), method.textOf("method")
		m.Regex = method.textOf("type") == regex
		if m.Service == "" && m.Method == "" {
			r.errorf(method.path, method.pos, "has neither service nor method: write one of them, or remove method to match every call")
		}
	}
	for _, h := range v.listOf("headers") {
		m.Headers = append(m.Headers, model.HeaderMatch{
			Name: h.textOf("name"), Value: h.textOf("value"), Regex: h.textOf("type") == regex,
		})
	}
	return m
}

func (r *reader) backend(v *value, namespace string) model.Backend {
	b := model.Backend{Service: r.reference(v, namespace), Version: v.textOf("version"), Weight: r.number(v, "weight", 1, 0, math.MaxUint32)}
	if version := v.get("version"); version != nil {
		if err := model.CheckVersion(version.text); err != nil {
			r.errorf(version.path, version.pos, "%v", err)
		}
	}
	return b
}
