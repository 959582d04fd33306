package interceptors

import (
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// explain puts the mesh's reason in place of grpc's words, where the mesh is
// why the call failed.
func explain(rpc *call.Call, service string, limit limit, err error) error {
	// io.EOF is how a stream says that it ended, not that it failed.
	if err == nil || err == io.EOF { //nolint:errorlint // grpc returns it bare, and it is on every stream's path
		return err
	}
	code := status.Code(err)
	if code == codes.Canceled {
		return err // the application's doing, whatever the call was waiting for
	}
	if code == codes.DeadlineExceeded {
		if timeout, spent := limit.spent(rpc.Context); spent {
			return overdue(rpc.Failure, service, timeout, err)
		}
	}
	if rpc.Failure != nil {
		return rpc.Failure
	}
	return err
}

// overdue is the error of a call whose deadline ran out on this side.
func overdue(failure *call.Error, service string, timeout time.Duration, err error) error {
	if failure == nil && timeout == 0 {
		return err // the service was slow, and the application knows its own deadline
	}
	e := &call.Error{
		Service: service,
		Reason:  call.RouteTimeout,
		Code:    codes.DeadlineExceeded,
		Detail:  "deadline exceeded",
	}
	if timeout > 0 {
		e.Detail = fmt.Sprintf("the route's timeout of %v for %q ran out", timeout, service)
		e.Try = "a longer timeout in the route: xdsserver get routes"
	}
	if failure != nil {
		e.Reason = failure.Reason
		e.Detail += " while the call waited for an endpoint"
		e.Try = failure.Try
		e.Cause = failure
	}
	return e
}

// cardinality is the error of a call that failed before it was sent, for RPCs
// that end with exactly one reply: an injected status OK brings none, which
// such an RPC cannot report as success (gRFC A33, "200/OK Error Injection").
func cardinality(failure *call.Error) error {
	if failure.Code != codes.OK {
		return failure
	}
	e := *failure
	e.Code = codes.Internal
	e.Detail += ", and with it no reply"
	return &e
}
