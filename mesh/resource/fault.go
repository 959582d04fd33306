package resource

import (
	"time"

	"google.golang.org/grpc/codes"
)

// A Fault delays or aborts a share of calls on purpose (gRFC A33). One without
// shares injects nothing, and as an override it switches off those of the
// places above it.
type Fault struct {
	// DelayPerMillion and AbortPerMillion are shares of calls, 0 to 1,000,000.
	DelayPerMillion uint32
	// Delay is how long a call is held back; unused where DelayByHeader is set.
	Delay           time.Duration
	AbortPerMillion uint32
	// AbortCode is what an aborted call ends with; unused where AbortByHeader is
	// set. OK ends it as though the server had sent OK and no message.
	AbortCode codes.Code
	// DelayByHeader and AbortByHeader let the caller ask for the fault, with
	// the x-envoy-fault-* headers, up to the shares above.
	DelayByHeader bool
	AbortByHeader bool
	// DelayUnit and AbortUnit are what one of the number in an
	// x-envoy-fault-*-percentage header is worth, per million: 10,000, 100 or 1,
	// as the share's own denominator on the wire. Zero where the caller cannot
	// ask.
	DelayUnit, AbortUnit uint32
	// MaxActive bounds the faults in progress in this process; zero means no
	// bound. It is the wire's unset; the wire's zero means no faults at all and
	// decodes to a Fault without shares.
	MaxActive uint32
}
