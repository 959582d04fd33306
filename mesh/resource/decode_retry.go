package resource

import (
	"cmp"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// retryConditions are what a standard policy may retry on, and their codes (gRFC A44).
var retryConditions = map[string]uint32{
	"cancelled":          1,
	"deadline-exceeded":  4,
	"internal":           13,
	"resource-exhausted": 8,
	"unavailable":        14,
}

// decodeRetryPolicy reads a standard policy (gRFC A44), nil where m is nil. It does
// not know of calls that may not be made twice: who asks for it says that they may.
func decodeRetryPolicy(m *xdsv3.RetryPolicy) (*Retry, error) {
	if m == nil {
		return nil, nil
	}
	if err := known(m); err != nil {
		return nil, err
	}
	retry := DefaultRetry()
	retry.Codes, retry.Idempotent = 0, true
	for condition := range strings.SplitSeq(m.GetRetryOn(), ",") {
		condition = strings.ToLower(strings.TrimSpace(condition))
		code, ok := retryConditions[condition]
		switch {
		case condition == "":
		case !ok:
			return nil, bad("retry_on", "%q is no condition that gRPC knows: use cancelled, deadline-exceeded, internal, resource-exhausted, unavailable", condition)
		default:
			retry.Codes |= Codes(code)
		}
	}
	if m.GetNumRetries() != nil {
		if m.GetNumRetries().GetValue() == 0 {
			return nil, bad("num_retries", "is 0, it must be at least 1; leave retry_policy out for none")
		}
		// Not with 1 added: that wraps round.
		retry.Attempts = 1 + min(m.GetNumRetries().GetValue(), MaxAttempts-1)
	}
	if m.GetRetryBackOff() != nil {
		if err := retry.backOff(m.GetRetryBackOff()); err != nil {
			return nil, under("retry_back_off", err)
		}
	}
	if retry.Codes == 0 {
		retry.Attempts = 1 // as in grpc-go; on a route it hides the virtual host's
	}
	return retry, nil
}

func (t *Retry) backOff(m *xdsv3.RetryPolicy_RetryBackOff) error {
	if err := known(m); err != nil {
		return err
	}
	if m.GetBaseInterval() == nil {
		return bad("base_interval", "is missing")
	}
	var r reading
	t.BackoffBase = max(r.duration("base_interval", m.GetBaseInterval(), 0, aboveZero), time.Millisecond) // gRFC A44
	t.BackoffMax = max(r.duration("max_interval", m.GetMaxInterval(), min(10*t.BackoffBase, maxDuration), aboveZero), time.Millisecond)
	if t.BackoffMax < t.BackoffBase {
		r.fail("max_interval", "is %v, below base_interval of %v", t.BackoffMax, t.BackoffBase)
	}
	return r.err
}

// decodeOwnRetry reads the mesh's own policy.
func decodeOwnRetry(m *xdsv3.OwnRetry) (*Retry, error) {
	var r reading
	d := DefaultRetry()
	retry := &Retry{
		Codes:         r.codes("codes", m.GetCodes(), d.Codes),
		Attempts:      r.count("attempts", m.GetAttempts(), d.Attempts, 1, MaxAttempts),
		PerTryTimeout: r.duration("per_try_timeout", m.GetPerTryTimeout(), 0, 0),
		BackoffBase:   r.duration("backoff_base", m.GetBackoffBase(), d.BackoffBase, aboveZero),
		Idempotent:    m.GetIdempotent(),
		BufferBytes:   r.count("buffer_bytes", m.GetBufferBytes(), d.BufferBytes, 1, maxBuffer),
	}
	retry.BackoffMax = r.duration("backoff_max", m.GetBackoffMax(), max(d.BackoffMax, retry.BackoffBase), aboveZero)
	if m.GetBackoffBase() == nil {
		retry.BackoffBase = min(retry.BackoffBase, retry.BackoffMax)
	}
	if retry.BackoffMax < retry.BackoffBase {
		r.fail("backoff_max", "is %v, below backoff_base of %v", retry.BackoffMax, retry.BackoffBase)
	}
	return retry, r.err
}

// standardTraffic is what the standard fields of a route say: its own retry policy
// or that of its virtual host, and the header that its calls are hashed by. It is
// nil where they say nothing.
func standardTraffic(route, host *Retry, hashHeader string) *Traffic {
	retry := cmp.Or(route, host)
	if retry == nil && hashHeader == "" {
		return nil
	}
	t := *defaultTraffic
	t.Retry, t.HashHeader = cmp.Or(retry, t.Retry), hashHeader
	return &t
}
