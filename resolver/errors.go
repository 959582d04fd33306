package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// Of the errors here those that time may heal are UNAVAILABLE, as in grpc-go's
// xDS resolver: gRFC A54 keeps NOT_FOUND and its like for the service's own use.

func unknownService(service string, cause error) *call.Error {
	return &call.Error{
		Service: service,
		Reason:  call.UnknownService,
		Code:    codes.Unavailable,
		Detail:  fmt.Sprintf("the control plane knows no service %q", service),
		Try:     "xdsserver endpoints, for those it knows",
		Cause:   cause,
	}
}

func badConfig(service string, cause error) *call.Error {
	return &call.Error{
		Service: service,
		Reason:  call.BadConfig,
		Code:    codes.Unavailable,
		Detail:  fmt.Sprintf("the configuration of %q cannot be used", service),
		Try:     "xdsserver check",
		Cause:   cause,
	}
}

// noConfig is the end of a call that waited, or would wait, for the first
// configuration. A cause names what is waited for by itself.
func noConfig(service string, waiting []string, cause error) *call.Error {
	detail := fmt.Sprintf("no configuration for %q yet", service)
	if len(waiting) > 0 && cause == nil {
		detail += ", it waits for " + strings.Join(waiting, ", ")
	}
	return &call.Error{
		Service: service,
		Reason:  call.NoConfig,
		Code:    codes.Unavailable,
		Detail:  detail,
		Try:     "xdsserver check",
		Cause:   cause,
	}
}

// interrupted is the end of a call whose context ended while it waited as
// failure says.
func interrupted(ctx context.Context, failure *call.Error, waited time.Duration) *call.Error {
	e := &call.Error{
		Service: failure.Service,
		Reason:  failure.Reason,
		Code:    codes.Canceled,
		Detail:  fmt.Sprintf("the application gave the call up after %v", waited.Round(time.Millisecond)),
		Cause:   failure,
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Code = codes.DeadlineExceeded
		e.Detail = fmt.Sprintf("deadline exceeded after %v", waited.Round(time.Millisecond))
	}
	return e
}

// stopped is the end of a call that would wait for what will not come.
func stopped(service string) *call.Error {
	return &call.Error{
		Service: service,
		Reason:  call.NoConfig,
		Code:    codes.Unavailable,
		Detail:  fmt.Sprintf("no configuration for %q: the mesh is closed", service),
		Try:     "close the mesh after its last call",
	}
}
