package translate

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

var (
	defaultRetry  = resource.DefaultRetry()
	defaultBudget = resource.DefaultRetryBudget()
)

// ownRetry is what differs from the default; nil for nothing.
func (c conduct) ownRetry() *policyv1.Retry {
	m := &policyv1.Retry{Idempotent: c.twice}
	if r := c.retry(); r != nil {
		base, longest := r.Backoff.Bounds()
		m = &policyv1.Retry{
			Attempts:      unless(r.Attempts, defaultRetry.Attempts),
			PerTryTimeout: length(r.PerTryTimeout, 0),
			BackoffBase:   length(base, defaultRetry.BackoffBase),
			BackoffMax:    length(longest, defaultRetry.BackoffMax),
			Idempotent:    r.Idempotent || c.twice,
			BufferBytes:   unless(r.BufferBytes, defaultRetry.BufferBytes),
		}
		if r.On != model.CodeSet(defaultRetry.Codes) {
			m.Codes = r.On.List()
		}
	}
	return unlessEmpty(m)
}

// standardConditions are the codes that a standard retry policy can name (gRFC A44).
var standardConditions = []struct {
	code uint32
	name string
}{{1, "cancelled"}, {4, "deadline-exceeded"}, {8, "resource-exhausted"}, {13, "internal"}, {14, "unavailable"}}

// retryPolicy is for stock clients. They cannot tell calls that may be made twice
// from others, so there is none but where the operator says that all may. It is nil
// for none.
func (c conduct) retryPolicy() *routev3.RetryPolicy {
	r := c.retry()
	if r == nil && c.twice {
		r = &model.Retry{}
	}
	if !r.Retries() || r == nil || !r.Idempotent && !c.twice {
		return nil
	}
	on := r.On
	if on == 0 {
		on = model.CodeSet(defaultRetry.Codes)
	}
	var names []string
	for _, condition := range standardConditions {
		if on.Has(condition.code) {
			names = append(names, condition.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	attempts := r.Attempts
	if attempts == 0 {
		attempts = defaultRetry.Attempts
	}
	// grpc-go does not hold to the five attempts of gRFC A44 by itself.
	retries := min(attempts, resource.MaxAttempts) - 1
	m := &routev3.RetryPolicy{RetryOn: strings.Join(names, ","), NumRetries: wrapperspb.UInt32(retries)}
	if base, longest := r.Backoff.Bounds(); base != defaultRetry.BackoffBase || longest != defaultRetry.BackoffMax {
		m.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(base), MaxInterval: durationpb.New(longest)}
	}
	return m
}

func retryBudget(b *model.RetryBudget) *policyv1.RetryBudget {
	if b == nil {
		return nil
	}
	return unlessEmpty(&policyv1.RetryBudget{
		Percent:      exactNumber(b.Percent, defaultBudget.Percent),
		MinPerSecond: exactNumber(b.MinPerSecond, defaultBudget.MinPerSecond),
		Window:       length(b.Window, defaultBudget.Window),
	})
}
