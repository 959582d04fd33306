package model

import (
	"cmp"
	"time"
)

// A Breaker stops calls to what fails, an endpoint or a service as a whole. Fields
// that are zero or nil have their defaults.
type Breaker struct {
	// Off has none; the other fields are zero then.
	Off bool
	// ConsecutiveFailures open it; zero means 7.
	ConsecutiveFailures uint32
	// MinPenalty is how long it stays open the first time; zero means 1 s. It is
	// twice as long each time that one real call tells that nothing has changed, up
	// to MaxPenalty; zero means a minute.
	MinPenalty, MaxPenalty time.Duration
	// Jitter is by how much of itself a penalty may be longer, 0 to 100; nil means 0.5.
	Jitter *float64
	// SuccessRate opens it when fewer calls of a Window of at least MinRequests
	// succeed, as a share of 0 to 1; zero is off.
	SuccessRate float64
	Window      time.Duration // zero means 10 s
	MinRequests uint32        // zero means 5
	// On are the codes that count as failures; empty means UNKNOWN,
	// DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS.
	On CodeSet
}

const (
	defaultMinPenalty = time.Second
	defaultMaxPenalty = time.Minute
)

// Penalties returns both, with what they are when left out.
func (b *Breaker) Penalties() (least, greatest time.Duration) {
	return bounds(b.MinPenalty, b.MaxPenalty, defaultMinPenalty, defaultMaxPenalty)
}

// bounds returns the least and the greatest of something, which are zero where they
// are left out. One that is left out has its default, or gives way to the other.
func bounds[T cmp.Ordered](least, greatest, defaultLeast, defaultGreatest T) (from, to T) {
	var none T
	from, to = least, greatest
	if from == none {
		from = defaultLeast
	}
	if to == none {
		return from, max(defaultGreatest, from)
	}
	if least == none {
		from = min(from, to)
	}
	return from, to
}
