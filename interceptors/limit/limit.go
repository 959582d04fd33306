// Package limit refuses the calls that a server's rate limits do not let through.
//
//	limits := limit.Compile(admission.RateLimits, limits, time.Now())
//	refused := limits.Admit(ctx, &limit.Call{Service: "voting", Caller: id, Method: method}, time.Now())
//
// Limits are of one server, in memory: a service of three instances takes three times
// as much. They count all calls, or apart those of each caller, method or value of
// some metadata. A call that one limit refuses takes nothing from the others: a caller
// that is over its own does not use up what is there for all.
//
// The package counts no calls that run at once, see interceptors/shed, nor what a
// client lets itself send.
package limit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/interceptors/rate"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Limits are the rate limits of a server with what they have counted. They are made by
// [Compile] and safe for concurrent use; nil lets all through.
type Limits struct {
	limits []*limit
}

// A Call is what limits go by, beside its metadata.
type Call struct {
	// Service is the server's own, for the refusal.
	Service string
	// Caller is the caller's SPIFFE id; empty for one without.
	Caller string
	// Method is as in "/package.Service/Method".
	Method string
}

// A limit is one rate limit.
type limit struct {
	resource.RateLimit

	all  *rate.Limiter // of resource.PerTotal
	keys *keys         // of the others
}

// Compile returns the limits of policy, nil for none. Those that previous, which may
// be nil, has in the same words keep what they have counted: a change of something
// else lets nobody have another burst.
func Compile(policy []resource.RateLimit, previous *Limits, now time.Time) *Limits {
	if len(policy) == 0 {
		return nil
	}
	l := &Limits{limits: make([]*limit, len(policy))}
	for i := range policy {
		l.limits[i] = previous.find(&policy[i])
		if l.limits[i] == nil {
			l.limits[i] = newLimit(&policy[i], now)
		}
	}
	// What is asked for first is what costs least: totals look at no map.
	slices.SortStableFunc(l.limits, func(a, b *limit) int { return int(a.Per) - int(b.Per) })
	return l
}

func newLimit(policy *resource.RateLimit, now time.Time) *limit {
	l := &limit{RateLimit: *policy}
	if policy.Per == resource.PerTotal {
		l.all = rate.New(policy.Rate, now)
	} else {
		l.keys = newKeys(policy.Rate, MaxKeys, now)
	}
	return l
}

// find returns the limit of the same words, nil where there is none.
func (l *Limits) find(policy *resource.RateLimit) *limit {
	if l == nil {
		return nil
	}
	for _, one := range l.limits {
		if one.Name == policy.Name && one.Per == policy.Per && one.MetadataKey == policy.MetadataKey && one.Rate == policy.Rate &&
			slices.Equal(one.Methods, policy.Methods) && slices.Equal(one.Callers, policy.Callers) {
			return one
		}
	}
	return nil
}

// Admit takes one call, whose metadata is that of ctx, from all limits that are for
// it, or returns RESOURCE_EXHAUSTED and takes nothing. A call that is let through
// costs no allocation, but for the value of metadata that some limit counts by.
func (l *Limits) Admit(ctx context.Context, c *Call, now time.Time) *call.Error {
	if l == nil {
		return nil
	}
	var some [8]*rate.Limiter
	taken := some[:0]
	for _, one := range l.limits {
		if !one.isFor(c) {
			continue
		}
		limiter := one.of(ctx, c, now)
		ok, after := limiter.Allow(now)
		if ok {
			taken = append(taken, limiter)
			continue
		}
		for _, t := range taken {
			t.Return()
		}
		return one.refused(c, after)
	}
	return nil
}

// isFor reports whether the limit counts the call.
func (l *limit) isFor(c *Call) bool {
	return (len(l.Callers) == 0 || c.Caller != "" && slices.Contains(l.Callers, c.Caller)) &&
		(len(l.Methods) == 0 || slices.ContainsFunc(l.Methods, func(m string) bool { return matches(m, c.Method) }))
}

// matches reports whether a method is the pattern's, "/package.Service/*" for all of
// a service.
func matches(pattern, method string) bool {
	service, all := strings.CutSuffix(pattern, "*")
	if !all {
		return method == pattern
	}
	return strings.HasPrefix(method, service)
}

// of returns what the call is counted by.
func (l *limit) of(ctx context.Context, c *Call, now time.Time) *rate.Limiter {
	switch l.Per {
	case resource.PerIdentity:
		return l.keys.get(c.Caller, now)
	case resource.PerMethod:
		return l.keys.get(c.Method, now)
	case resource.PerMetadata:
		// The first of several values, as of one that a caller sends twice.
		if values := metadata.ValueFromIncomingContext(ctx, l.MetadataKey); len(values) > 0 {
			return l.keys.get(values[0], now)
		}
		return l.keys.get("", now)
	default:
		return l.all
	}
}

// refused is the end of a call that the limit does not let through. What the caller
// sent is not repeated: it knows, and logs need not hold it.
func (l *limit) refused(c *Call, after time.Duration) *call.Error {
	of := ""
	switch l.Per {
	case resource.PerIdentity:
		of = " of one caller"
	case resource.PerMethod:
		of = " of one method"
	case resource.PerMetadata:
		of = " of one " + l.MetadataKey
	default:
	}
	return &call.Error{
		Service: c.Service,
		Reason:  call.RateLimited,
		Code:    codes.ResourceExhausted,
		Detail:  fmt.Sprintf("rate limit %q of %s: it takes %g calls a second%s, %d at once", l.Name, c.Service, l.Rate.PerSecond, of, l.Rate.Burst),
		Try: fmt.Sprintf("call again after %v; the limits: xdsserver routes %s -o wide",
			max(time.Millisecond, after.Round(time.Millisecond)), c.Service),
		RetryAfter: after,
	}
}
