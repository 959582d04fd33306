package call

import (
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is that of the mesh's reasons, in google.rpc.ErrorInfo.
const Domain = "tulle.mesh"

// Reason says why the mesh itself ended a call. Its values are stable: programs
// may compare them.
type Reason string

// The reasons.
const (
	// BadTarget: the dial target names no service.
	BadTarget Reason = "BAD_TARGET"
	// NoConfig: the control plane has not answered and the disk remembers nothing.
	NoConfig Reason = "NO_CONFIG"
	// BadConfig: the control plane answered with what no client can use.
	BadConfig Reason = "BAD_CONFIG"
	// UnknownService: the control plane knows no service of that name.
	UnknownService Reason = "UNKNOWN_SERVICE"
	// NoRoute: no route of the service matches the call.
	NoRoute Reason = "NO_ROUTE"
	// NoEndpoint: the cluster has no endpoint that takes calls.
	NoEndpoint Reason = "NO_ENDPOINT"
	// Dropped: an operator's drop rule took the call.
	Dropped Reason = "DROPPED"
	// MaxRequests: the cluster's limit of concurrent calls is reached.
	MaxRequests Reason = "MAX_REQUESTS"
	// MaxRequestsPerEndpoint: each endpoint has its limit of concurrent calls.
	MaxRequestsPerEndpoint Reason = "MAX_REQUESTS_PER_ENDPOINT"
	// BreakerOpen: the service as a whole fails, and is given time.
	BreakerOpen Reason = "BREAKER_OPEN"
	// ClientRateLimited: this process makes more calls than its route lets it.
	ClientRateLimited Reason = "CLIENT_RATE_LIMITED"
	// DeadlineTooShort: what is left of the caller's deadline is less than the hop
	// costs.
	DeadlineTooShort Reason = "DEADLINE_TOO_SHORT"
	// PerTryTimeout: the last attempt got no answer in the time an attempt has.
	PerTryTimeout Reason = "PER_TRY_TIMEOUT"
	// StreamIdle: no message passed for as long as the route lets a stream be idle.
	StreamIdle Reason = "STREAM_IDLE"
	// StreamAge: the stream is old and its endpoint has more than its share.
	StreamAge Reason = "STREAM_AGE"
	// RateLimited: the server takes no more calls a second. It is the server's mesh
	// that says so, as it says the next two.
	RateLimited Reason = "RATE_LIMITED"
	// Overloaded: the server runs as many calls as it can.
	Overloaded Reason = "OVERLOADED"
	// Panicked: the service's handler panicked.
	Panicked Reason = "PANICKED"
	// RouteTimeout: the route's timeout ran out while the service had the call.
	RouteTimeout Reason = "ROUTE_TIMEOUT"
	// FaultInjected: an operator's fault rule ended the call on purpose.
	FaultInjected Reason = "FAULT_INJECTED"
	// AccessDenied: no rule of the called service lets the caller make the call.
	// It is the server's mesh that says so, as it says the two that follow: a
	// client sees their code and text.
	AccessDenied Reason = "ACCESS_DENIED"
	// NoIdentity: the caller has no identity, or one that has expired.
	NoIdentity Reason = "NO_IDENTITY"
	// NoPolicy: the server does not know yet whom it may let in.
	NoPolicy Reason = "NO_POLICY"
)

// reasons are all of them, in an order that does not matter.
var reasons = [...]Reason{
	BadTarget, NoConfig, BadConfig, UnknownService, NoRoute, NoEndpoint, Dropped, MaxRequests, MaxRequestsPerEndpoint,
	BreakerOpen, ClientRateLimited, DeadlineTooShort, PerTryTimeout, StreamIdle, StreamAge, RateLimited, Overloaded,
	Panicked, RouteTimeout, FaultInjected, AccessDenied, NoIdentity, NoPolicy,
}

// Reasons are how many reasons there are; see [Reason.Index].
const Reasons = len(reasons)

// Index is the reason's place among all, below [Reasons], for who counts by it; -1 for
// what is none. Places may differ from one version to the next.
func (r Reason) Index() int { return slices.Index(reasons[:], r) }

// ReasonAt returns the reason at a place.
func ReasonAt(i int) Reason { return reasons[i] }

// An Error is a call that the mesh ended, not the service it was made to. It is
// immutable, and a gRPC status error of its Code.
type Error struct {
	// Service is the target's service, "name" or "name.namespace".
	Service string
	Reason  Reason
	// Code is the call's status; it is never OK in an error an application sees.
	Code codes.Code
	// Detail says what is wrong, in lower case. It names the service where a
	// reader needs it: Error does not add it.
	Detail string
	// Try says what to do about it; may be empty.
	Try string
	// RetryAfter is how long to wait before another attempt has a chance, as the
	// refusing side sees it; zero says nothing. On the wire it is the detail
	// google.rpc.RetryInfo.
	RetryAfter time.Duration
	// Cause is what lies beneath; may be nil.
	Cause error
}

var _ error = (*Error)(nil)

// Error returns `mesh: <detail>: <cause>; try: <try>`, one sentence. Where the
// cause is an Error too, the prefix is said once and its advice is given when e
// has none.
func (e *Error) Error() string {
	var b strings.Builder
	e.write(&b)
	return b.String()
}

// write writes what Error returns, and returns its advice.
func (e *Error) write(b *strings.Builder) (try string) {
	b.WriteString("mesh: ")
	try = e.describe(b)
	if try != "" {
		b.WriteString("; try: ")
		b.WriteString(try)
	}
	return try
}

// describe writes the details of e and its causes, and returns the advice of
// the outermost that has any.
func (e *Error) describe(b *strings.Builder) (try string) {
	b.WriteString(e.Detail)
	switch cause := e.Cause.(type) { //nolint:errorlint // a wrapped Error words itself through its wrapper
	case nil:
	case *Error:
		b.WriteString(": ")
		try = cause.describe(b)
	default:
		b.WriteString(": ")
		b.WriteString(cause.Error())
	}
	if e.Try != "" {
		return e.Try
	}
	return try
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// GRPCStatus makes the error a gRPC status error, whose details say in a form for
// programs what Error says for people: google.rpc.ErrorInfo with the reason, the
// domain [Domain] and, in its metadata, "service" and "try"; and google.rpc.RetryInfo
// where RetryAfter is known. They go to whoever called, over the wire.
//
// They are made anew each time: who only wants the code reads the field.
func (e *Error) GRPCStatus() *status.Status {
	var b strings.Builder
	try := e.write(&b)
	st := status.New(e.Code, b.String())
	if e.Code == codes.OK {
		return st // has no details
	}
	info := &errdetails.ErrorInfo{Reason: string(e.Reason), Domain: Domain, Metadata: make(map[string]string, 2)}
	if e.Service != "" {
		info.Metadata["service"] = e.Service
	}
	if try != "" {
		info.Metadata["try"] = try
	}
	details := append(make([]protoadapt.MessageV1, 0, 2), info)
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	detailed, err := st.WithDetails(details...)
	if err != nil {
		return st // what is not UTF-8 cannot be a detail
	}
	return detailed
}

// Code returns the status code of an error that grpc or the mesh returned, OK for none.
// It makes no details, as status.Code would of an [Error].
func Code(err error) codes.Code {
	switch e := err.(type) { //nolint:errorlint // what wraps another is for status.Code
	case nil:
		return codes.OK
	case *Error:
		return e.Code
	default:
		return status.Code(err)
	}
}

// AsError returns the mesh's error in err's chain, or nil.
func AsError(err error) *Error {
	e, _ := errors.AsType[*Error](err)
	return e
}
