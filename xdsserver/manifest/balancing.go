package manifest

import (
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func (r *reader) balancing(v *value) *model.LoadBalancing {
	if v == nil {
		return nil
	}
	b := &model.LoadBalancing{
		Policy:         model.BalancingPolicy(v.textOf("policy")),
		DefaultRTT:     r.period(v, "defaultRtt"),
		Decay:          r.period(v, "decay"),
		FailurePenalty: r.perhaps(v, "failurePenalty"),
		Utilization:    v.flag("utilization"),
		Choices:        r.whole(v, "choices"),
		HashHeader:     v.textOf("hashHeader"),
		MinRingSize:    r.whole(v, "minRingSize"),
		MaxRingSize:    r.whole(v, "maxRingSize"),
		Subset:         r.whole(v, "subset"),
		MaxStreamAge:   r.period(v, "maxStreamAge"),
	}
	if h := v.get("hashHeader"); h != nil && h.text == "" {
		r.errorf(h.path, h.pos, "is empty: write a header, or remove it and have the application say what decides")
	}
	if w := v.get("weighted"); w != nil {
		b.Weighted = &model.Weighted{
			BlackoutPeriod:          r.perhaps(w, "blackoutPeriod"),
			WeightExpirationPeriod:  r.period(w, "weightExpirationPeriod"),
			WeightUpdatePeriod:      r.period(w, "weightUpdatePeriod"),
			ErrorUtilizationPenalty: r.decimal(w, "errorUtilizationPenalty"),
		}
	}
	if s := v.get("slowStart"); s != nil {
		b.SlowStart = &model.SlowStart{
			Window: r.period(s, "window"), Aggression: r.fraction(s, "aggression"), MinWeightPercent: r.whole(s, "minWeightPercent"),
		}
	}
	if z := v.get("zone"); z != nil {
		b.Zone = &model.Zone{Spread: z.textOf("mode") == spread, Low: r.fraction(z, "low"), High: r.fraction(z, "high")}
	}
	return b
}

// perhaps reads a duration that may be zero; it is nil where it is left out.
func (r *reader) perhaps(v *value, name string) *time.Duration {
	d, set := r.duration(v, name)
	if !set {
		return nil
	}
	return &d
}

func (m *mapping) balancing(key string, b *model.LoadBalancing) {
	if b == nil {
		return
	}
	perhaps := func(m *mapping, key string, d *time.Duration) {
		if d != nil {
			m.raw(key, formatDuration(*d))
		}
	}
	var balancing mapping
	balancing.text("policy", string(b.Policy))
	balancing.duration("defaultRtt", b.DefaultRTT)
	balancing.duration("decay", b.Decay)
	perhaps(&balancing, "failurePenalty", b.FailurePenalty)
	balancing.flag("utilization", b.Utilization)
	balancing.number("choices", b.Choices)
	balancing.text("hashHeader", b.HashHeader)
	balancing.number("minRingSize", b.MinRingSize)
	balancing.number("maxRingSize", b.MaxRingSize)
	if w := b.Weighted; w != nil {
		var weighted mapping
		perhaps(&weighted, "blackoutPeriod", w.BlackoutPeriod)
		weighted.duration("weightExpirationPeriod", w.WeightExpirationPeriod)
		weighted.duration("weightUpdatePeriod", w.WeightUpdatePeriod)
		weighted.decimal("errorUtilizationPenalty", w.ErrorUtilizationPenalty)
		balancing.put("weighted", weighted)
	}
	if s := b.SlowStart; s != nil {
		var start mapping
		start.duration("window", s.Window)
		start.fraction("aggression", s.Aggression)
		start.number("minWeightPercent", s.MinWeightPercent)
		balancing.put("slowStart", start)
	}
	if z := b.Zone; z != nil {
		var zone mapping
		if z.Spread {
			zone.raw("mode", spread)
		}
		zone.fraction("low", z.Low)
		zone.fraction("high", z.High)
		balancing.put("zone", zone)
	}
	balancing.number("subset", b.Subset)
	balancing.duration("maxStreamAge", b.MaxStreamAge)
	m.put(key, balancing)
}
