package manifest

import "github.com/tulle-mesh/tulle/xdsserver/model"

func (r *reader) breaker(v *value) *model.Breaker {
	if v == nil {
		return nil
	}
	return &model.Breaker{
		Off:                 v.flag("off"),
		ConsecutiveFailures: r.whole(v, "consecutiveFailures"),
		MinPenalty:          r.period(v, "minPenalty"),
		MaxPenalty:          r.period(v, "maxPenalty"),
		Jitter:              r.decimal(v, "jitter"),
		SuccessRate:         r.fraction(v, "successRate"),
		Window:              r.period(v, "window"),
		MinRequests:         r.whole(v, "minRequests"),
		On:                  r.codeSet(v, "on"),
	}
}

func (m *mapping) breaker(key string, b *model.Breaker) {
	if b == nil {
		return
	}
	var breaker mapping
	breaker.flag("off", b.Off)
	breaker.number("consecutiveFailures", b.ConsecutiveFailures)
	breaker.duration("minPenalty", b.MinPenalty)
	breaker.duration("maxPenalty", b.MaxPenalty)
	breaker.decimal("jitter", b.Jitter)
	breaker.fraction("successRate", b.SuccessRate)
	breaker.duration("window", b.Window)
	breaker.number("minRequests", b.MinRequests)
	breaker.codes("on", b.On)
	m.put(key, breaker)
}

func (r *reader) outliers(v *value) *model.OutlierDetection {
	if v == nil {
		return nil
	}
	o := &model.OutlierDetection{
		Interval:         r.period(v, "interval"),
		BaseEjectionTime: r.period(v, "baseEjectionTime"),
		MaxEjectionTime:  r.period(v, "maxEjectionTime"),
	}
	if s := v.get("successRate"); s != nil {
		o.SuccessRate = &model.OutlierSuccessRate{
			StdevFactor: r.whole(s, "stdevFactor"), MinimumHosts: r.whole(s, "minimumHosts"), RequestVolume: r.whole(s, "requestVolume"),
		}
	}
	if f := v.get("failurePercentage"); f != nil {
		o.FailurePercentage = &model.OutlierFailurePercentage{
			Threshold: r.whole(f, "threshold"), MinimumHosts: r.whole(f, "minimumHosts"), RequestVolume: r.whole(f, "requestVolume"),
		}
	}
	return o
}

func (m *mapping) outliers(key string, o *model.OutlierDetection) {
	if o == nil {
		return
	}
	var outliers mapping
	outliers.duration("interval", o.Interval)
	outliers.duration("baseEjectionTime", o.BaseEjectionTime)
	outliers.duration("maxEjectionTime", o.MaxEjectionTime)
	if s := o.SuccessRate; s != nil {
		var rate mapping
		rate.number("stdevFactor", s.StdevFactor)
		rate.number("minimumHosts", s.MinimumHosts)
		rate.number("requestVolume", s.RequestVolume)
		outliers.put("successRate", rate)
	}
	if f := o.FailurePercentage; f != nil {
		var percentage mapping
		percentage.number("threshold", f.Threshold)
		percentage.number("minimumHosts", f.MinimumHosts)
		percentage.number("requestVolume", f.RequestVolume)
		outliers.put("failurePercentage", percentage)
	}
	m.put(key, outliers)
}
