package xdsclient

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/status"
)

// errStopped is why nothing comes any more once Run has returned.
var errStopped = errors.New("xdsclient: the client has stopped")

// A NotFoundError says that the server has no resource of that name. As a
// [State]'s Err no value was ever held; as its Ambient the last good one is kept.
type NotFoundError struct {
	// Type is the resource's type URL.
	Type, Name string
	// Server is the target that said so.
	Server string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("xdsclient: %s is not known to %s", resourceText(e.Type, e.Name), e.Server)
}

// A RejectedError says that what the server sent cannot be used: it was
// answered with a NACK.
type RejectedError struct {
	// Type is the resource's type URL.
	Type, Name string
	// Version is the refused version.
	Version string
	// Reason is what the decoder said.
	Reason error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("xdsclient: %s, version %q, was refused: %v", resourceText(e.Type, e.Name), e.Version, e.Reason)
}

// Unwrap returns the reason.
func (e *RejectedError) Unwrap() error { return e.Reason }

// A ServerError is what the server itself says is wrong with a resource it has
// (xRFC TP3, resource_errors).
type ServerError struct {
	// Type is the resource's type URL.
	Type, Name string
	// Cause is the server's status.
	Cause error
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("xdsclient: %s: the server reports: %v", resourceText(e.Type, e.Name), e.Cause)
}

// Unwrap returns the server's status.
func (e *ServerError) Unwrap() error { return e.Cause }

// An UnavailableError says that no server has answered for the resource and the
// disk remembers nothing. It is a [State]'s Err while Known is still false: an
// answer may yet come.
type UnavailableError struct {
	// Type is the resource's type URL.
	Type, Name string
	// Cause names the server and says why it does not answer.
	Cause error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("xdsclient: %s: no server answers and the disk remembers nothing: %v", resourceText(e.Type, e.Name), e.Cause)
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// resourceText names a resource for people: `Cluster "voting"`.
func resourceText(typeURL, name string) string {
	return fmt.Sprintf("%s %q", typeURL[strings.LastIndexAny(typeURL, "./")+1:], name)
}

// describe turns an RPC's error into words without grpc's "rpc error:" frame,
// and keeps it as the cause.
func describe(target string, err error) error {
	return &serverFailure{target: target, err: err}
}

type serverFailure struct {
	target string
	err    error
}

func (e *serverFailure) Error() string {
	if s, ok := status.FromError(e.err); ok {
		return fmt.Sprintf("%s: %s: %s", e.target, strings.ToLower(s.Code().String()), s.Message())
	}
	return fmt.Sprintf("%s: %v", e.target, e.err)
}

func (e *serverFailure) Unwrap() error { return e.err }
