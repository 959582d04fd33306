package interceptors

import (
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// explain puts the mesh's reason in place of grpc's words, where the mesh is why the
// call failed: rpc is its last attempt. What a service said stays as it is.
func (p *plan) explain(rpc *call.Call, err error) error {
	// io.EOF is how a stream says that it ended, not that it failed.
	if err == nil || err == io.EOF { //nolint:errorlint // grpc returns it bare, and it is on every stream's path
		return err
	}
	if failure, ok := err.(*call.Error); ok { //nolint:errorlint // one of ours within another error is the application's to word
		return failure
	}
	code := status.Code(err)
	if p.timedOut {
		return p.overdue(rpc.Failure, p.unanswered())
	}
	if code == codes.Canceled {
		return err // the application's doing, whatever the call was waiting for
	}
	if code == codes.DeadlineExceeded {
		if overrun, over := p.clock.Overrun(p.ctx, p.config.Service); over {
			if overrun != nil || rpc.Failure != nil {
				return p.overdue(rpc.Failure, overrun)
			}
			return err // the service was slow, and the application knows its own deadline
		}
	}
	if rpc.Failure != nil {
		return rpc.Failure
	}
	return err
}

// overdue is the error of a call whose time ran out on this side: overrun, nil where
// the deadline was the application's, and what the call waited for then, nil where it
// was sent.
func (p *plan) overdue(waited, overrun *call.Error) *call.Error {
	if waited == nil {
		return overrun
	}
	if overrun == nil {
		overrun = &call.Error{Service: p.config.Service, Code: codes.DeadlineExceeded, Detail: "deadline exceeded"}
	}
	overrun.Reason = waited.Reason
	overrun.Detail += " while the call waited for an endpoint"
	overrun.Try = waited.Try
	overrun.Cause = waited
	return overrun
}

// unanswered is the error of a call whose attempt ran out of its own time, and was not
// followed by another.
func (p *plan) unanswered() *call.Error {
	e := &call.Error{
		Service: p.config.Service,
		Reason:  call.PerTryTimeout,
		Code:    codes.DeadlineExceeded,
		Detail:  fmt.Sprintf("an attempt of the call to %q got no answer within its %v", p.config.Service, p.retry.PerTryTimeout),
		Try:     "a longer perTryTimeout in the route: xdsserver routes " + p.config.Service,
	}
	if p.denied {
		e.Detail += ", and the retry budget has none left"
		e.Try = "xdsserver explain " + p.config.Service + " --method " + p.method
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
