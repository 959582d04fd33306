package resource

import "time"

// MaxAttempts bounds the attempts of one call, retries and hedges alike (gRFC A6).
const MaxAttempts = 5

// Traffic is what a client does for the calls of a route, beside sending them to
// one of its clusters. Its values are in range and have their defaults. It is
// immutable.
type Traffic struct {
	// Retry is never nil in a decoded Traffic; Attempts 1 is no retry.
	Retry *Retry
	// Budget bounds retries and hedges together. It is the service's: where its
	// routes differ, calls of a route are bounded by the route's.
	Budget RetryBudget
	// Hedge is nil for none.
	Hedge   *Hedge
	Mirrors []Mirror
	// Headers is nil for none.
	Headers *Headers
	// RateLimit is of this process; nil for none.
	RateLimit *Rate
	// Breaker is of the service as a whole; nil for none.
	Breaker *Breaker
	// IdleTimeout is how long a stream may be without a message either way; zero
	// means for ever.
	IdleTimeout time.Duration
	// HopCost is what is left over of a caller's own deadline when a call is made to
	// serve it.
	HopCost time.Duration
	// HashHeader is the header whose value is the key of [RingHash], in lower case;
	// empty for none.
	HashHeader string
}

// A Retry says when a failed call is tried again.
type Retry struct {
	Codes CodeSet
	// Attempts in all, 1 to MaxAttempts.
	Attempts uint32
	// PerTryTimeout bounds each attempt but the last; zero does not.
	PerTryTimeout time.Duration
	// BackoffBase and BackoffMax bound the random wait before attempt n (1, 2, ...):
	// it is drawn from zero to min(BackoffMax, BackoffBase*2^(n-1)).
	BackoffBase, BackoffMax time.Duration
	// Idempotent is whether the calls may be made twice, whatever their methods say.
	// Otherwise only what was not sent is tried again, and methods whose
	// idempotency_level says that they may be.
	Idempotent bool
	// BufferBytes bounds what is kept of a stream's messages; one that sent more is
	// not tried again.
	BufferBytes uint32
}

// A RetryBudget admits retries while those of the last Window are at most
// Percent/100 of its calls, plus MinPerSecond for each second (Finagle, Linkerd).
type RetryBudget struct {
	Percent      float64
	MinPerSecond float64
	Window       time.Duration
}

// A Hedge makes another attempt of a unary call that is not answered after Delay
// or, where that is zero, after the Quantile of what such calls take.
type Hedge struct {
	Delay    time.Duration
	Quantile float64 // 0 to 1
	Attempts uint32  // in all, 2 to MaxAttempts
}

// A Mirror sends copies of a share of unary calls to a cluster, and drops what comes back.
type Mirror struct {
	Cluster    string
	PerMillion uint32
	Timeout    time.Duration
}

// Headers are changes to the metadata that is sent, in the order of the fields.
// Names are in lower case.
type Headers struct {
	Remove   []string
	Set, Add []HeaderValue
}

// A HeaderValue is one header.
type HeaderValue struct{ Name, Value string }

// A Rate is calls per second, in bursts of up to Burst.
type Rate struct {
	PerSecond float64 // above zero
	Burst     uint32  // above zero
}

// DefaultRetry returns what a route has where nothing is said: what was certainly
// not sent is sent once more.
func DefaultRetry() *Retry {
	return &Retry{
		Codes:       Codes(14), // UNAVAILABLE
		Attempts:    2,
		BackoffBase: 25 * time.Millisecond,
		BackoffMax:  250 * time.Millisecond,
		BufferBytes: 256 << 10,
	}
}

// DefaultRetryBudget returns Linkerd's: 20 % and 10 a second, over 10 seconds.
func DefaultRetryBudget() RetryBudget {
	return RetryBudget{Percent: 20, MinPerSecond: 10, Window: 10 * time.Second}
}

// defaultTraffic is that of routes that say nothing.
var defaultTraffic = &Traffic{Retry: DefaultRetry(), Budget: DefaultRetryBudget()}

// DefaultTraffic returns what a route has where nothing is said. It is shared.
func DefaultTraffic() *Traffic { return defaultTraffic }
