package manifest

import "github.com/tulle-mesh/tulle/xdsserver/model"

func (r *reader) retry(v *value) *model.Retry {
	if v == nil {
		return nil
	}
	retry := &model.Retry{
		On:          r.codeSet(v, "on"),
		Attempts:    r.whole(v, "attempts"),
		Backoff:     model.Backoff{Base: r.period(v.get("backoff"), "base"), Max: r.period(v.get("backoff"), "max")},
		Idempotent:  v.flag("idempotent"),
		BufferBytes: r.whole(v, "bufferBytes"),
	}
	retry.PerTryTimeout, _ = r.duration(v, "perTryTimeout")
	return retry
}

func (m *mapping) retry(key string, r *model.Retry) {
	if r == nil {
		return
	}
	var retry, backoff mapping
	retry.codes("on", r.On)
	retry.number("attempts", r.Attempts)
	retry.duration("perTryTimeout", r.PerTryTimeout)
	backoff.duration("base", r.Backoff.Base)
	backoff.duration("max", r.Backoff.Max)
	if len(backoff) > 0 {
		retry.put("backoff", backoff)
	}
	retry.flag("idempotent", r.Idempotent)
	retry.number("bufferBytes", r.BufferBytes)
	m.put(key, retry)
}

func (r *reader) retryBudget(v *value) *model.RetryBudget {
	if v == nil {
		return nil
	}
	return &model.RetryBudget{
		Percent:      r.decimal(v, "percent"),
		MinPerSecond: r.decimal(v, "minPerSecond"),
		Window:       r.period(v, "window"),
	}
}

func (m *mapping) retryBudget(key string, b *model.RetryBudget) {
	if b == nil {
		return
	}
	var budget mapping
	budget.decimal("percent", b.Percent)
	budget.decimal("minPerSecond", b.MinPerSecond)
	budget.duration("window", b.Window)
	m.put(key, budget)
}

func (r *reader) hedge(v *value) *model.Hedge {
	if v == nil {
		return nil
	}
	return &model.Hedge{
		Off:      v.flag("off"),
		Delay:    r.period(v, "delay"),
		Quantile: r.fraction(v, "quantile"),
		Attempts: r.whole(v, "attempts"),
	}
}

func (m *mapping) hedge(key string, h *model.Hedge) {
	if h == nil {
		return
	}
	var hedge mapping
	hedge.flag("off", h.Off)
	hedge.duration("delay", h.Delay)
	hedge.fraction("quantile", h.Quantile)
	hedge.number("attempts", h.Attempts)
	m.put(key, hedge)
}
