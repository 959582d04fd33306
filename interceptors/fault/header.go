package fault

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// The headers of gRFC A33, "Header matching". They are sent on as they are.
const (
	headerDelay        = "x-envoy-fault-delay-request"            // milliseconds
	headerDelayPercent = "x-envoy-fault-delay-request-percentage" // in units of the policy's share
	headerAbortHTTP    = "x-envoy-fault-abort-request"            // HTTP status, 200 to 599
	headerAbortGRPC    = "x-envoy-fault-abort-grpc-request"       // gRPC status code
	headerAbortPercent = "x-envoy-fault-abort-request-percentage" // in units of the policy's share
)

// delayOf is how long the call is delayed; zero for most.
func delayOf(ctx context.Context, policy *resource.Fault) time.Duration {
	share, delay := policy.DelayPerMillion, policy.Delay
	if share == 0 {
		return 0
	}
	if policy.DelayByHeader {
		ms, ok := header(ctx, headerDelay)
		if !ok {
			return 0
		}
		delay = time.Duration(ms) * time.Millisecond
		share = capped(ctx, headerDelayPercent, share, policy.DelayUnit)
	}
	if delay <= 0 || !hit(share) {
		return 0
	}
	return delay
}

// abortOf is the code the call is aborted with, and whether it is aborted.
func abortOf(ctx context.Context, policy *resource.Fault) (codes.Code, bool) {
	share, code := policy.AbortPerMillion, policy.AbortCode
	if share == 0 {
		return codes.OK, false
	}
	if policy.AbortByHeader {
		var ok bool
		if code, ok = askedCode(ctx); !ok {
			return codes.OK, false
		}
		share = capped(ctx, headerAbortPercent, share, policy.AbortUnit)
	}
	return code, hit(share)
}

// askedCode is the code the caller asks for. Of the two headers that of HTTP
// comes first, as in grpc-go.
func askedCode(ctx context.Context) (codes.Code, bool) {
	if v := metadata.ValueFromOutgoingContext(ctx, headerAbortHTTP); len(v) > 0 {
		n, ok := number(v)
		if !ok {
			return codes.OK, false
		}
		return fromHTTP(n)
	}
	n, ok := header(ctx, headerAbortGRPC)
	if !ok {
		return codes.OK, false
	}
	if n > uint64(codes.Unauthenticated) {
		return codes.Unknown, true
	}
	return codes.Code(n), true
}

// fromHTTP maps as a gRPC client does when a proxy answers in place of the
// server (grpc/doc/http-grpc-status-mapping.md). 200 is UNKNOWN like the rest:
// it came without a gRPC status.
func fromHTTP(status uint64) (codes.Code, bool) {
	switch {
	case status < 200 || status > 599:
		return codes.OK, false
	case status == 400:
		return codes.Internal, true
	case status == 401:
		return codes.Unauthenticated, true
	case status == 403:
		return codes.PermissionDenied, true
	case status == 404:
		return codes.Unimplemented, true
	case status == 429 || status >= 502 && status <= 504:
		return codes.Unavailable, true
	default:
		return codes.Unknown, true
	}
}

// header is the number in a header; false where it is absent or none.
func header(ctx context.Context, name string) (uint64, bool) {
	return number(metadata.ValueFromOutgoingContext(ctx, name))
}

// number is the last of a header's values, which is the one that counts. 32
// bits hold all of them: 49 days of delay are enough.
func number(values []string) (uint64, bool) {
	if len(values) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(values[len(values)-1], 10, 32)
	return n, err == nil
}

// capped is the share the caller asks for in steps of unit, at most the policy's.
// A header that is absent or no number leaves the policy's.
func capped(ctx context.Context, name string, share, unit uint32) uint32 {
	n, ok := header(ctx, name)
	if !ok {
		return share
	}
	return uint32(min(uint64(share), n*uint64(cmp.Or(unit, percent))))
}

// percent is one of a hundred in parts per million.
const percent = 10_000
