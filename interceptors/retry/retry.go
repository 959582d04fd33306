// Package retry says which failed calls are tried again, when, and how many of them
// (gRFC A6; the budget is Finagle's and Linkerd's).
//
//	if retry.Again(traffic.Retry, failure) {
//		wait := retry.Wait(traffic.Retry, n, failure.Pushback)
//		if retry.Fits(now, wait, deadline) && budget.Withdraw(now, traffic.Budget) {
//			// wait, and make attempt n
//		}
//	}
//
// A retry doubles what it does not mend. So a call is tried again only where that
// does no harm twice (no server has seen it, or it may be made twice), where it may
// help (the code, the endpoint's own word), and while the budget of all calls to the
// service has something left: with a fifth of them at most, a service that fails
// altogether gets 1.2 times its load, and not as many times as there are attempts.
//
// The package makes no call and starts no timer.
package retry

import (
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Header says how many attempts came before, for every attempt but the first (gRFC A6).
const Header = "grpc-previous-rpc-attempts"

// A Failure is an attempt that failed, with what bears on another.
type Failure struct {
	Code codes.Code
	// Refusal is the mesh's own reason for not sending the attempt, nil where it did.
	Refusal *call.Error
	// Unsent is whether no server can have seen the attempt.
	Unsent bool
	// TimedOut is whether the time ran out that one attempt has.
	TimedOut bool
	// Pushback is what the endpoint said: zero nothing, negative not to try again,
	// otherwise how long to wait.
	Pushback time.Duration
	// Repeatable is whether the call may be made twice; see [Methods.Repeatable].
	Repeatable bool
	// Serving is whether the call was made to serve what is itself a retry. Its
	// budget is that of a call that was paid for already.
	Serving bool
}

// Again reports whether another attempt may mend a failure, and does no harm if it
// does not. It does not count attempts.
func Again(r *resource.Retry, f Failure) bool {
	switch {
	case !f.TimedOut && !r.Codes.Has(uint32(f.Code)):
		return false
	case f.Refusal != nil && f.Refusal.Reason != call.NoEndpoint:
		// A drop rule, a limit of concurrent calls, a route that leads nowhere: the
		// same again would come of it, and the limits are there to spare the service.
		return false
	case f.Pushback < 0:
		// The endpoint, or what it calls, has tried in vain already.
		return false
	default:
		return f.Unsent || f.Repeatable && !f.Serving
	}
}

// Wait is how long to wait before another attempt, the nth since the first or since
// an endpoint said when to come back (1, 2, ...). It is what the endpoint asks for or,
// where it asks for nothing, drawn from zero to min(max, base*2^(n-1)): full jitter,
// since clients that failed together would otherwise come back together.
func Wait(r *resource.Retry, n uint32, pushback time.Duration) time.Duration {
	if pushback > 0 {
		return pushback
	}
	ceiling := r.BackoffMax
	// Shifted down, not the base up, which could overflow.
	if n >= 1 && n < 63 && r.BackoffBase < ceiling>>(n-1) {
		ceiling = r.BackoffBase << (n - 1)
	}
	if ceiling <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(ceiling) + 1))
}

// Fits reports whether there is any time left for an attempt after a wait that begins
// now. A zero deadline is none.
func Fits(now time.Time, wait time.Duration, deadline time.Time) bool {
	return deadline.IsZero() || now.Add(wait).Before(deadline)
}

// Merge returns the route's retry with what an option of the call replaces.
func Merge(r resource.Retry, o call.Retry) resource.Retry {
	if o.Attempts > 0 {
		r.Attempts = min(o.Attempts, resource.MaxAttempts)
	}
	if o.PerTryTimeout > 0 {
		r.PerTryTimeout = o.PerTryTimeout
	}
	if len(o.Codes) > 0 {
		r.Codes = resource.Codes(o.Codes...)
	}
	r.Idempotent = r.Idempotent || o.Idempotent
	return r
}
