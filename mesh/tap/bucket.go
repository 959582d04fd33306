package tap

import (
	"sync"
	"time"
)

// A bucket admits so many a second, and the whole of a second at once. It is safe for
// concurrent use. It takes a lock: only calls that are tapped come here.
type bucket struct {
	mu     sync.Mutex
	rate   float64
	tokens float64
	at     time.Time
}

// set changes the rate. What was taken stays taken.
func (b *bucket) set(rate float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.tokens = max(1, rate)
	}
	b.rate, b.tokens = rate, min(b.tokens, max(1, rate))
}

// take takes one.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.at.IsZero() {
		b.tokens = min(max(1, b.rate), b.tokens+b.rate*max(0, now.Sub(b.at).Seconds()))
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
