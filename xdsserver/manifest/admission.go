package manifest

import "github.com/tulle-mesh/tulle/xdsserver/model"

func (r *reader) rate(v *value) *model.Rate {
	if v == nil {
		return nil
	}
	return &model.Rate{PerSecond: r.fraction(v, "requestsPerSecond"), Burst: r.whole(v, "burst")}
}

func (m *mapping) rate(key string, rate *model.Rate) {
	if rate != nil {
		var n mapping
		n.calls(*rate)
		m.put(key, n)
	}
}

// calls puts the fields of a rate.
func (m *mapping) calls(rate model.Rate) {
	m.fraction("requestsPerSecond", rate.PerSecond)
	m.number("burst", rate.Burst)
}

func (r *reader) admission(v *value, namespace string) *model.Admission {
	if v == nil {
		return nil
	}
	a := &model.Admission{Fault: r.fault(v.get("fault"))}
	for _, l := range v.listOf("rateLimits") {
		a.RateLimits = append(a.RateLimits, r.rateLimit(l, namespace))
	}
	if c := v.get("concurrency"); c != nil {
		a.Concurrency = &model.Concurrency{
			Limit:     r.whole(c, "limit"),
			Adaptive:  c.flag("adaptive"),
			Min:       r.whole(c, "min"),
			Max:       r.whole(c, "max"),
			Tolerance: r.fraction(c, "tolerance"),
		}
	}
	return a
}

func (r *reader) rateLimit(v *value, namespace string) model.RateLimit {
	l := model.RateLimit{
		Name: v.textOf("name"), Per: model.RatePer(v.textOf("per")), Key: v.textOf("key"), Rate: *r.rate(v),
	}
	// An empty list could be meant as none, and would be all.
	for _, name := range []string{"methods", "callers"} {
		if f := v.get(name); f != nil && len(f.list) == 0 {
			r.errorf(f.path, f.pos, "is empty: write an entry, or leave %s out, and the limit is for all", name)
		}
	}
	for _, m := range v.listOf("methods") {
		l.Methods = append(l.Methods, m.text)
	}
	for _, c := range v.listOf("callers") {
		p, err := model.ParsePrincipal(c.text, namespace)
		if err != nil {
			r.errorf(c.path, c.pos, "%v", err)
		}
		l.Callers = append(l.Callers, p)
	}
	return l
}

func (m *mapping) admission(key string, a *model.Admission, namespace string) {
	if a == nil {
		return
	}
	limits := make(sequence, 0, len(a.RateLimits))
	for _, l := range a.RateLimits {
		methods, callers := make(sequence, 0, len(l.Methods)), make(sequence, 0, len(l.Callers))
		for _, method := range l.Methods {
			methods = append(methods, quote(method))
		}
		for _, p := range l.Callers {
			callers = append(callers, quote(p.Text(namespace)))
		}
		var limit mapping
		limit.text("name", l.Name)
		limit.text("per", string(l.Per))
		limit.text("key", l.Key)
		limit.calls(l.Rate)
		limit.list("methods", methods)
		limit.list("callers", callers)
		limits = append(limits, limit)
	}
	var admission mapping
	admission.list("rateLimits", limits)
	if c := a.Concurrency; c != nil {
		var concurrency mapping
		concurrency.number("limit", c.Limit)
		concurrency.flag("adaptive", c.Adaptive)
		concurrency.number("min", c.Min)
		concurrency.number("max", c.Max)
		concurrency.fraction("tolerance", c.Tolerance)
		admission.put("concurrency", concurrency)
	}
	admission.fault("fault", a.Fault)
	m.put(key, admission)
}
