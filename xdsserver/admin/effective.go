package admin

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// What follows writes out what clients and servers go by: each value is set, the
// defaults too, and what is off is not there.

const million = 1_000_000

func percent(perMillion uint32) float64 { return float64(perMillion) * 100 / million }

// length is not set for zero, which stands for none.
func length(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func traffic(t *resource.Traffic) *policyv1.Traffic {
	out := &policyv1.Traffic{
		Retry:       retry(t.Retry),
		RetryBudget: &policyv1.RetryBudget{Percent: new(t.Budget.Percent), MinPerSecond: new(t.Budget.MinPerSecond), Window: length(t.Budget.Window)},
		Breaker:     breaker(t.Breaker),
		RateLimit:   rate(t.RateLimit),
		IdleTimeout: length(t.IdleTimeout),
		HopCost:     length(t.HopCost),
		HashHeader:  t.HashHeader,
	}
	if h := t.Hedge; h != nil {
		out.Hedge = &policyv1.Hedge{Delay: length(h.Delay), Quantile: h.Quantile, Attempts: h.Attempts}
	}
	for _, m := range t.Mirrors {
		out.Mirrors = append(out.Mirrors, &policyv1.Mirror{Cluster: m.Cluster, PerMillion: m.PerMillion, Timeout: length(m.Timeout)})
	}
	if h := t.Headers; h != nil {
		out.Headers = &policyv1.Headers{Set: headers(h.Set), Add: headers(h.Add), Remove: h.Remove}
	}
	return out
}

func headers(values []resource.HeaderValue) []*policyv1.Header {
	out := make([]*policyv1.Header, 0, len(values))
	for _, v := range values {
		out = append(out, &policyv1.Header{Name: v.Name, Value: v.Value})
	}
	return out
}

func retry(r *resource.Retry) *policyv1.Retry {
	if r == nil || r.Attempts <= 1 {
		return nil
	}
	return &policyv1.Retry{
		Codes:         codeNumbers(r.Codes),
		Attempts:      r.Attempts,
		PerTryTimeout: length(r.PerTryTimeout),
		BackoffBase:   length(r.BackoffBase),
		BackoffMax:    length(r.BackoffMax),
		Idempotent:    r.Idempotent,
		BufferBytes:   r.BufferBytes,
	}
}

func codeNumbers(set resource.CodeSet) []uint32 {
	var out []uint32
	for code := range uint32(32) {
		if set.Has(code) {
			out = append(out, code)
		}
	}
	return out
}

func breaker(b *resource.Breaker) *policyv1.Breaker {
	if b == nil {
		return nil
	}
	return &policyv1.Breaker{
		ConsecutiveFailures: b.ConsecutiveFailures,
		MinPenalty:          length(b.MinPenalty),
		MaxPenalty:          length(b.MaxPenalty),
		Jitter:              new(b.Jitter),
		SuccessRate:         b.SuccessRate,
		Window:              length(b.Window),
		MinRequests:         b.MinRequests,
		Codes:               codeNumbers(b.Codes),
	}
}

func rate(r *resource.Rate) *policyv1.Rate {
	if r == nil {
		return nil
	}
	return &policyv1.Rate{PerSecond: r.PerSecond, Burst: r.Burst}
}

// policies are the names of the balancing policies.
var policies = map[resource.Policy]policyv1.Balancing_Policy{
	resource.PeakEWMA:           policyv1.Balancing_POLICY_PEAK_EWMA,
	resource.RoundRobin:         policyv1.Balancing_POLICY_ROUND_ROBIN,
	resource.LeastRequest:       policyv1.Balancing_POLICY_LEAST_REQUEST,
	resource.RingHash:           policyv1.Balancing_POLICY_RING_HASH,
	resource.WeightedRoundRobin: policyv1.Balancing_POLICY_WEIGHTED_ROUND_ROBIN,
}

// balancing has the configuration of the policy that is in force, and of no other.
func balancing(b *resource.Balancing) *policyv1.Balancing {
	out := &policyv1.Balancing{
		Policy:                 policies[b.Policy],
		Breaker:                breaker(b.Breaker),
		OutlierDetection:       outliers(b.Outlier),
		MaxEjectedPercent:      b.MaxEjectedPercent,
		MaxRequestsPerEndpoint: b.MaxRequestsPerEndpoint,
		Zone:                   &policyv1.Zone{Mode: policyv1.Zone_MODE_SPREAD},
		Subset:                 b.Subset,
		MaxStreamAge:           length(b.MaxStreamAge),
	}
	if b.Zone.Prefer {
		out.Zone = &policyv1.Zone{Mode: policyv1.Zone_MODE_PREFER, Low: b.Zone.Low, High: b.Zone.High}
	}
	if b.SlowStart.Window > 0 {
		out.SlowStart = &policyv1.SlowStart{
			Window: length(b.SlowStart.Window), Aggression: b.SlowStart.Aggression, MinWeightPercent: b.SlowStart.MinWeightPercent,
		}
	}
	switch b.Policy {
	case resource.PeakEWMA:
		p := b.PeakEWMA
		out.PeakEwma = &policyv1.PeakEWMA{
			DefaultRtt: length(p.DefaultRTT), Decay: length(p.Decay), FailurePenalty: length(p.FailurePenalty), Utilization: p.Utilization,
		}
	case resource.LeastRequest:
		out.Choices = b.Choices
	case resource.RingHash:
		out.RingHash = &policyv1.RingHash{MinRingSize: b.RingHash.MinSize, MaxRingSize: b.RingHash.MaxSize}
	case resource.WeightedRoundRobin:
		w := b.WeightedRoundRobin
		out.WeightedRoundRobin = &policyv1.WeightedRoundRobin{
			BlackoutPeriod:          length(w.BlackoutPeriod),
			WeightExpirationPeriod:  length(w.WeightExpirationPeriod),
			WeightUpdatePeriod:      length(w.WeightUpdatePeriod),
			ErrorUtilizationPenalty: new(w.ErrorUtilizationPenalty),
		}
	case resource.RoundRobin:
	}
	return out
}

func outliers(o *resource.OutlierDetection) *policyv1.OutlierDetection {
	if o == nil {
		return nil
	}
	out := &policyv1.OutlierDetection{
		Interval: length(o.Interval), BaseEjectionTime: length(o.BaseEjectionTime), MaxEjectionTime: length(o.MaxEjectionTime),
	}
	if s := o.SuccessRate; s != nil {
		out.SuccessRate = &policyv1.OutlierDetection_SuccessRate{
			StdevFactor: s.StdevFactor, MinimumHosts: s.MinimumHosts, RequestVolume: s.RequestVolume,
		}
	}
	if f := o.FailurePercentage; f != nil {
		out.FailurePercentage = &policyv1.OutlierDetection_FailurePercentage{
			Threshold: f.Threshold, MinimumHosts: f.MinimumHosts, RequestVolume: f.RequestVolume,
		}
	}
	return out
}

func fault(f *resource.Fault) *adminv1.CallFault {
	if f == nil {
		return nil
	}
	out := &adminv1.CallFault{DelayPercent: percent(f.DelayPerMillion), AbortPercent: percent(f.AbortPerMillion)}
	if f.DelayPerMillion > 0 {
		out.DelayByHeader, out.Delay = f.DelayByHeader, length(f.Delay)
	}
	if f.AbortPerMillion > 0 {
		out.AbortByHeader, out.AbortCode = f.AbortByHeader, uint32(f.AbortCode)
	}
	return out
}

// pers are what a rate limit counts apart.
var pers = map[resource.RatePer]policyv1.RateLimit_Per{
	resource.PerTotal:    policyv1.RateLimit_PER_TOTAL,
	resource.PerIdentity: policyv1.RateLimit_PER_IDENTITY,
	resource.PerMethod:   policyv1.RateLimit_PER_METHOD,
	resource.PerMetadata: policyv1.RateLimit_PER_METADATA,
}

// admission is what of a applies to a call; nil for nothing. An empty id is a caller
// that is not known: limits of some callers are left in then.
func admission(a *resource.Admission, method, id string) *policyv1.Admission {
	if a == nil {
		return nil
	}
	out := &policyv1.Admission{}
	for _, l := range a.RateLimits {
		if !limits(l.Methods, l.Callers, method, id) {
			continue
		}
		out.RateLimits = append(out.RateLimits, &policyv1.RateLimit{
			Name: l.Name, Per: pers[l.Per], MetadataKey: l.MetadataKey, Rate: rate(&l.Rate), Methods: l.Methods, Callers: l.Callers,
		})
	}
	if c := a.Concurrency; c != nil {
		out.Concurrency = &policyv1.Concurrency{Limit: c.Limit, Adaptive: c.Adaptive, Min: c.Min, Max: c.Max, Tolerance: c.Tolerance}
	}
	if f := a.Fault; f != nil {
		out.Fault = &policyv1.Fault{
			Delay: length(f.Delay), DelayPerMillion: f.DelayPerMillion, AbortCode: uint32(f.AbortCode), AbortPerMillion: f.AbortPerMillion,
		}
	}
	if out.GetRateLimits() == nil && out.GetConcurrency() == nil && out.GetFault() == nil {
		return nil
	}
	return out
}

// limits reports whether a limit is for a call.
func limits(methods, callers []string, method, id string) bool {
	of := len(methods) == 0 || slices.ContainsFunc(methods, func(m string) bool {
		all, whole := strings.CutSuffix(m, "*")
		return m == method || whole && strings.HasPrefix(method, all)
	})
	return of && (len(callers) == 0 || id == "" || slices.Contains(callers, id))
}
