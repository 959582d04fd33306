package translate

import (
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

var defaultBreaker = resource.DefaultBreaker()

// breaker is what differs from the default, which may be nothing.
func breaker(b *model.Breaker) *policyv1.Breaker {
	if b.Off {
		return &policyv1.Breaker{Disabled: true}
	}
	least, greatest := b.Penalties()
	m := &policyv1.Breaker{
		ConsecutiveFailures: unless(b.ConsecutiveFailures, defaultBreaker.ConsecutiveFailures),
		MinPenalty:          length(least, defaultBreaker.MinPenalty),
		MaxPenalty:          length(greatest, defaultBreaker.MaxPenalty),
		Jitter:              exactNumber(b.Jitter, defaultBreaker.Jitter),
		SuccessRate:         b.SuccessRate,
		Window:              length(b.Window, defaultBreaker.Window),
		MinRequests:         unless(b.MinRequests, defaultBreaker.MinRequests),
	}
	if b.On != model.CodeSet(defaultBreaker.Codes) {
		m.Codes = b.On.List()
	}
	return m
}

// serviceBreaker is that of a service as a whole, of which there is none by default.
func serviceBreaker(b *model.Breaker) *policyv1.Breaker {
	if b == nil || b.Off {
		return nil
	}
	return breaker(b)
}

// endpointBreaker is that of each endpoint, which there is by default.
func endpointBreaker(b *model.Breaker) *policyv1.Breaker {
	if b == nil {
		return nil
	}
	return unlessEmpty(breaker(b))
}
