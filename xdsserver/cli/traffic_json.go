package cli

import (
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// What follows is traffic policy for programs. Durations are as configuration has
// them, "250ms"; what is off is left out.

type trafficJSON struct {
	Retry          *retryJSON   `json:"retry,omitempty"`
	RetryBudget    *budgetJSON  `json:"retryBudget,omitempty"`
	Hedge          *hedgeJSON   `json:"hedge,omitempty"`
	Mirrors        []mirrorJSON `json:"mirrors,omitempty"`
	Headers        *changesJSON `json:"headerChanges,omitempty"`
	RateLimit      *rateJSON    `json:"rateLimit,omitempty"`
	ServiceBreaker *breakerJSON `json:"serviceBreaker,omitempty"`
	IdleTimeout    string       `json:"idleTimeout,omitempty"`
	HopCost        string       `json:"hopCost,omitempty"`
	HashHeader     string       `json:"hashHeader,omitempty"`
}

type retryJSON struct {
	On            []string `json:"on"`
	Attempts      uint32   `json:"attempts"`
	PerTryTimeout string   `json:"perTryTimeout,omitempty"`
	BackoffBase   string   `json:"backoffBase"`
	BackoffMax    string   `json:"backoffMax"`
	Idempotent    bool     `json:"idempotent"`
	BufferBytes   uint32   `json:"bufferBytes"`
}

type budgetJSON struct {
	Percent      float64 `json:"percent"`
	MinPerSecond float64 `json:"minPerSecond"`
	Window       string  `json:"window"`
}

type hedgeJSON struct {
	Delay    string  `json:"delay,omitempty"`
	Quantile float64 `json:"quantile,omitempty"`
	Attempts uint32  `json:"attempts"`
}

type mirrorJSON struct {
	Cluster string  `json:"cluster"`
	Percent float64 `json:"percent"`
	Timeout string  `json:"timeout"`
}

type changesJSON struct {
	Set    []metadataJSON `json:"set"`
	Add    []metadataJSON `json:"add"`
	Remove []string       `json:"remove"`
}

type rateJSON struct {
	RequestsPerSecond float64 `json:"requestsPerSecond"`
	Burst             uint32  `json:"burst"`
}

type breakerJSON struct {
	ConsecutiveFailures uint32   `json:"consecutiveFailures"`
	SuccessRate         float64  `json:"successRate,omitempty"`
	Window              string   `json:"window"`
	MinRequests         uint32   `json:"minRequests"`
	MinPenalty          string   `json:"minPenalty"`
	MaxPenalty          string   `json:"maxPenalty"`
	Jitter              float64  `json:"jitter"`
	On                  []string `json:"on"`
}

type balancingJSON struct {
	Policy                 string       `json:"policy"`
	HashRing               *ringJSON    `json:"ringHash,omitempty"`
	PeakEWMA               *ewmaJSON    `json:"peakEwma,omitempty"`
	Choices                uint32       `json:"choices,omitempty"`
	Breaker                *breakerJSON `json:"breaker,omitempty"`
	OutlierDetection       bool         `json:"outlierDetection"`
	MaxEjectedPercent      uint32       `json:"maxEjectedPercent"`
	MaxRequestsPerEndpoint uint32       `json:"maxRequestsPerEndpoint,omitempty"`
	Zone                   zoneJSON     `json:"zone"`
	Subset                 uint32       `json:"subset,omitempty"`
	SlowStart              string       `json:"slowStart,omitempty"`
	MaxStreamAge           string       `json:"maxStreamAge,omitempty"`
}

type ringJSON struct {
	MinSize uint32 `json:"minRingSize"`
	MaxSize uint32 `json:"maxRingSize"`
}

type ewmaJSON struct {
	DefaultRTT     string `json:"defaultRtt"`
	Decay          string `json:"decay"`
	FailurePenalty string `json:"failurePenalty"`
	Utilization    bool   `json:"utilization"`
}

type zoneJSON struct {
	Mode string  `json:"mode"`
	Low  float64 `json:"low,omitempty"`
	High float64 `json:"high,omitempty"`
}

type faultJSON struct {
	DelayPercent  float64 `json:"delayPercent,omitempty"`
	Delay         string  `json:"delay,omitempty"`
	DelayByHeader bool    `json:"delayByHeader,omitempty"`
	AbortPercent  float64 `json:"abortPercent,omitempty"`
	AbortCode     string  `json:"abortCode,omitempty"`
	AbortByHeader bool    `json:"abortByHeader,omitempty"`
}

func trafficResult(t *policyv1.Traffic) trafficJSON {
	out := trafficJSON{
		RateLimit:      rateResult(t.GetRateLimit()),
		ServiceBreaker: breakerResult(t.GetBreaker()),
		IdleTimeout:    durationText(t.GetIdleTimeout()),
		HopCost:        durationText(t.GetHopCost()),
		HashHeader:     t.GetHashHeader(),
	}
	if r := t.GetRetry(); r != nil {
		out.Retry = &retryJSON{
			On:            codeTexts(r.GetCodes()),
			Attempts:      r.GetAttempts(),
			PerTryTimeout: durationText(r.GetPerTryTimeout()),
			BackoffBase:   durationText(r.GetBackoffBase()),
			BackoffMax:    durationText(r.GetBackoffMax()),
			Idempotent:    r.GetIdempotent(),
			BufferBytes:   r.GetBufferBytes(),
		}
	}
	if b := t.GetRetryBudget(); b != nil {
		out.RetryBudget = &budgetJSON{Percent: b.GetPercent(), MinPerSecond: b.GetMinPerSecond(), Window: durationText(b.GetWindow())}
	}
	if h := t.GetHedge(); h != nil {
		out.Hedge = &hedgeJSON{Delay: durationText(h.GetDelay()), Attempts: h.GetAttempts()}
		if h.GetDelay() == nil {
			out.Hedge.Quantile = h.GetQuantile()
		}
	}
	for _, m := range t.GetMirrors() {
		out.Mirrors = append(out.Mirrors, mirrorJSON{m.GetCluster(), float64(m.GetPerMillion()) / 10_000, durationText(m.GetTimeout())})
	}
	if h := t.GetHeaders(); h != nil {
		out.Headers = &changesJSON{Set: headerResults(h.GetSet()), Add: headerResults(h.GetAdd()), Remove: orEmpty(h.GetRemove())}
	}
	return out
}

func headerResults(headers []*policyv1.Header) []metadataJSON {
	out := make([]metadataJSON, 0, len(headers))
	for _, h := range headers {
		out = append(out, metadataJSON{Name: h.GetName(), Value: h.GetValue()})
	}
	return out
}

func rateResult(r *policyv1.Rate) *rateJSON {
	if r == nil {
		return nil
	}
	return &rateJSON{RequestsPerSecond: r.GetPerSecond(), Burst: r.GetBurst()}
}

func breakerResult(b *policyv1.Breaker) *breakerJSON {
	if b == nil {
		return nil
	}
	return &breakerJSON{
		ConsecutiveFailures: b.GetConsecutiveFailures(),
		SuccessRate:         b.GetSuccessRate(),
		Window:              durationText(b.GetWindow()),
		MinRequests:         b.GetMinRequests(),
		MinPenalty:          durationText(b.GetMinPenalty()),
		MaxPenalty:          durationText(b.GetMaxPenalty()),
		Jitter:              b.GetJitter(),
		On:                  codeTexts(b.GetCodes()),
	}
}

func balancingResult(b *policyv1.Balancing) *balancingJSON {
	if b == nil {
		return nil
	}
	out := &balancingJSON{
		Policy:                 policyText(b.GetPolicy()),
		Choices:                b.GetChoices(),
		Breaker:                breakerResult(b.GetBreaker()),
		OutlierDetection:       b.GetOutlierDetection() != nil,
		MaxEjectedPercent:      b.GetMaxEjectedPercent(),
		MaxRequestsPerEndpoint: b.GetMaxRequestsPerEndpoint(),
		Zone:                   zoneJSON{Mode: "spread"},
		Subset:                 b.GetSubset(),
		SlowStart:              durationText(b.GetSlowStart().GetWindow()),
		MaxStreamAge:           durationText(b.GetMaxStreamAge()),
	}
	if z := b.GetZone(); z.GetMode() == policyv1.Zone_MODE_PREFER {
		out.Zone = zoneJSON{Mode: "prefer", Low: z.GetLow(), High: z.GetHigh()}
	}
	if r := b.GetRingHash(); r != nil {
		out.HashRing = &ringJSON{MinSize: r.GetMinRingSize(), MaxSize: r.GetMaxRingSize()}
	}
	if e := b.GetPeakEwma(); e != nil {
		out.PeakEWMA = &ewmaJSON{
			DefaultRTT: durationText(e.GetDefaultRtt()), Decay: durationText(e.GetDecay()),
			FailurePenalty: durationText(e.GetFailurePenalty()), Utilization: e.GetUtilization(),
		}
	}
	return out
}

func faultResult(f *adminv1.CallFault) *faultJSON {
	if f == nil {
		return nil
	}
	out := &faultJSON{
		DelayPercent: f.GetDelayPercent(), Delay: durationText(f.GetDelay()), DelayByHeader: f.GetDelayByHeader(),
		AbortPercent: f.GetAbortPercent(), AbortByHeader: f.GetAbortByHeader(),
	}
	if f.GetAbortPercent() > 0 && !f.GetAbortByHeader() {
		out.AbortCode = resource.CodeName(f.GetAbortCode())
	}
	return out
}
