package model

import (
	"fmt"
	"time"
)

const (
	maxMirrors = 8       // of one rule
	maxChanges = 16      // headers of each list of one rule: the Gateway API's
	maxHosts   = 100_000 // which is more than a service may have
)

// CheckTraffic returns what is wrong with what a Service or a Route says of the
// traffic beside where it goes, as far as it can be told from the object alone.
// [Validate] finds the same: this is for who read the object, and can say in which
// line.
func CheckTraffic(o Object) []Problem {
	c := &checker{ref: o.Ref(), from: o.Origin()}
	switch o := o.(type) {
	case *Service:
		c.traffic(o)
	case *Route:
		for i := range o.Rules {
			c.ruleTraffic(fmt.Sprintf("spec.rules[%d]", i), &o.Rules[i])
		}
	}
	return c.problems
}

func (c *checker) traffic(s *Service) {
	c.span("spec.idleTimeout", s.IdleTimeout, shortest, day)
	c.span("spec.hopCost", s.HopCost, shortest, longest)
	c.retry("spec.retry", s.Retry)
	c.budget(s.RetryBudget)
	c.hedge("spec.hedge", s.Hedge)
	c.breaker("spec.breaker", s.Breaker)
	c.breaker("spec.serviceBreaker", s.ServiceBreaker)
	c.number("spec.maxEjectedPercent", s.MaxEjectedPercent, 1, 100)
	c.outliers(s.OutlierDetection)
	c.balancing(s.LoadBalancing)
	if s.RateLimit != nil {
		c.rate("spec.rateLimit", *s.RateLimit)
	}
	c.admission(s.Admission)
	c.methods(s)
}

func (c *checker) ruleTraffic(field string, r *Rule) {
	if r.IdleTimeout != nil {
		c.span(field+".idleTimeout", *r.IdleTimeout, shortest, day)
	}
	c.retry(field+".retry", r.Retry)
	c.hedge(field+".hedge", r.Hedge)
	if r.RateLimit != nil {
		c.rate(field+".rateLimit", *r.RateLimit)
	}
	c.headers(field+".filters.requestHeaderModifier", r.Headers)
	c.mirrors(field+".filters.requestMirror", r)
	if r.Fault != nil {
		c.fault(field+".fault", *r.Fault)
	}
}

func (c *checker) retry(field string, r *Retry) {
	if r == nil {
		return
	}
	c.codes(field+".on", r.On)
	c.number(field+".attempts", r.Attempts, 1, MaxAttempts)
	c.span(field+".perTryTimeout", r.PerTryTimeout, shortest, day)
	c.span(field+".backoff.base", r.Backoff.Base, shortest, longest)
	c.span(field+".backoff.max", r.Backoff.Max, shortest, day)
	base, limit := r.Backoff.Bounds()
	c.orders("base", field+".backoff.max", base, limit)
	c.number(field+".bufferBytes", r.BufferBytes, 1, 16<<20)
}

func (c *checker) codes(field string, s CodeSet) {
	if s&1 != 0 || s >= 1<<(lastCode+1) {
		c.errorf(field, "holds a code that no call fails with: write codes as in unavailable")
	}
}

func (c *checker) budget(b *RetryBudget) {
	const field = "spec.retryBudget"
	if b == nil {
		return
	}
	if b.Percent != nil {
		c.decimal(field+".percent", *b.Percent, 0, 100)
	}
	if b.MinPerSecond != nil {
		c.decimal(field+".minPerSecond", *b.MinPerSecond, 0, most)
	}
	c.span(field+".window", b.Window, time.Second, longest)
}

func (c *checker) hedge(field string, h *Hedge) {
	switch {
	case h == nil:
		return
	case h.Off && *h != Hedge{Off: true}:
		c.errorf(field, "is off and says more: remove the rest, or off")
		return
	case h.Delay != 0 && h.Quantile != 0:
		c.errorf(field, "says delay and quantile: write one of them")
	}
	c.span(field+".delay", h.Delay, shortest, longest)
	if h.Quantile != 0 {
		c.decimal(field+".quantile", h.Quantile, 0.001, 0.999)
	}
	c.number(field+".attempts", h.Attempts, 2, MaxAttempts)
}

func (c *checker) breaker(field string, b *Breaker) {
	switch {
	case b == nil:
		return
	case b.Off && *b != Breaker{Off: true}:
		c.errorf(field, "is off and says more: remove the rest, or off")
		return
	}
	c.number(field+".consecutiveFailures", b.ConsecutiveFailures, 1, most)
	c.span(field+".minPenalty", b.MinPenalty, shortest, longest)
	c.span(field+".maxPenalty", b.MaxPenalty, shortest, longest)
	least, greatest := b.Penalties()
	c.orders("minPenalty", field+".maxPenalty", least, greatest)
	if b.Jitter != nil {
		c.decimal(field+".jitter", *b.Jitter, 0, 100)
	}
	c.decimal(field+".successRate", b.SuccessRate, 0, 1)
	c.span(field+".window", b.Window, shortest, longest)
	c.number(field+".minRequests", b.MinRequests, 1, most)
	c.codes(field+".on", b.On)
}

func (c *checker) outliers(o *OutlierDetection) {
	const field = "spec.outlierDetection"
	if o == nil {
		return
	}
	if o.SuccessRate == nil && o.FailurePercentage == nil {
		c.errorf(field, "does nothing: write successRate: {} or failurePercentage: {}, or remove it")
	}
	c.span(field+".interval", o.Interval, 10*shortest, longest) // it costs time
	c.span(field+".baseEjectionTime", o.BaseEjectionTime, shortest, longest)
	c.span(field+".maxEjectionTime", o.MaxEjectionTime, shortest, longest)
	base, limit := o.Ejections()
	c.orders("baseEjectionTime", field+".maxEjectionTime", base, limit)
	if s := o.SuccessRate; s != nil {
		c.number(field+".successRate.stdevFactor", s.StdevFactor, 1, 100_000)
		c.number(field+".successRate.minimumHosts", s.MinimumHosts, 1, maxHosts)
		c.number(field+".successRate.requestVolume", s.RequestVolume, 1, most)
	}
	if f := o.FailurePercentage; f != nil {
		c.number(field+".failurePercentage.threshold", f.Threshold, 1, 100)
		c.number(field+".failurePercentage.minimumHosts", f.MinimumHosts, 1, maxHosts)
		c.number(field+".failurePercentage.requestVolume", f.RequestVolume, 1, most)
	}
}
