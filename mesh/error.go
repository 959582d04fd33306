package mesh

import "github.com/tulle-mesh/tulle/mesh/call"

// An Error is a call that the mesh ended itself, as opposed to an answer of the
// service it was made to. Calls return it as their error; find it with
// errors.As, or read its status code as that of any gRPC error.
type Error = call.Error

// A Reason says why the mesh ended a call.
type Reason = call.Reason

// The reasons; package call says what each means.
const (
	BadTarget      = call.BadTarget
	NoConfig       = call.NoConfig
	BadConfig      = call.BadConfig
	UnknownService = call.UnknownService
	NoRoute        = call.NoRoute
	NoEndpoint     = call.NoEndpoint
	Dropped        = call.Dropped
	MaxRequests    = call.MaxRequests
	RouteTimeout   = call.RouteTimeout
	FaultInjected  = call.FaultInjected
	AccessDenied   = call.AccessDenied
	NoIdentity     = call.NoIdentity
	NoPolicy       = call.NoPolicy

	MaxRequestsPerEndpoint = call.MaxRequestsPerEndpoint
	BreakerOpen            = call.BreakerOpen
	ClientRateLimited      = call.ClientRateLimited
	DeadlineTooShort       = call.DeadlineTooShort
	PerTryTimeout          = call.PerTryTimeout
	StreamIdle             = call.StreamIdle
	StreamAge              = call.StreamAge
	RateLimited            = call.RateLimited
	Overloaded             = call.Overloaded
	Panicked               = call.Panicked
)
