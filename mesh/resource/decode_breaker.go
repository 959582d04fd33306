package resource

import (
	"time"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// decodeBreaker returns nil for one that is disabled. m is not nil. Of two bounds
// of which one is not set that one gives way.
func decodeBreaker(m *xdsv3.OwnBreaker) (*Breaker, error) {
	var r reading
	d := DefaultBreaker()
	b := &Breaker{
		ConsecutiveFailures: r.count("consecutive_failures", m.GetConsecutiveFailures(), d.ConsecutiveFailures, 1, maxFailures),
		MinPenalty:          r.duration("min_penalty", m.GetMinPenalty(), d.MinPenalty, aboveZero),
		Jitter:              r.exact("jitter", m.Jitter, d.Jitter, 100),
		SuccessRate:         r.number("success_rate", m.GetSuccessRate(), 0, 0, 1),
		Window:              r.duration("window", m.GetWindow(), d.Window, time.Millisecond),
		MinRequests:         r.count("min_requests", m.GetMinRequests(), d.MinRequests, 1, maxFailures),
		Codes:               r.codes("codes", m.GetCodes(), d.Codes),
	}
	b.MaxPenalty = r.duration("max_penalty", m.GetMaxPenalty(), max(d.MaxPenalty, b.MinPenalty), aboveZero)
	if m.GetMinPenalty() == nil {
		b.MinPenalty = min(b.MinPenalty, b.MaxPenalty)
	}
	if b.MaxPenalty < b.MinPenalty {
		r.fail("max_penalty", "is %v, below min_penalty of %v", b.MaxPenalty, b.MinPenalty)
	}
	if r.err != nil || m.GetDisabled() {
		return nil, r.err
	}
	return b, nil
}
