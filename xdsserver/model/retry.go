package model

import "time"

// MaxAttempts bounds the attempts of one call, retries and hedges alike (gRFC A6).
const MaxAttempts = 5

// A Retry says when a failed call is tried again. Zero fields have their defaults.
type Retry struct {
	// On are the codes that are tried again; empty means UNAVAILABLE.
	On CodeSet
	// Attempts in all, the first included; zero means 2, and 1 is no retry.
	Attempts uint32
	// PerTryTimeout bounds each attempt but the last; zero does not.
	PerTryTimeout time.Duration
	// Backoff bounds the random wait before another attempt.
	Backoff Backoff
	// Idempotent is whether the calls may be made twice, whatever their methods say.
	// Otherwise only what was not sent is tried again, and methods that are
	// idempotent themselves.
	Idempotent bool
	// BufferBytes bounds what is kept of a stream's messages to send them again;
	// zero means 256 KiB.
	BufferBytes uint32
}

// A Backoff bounds the wait before attempt n of retries (1, 2, ...): it is drawn
// from zero to min(Max, Base*2^(n-1)).
type Backoff struct {
	// Base is the bound before the first retry; zero means 25 ms.
	Base time.Duration
	// Max bounds the others; zero means ten times Base (gRFC A44).
	Max time.Duration
}

const (
	defaultBackoffBase = 25 * time.Millisecond
	backoffMultiple    = 10
)

// Bounds returns both, with what they are when left out. One that is left out gives
// way to the other.
func (b Backoff) Bounds() (base, longest time.Duration) {
	switch {
	case b.Base == 0 && b.Max == 0:
		return defaultBackoffBase, backoffMultiple * defaultBackoffBase
	case b.Base == 0:
		return min(defaultBackoffBase, b.Max), b.Max
	case b.Max == 0:
		return b.Base, backoffMultiple * b.Base
	}
	return b.Base, b.Max
}

// Retries reports whether anything is tried again; nil does, by default.
func (r *Retry) Retries() bool { return r == nil || r.Attempts != 1 }

// A RetryBudget admits retries and hedges while those of the last Window are at
// most Percent/100 of its calls, plus MinPerSecond for each second. It is of each
// client process. Fields that are nil or zero have their defaults.
type RetryBudget struct {
	Percent      *float64      // 0 to 100; nil means 20
	MinPerSecond *float64      // nil means 10
	Window       time.Duration // zero means 10 s
}
