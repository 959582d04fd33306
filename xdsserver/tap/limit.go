package tap

import "time"

// again is how many attempts there may be for each call: a client makes five at most.
const again = 5

// A limit holds for all processes of a tap together, whatever each of them was told.
type limit struct {
	rate           float64
	calls, retries float64
	at             time.Time
}

func newLimit(rate float64, now time.Time) limit {
	return limit{rate: rate, calls: rate, retries: again * rate, at: now}
}

// admit takes one attempt, counted from zero.
func (l *limit) admit(attempt uint32, now time.Time) bool {
	passed := max(0, now.Sub(l.at).Seconds())
	l.at = now
	l.calls = min(l.rate, l.calls+passed*l.rate)
	l.retries = min(again*l.rate, l.retries+passed*again*l.rate)
	tokens := &l.calls
	if attempt > 0 {
		tokens = &l.retries
	}
	if *tokens < 1 {
		return false
	}
	*tokens--
	return true
}
