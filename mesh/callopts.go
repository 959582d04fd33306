package mesh

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// A Retry says when one call is tried again, in place of what its route says.
// Fields that are zero are the route's.
type Retry struct {
	// Attempts in all, the first included; 1 is no retry, more than 5 are 5.
	Attempts int
	// PerTryTimeout bounds each attempt but the last.
	PerTryTimeout time.Duration
	// On are the status codes that are tried again.
	On []codes.Code
	// Idempotent is whether the call may be made twice. Otherwise it is tried again
	// only where it was certainly not sent, or where the method says in its protobuf
	// definition (idempotency_level), or the operator in the route, that it may.
	Idempotent bool
}

// WithRetry is an option of one call: it is tried again as r says. The retry budget
// of the service holds all the same.
func WithRetry(r Retry) grpc.CallOption {
	o := call.RetryOption{Retry: call.Retry{
		Attempts:      uint32(max(r.Attempts, 0)),
		PerTryTimeout: max(r.PerTryTimeout, 0),
		Idempotent:    r.Idempotent,
	}}
	for _, c := range r.On {
		o.Retry.Codes = append(o.Retry.Codes, uint32(c))
	}
	return o
}

// NoRetry is an option of one call: it is made once.
func NoRetry() grpc.CallOption { return WithRetry(Retry{Attempts: 1}) }

// WithHedge is an option of one unary call that may be made twice: another attempt
// is made if there is no answer after delay, and the first answer counts. A delay
// that is not above zero is [NoHedge].
func WithHedge(delay time.Duration) grpc.CallOption {
	return call.HedgeOption{Delay: max(delay, 0)}
}

// NoHedge is an option of one call: it is not hedged, whatever its route says.
func NoHedge() grpc.CallOption { return call.HedgeOption{} }

// WithHashKey is an option of one call: where the service is balanced by ring-hash,
// calls with one key go to one endpoint for as long as it is there. It comes before
// the header that the service's configuration names.
func WithHashKey(key string) grpc.CallOption { return call.HashKeyOption{Key: key} }
