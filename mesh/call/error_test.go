package call_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
)

func TestErrorText(t *testing.T) {
	dial := errors.New("dial tcp 10.0.0.7:8080: connection refused")
	none := &call.Error{
		Reason: call.NoEndpoint,
		Code:   codes.Unavailable,
		Detail: `no healthy endpoint for "voting"`,
		Try:    "xdsserver endpoints voting",
	}
	for _, tt := range []struct {
		name string
		err  *call.Error
		want string
	}{
		{
			"a detail stands alone",
			&call.Error{Detail: "no route matches"},
			"mesh: no route matches",
		},
		{
			"advice comes last",
			none,
			`mesh: no healthy endpoint for "voting"; try: xdsserver endpoints voting`,
		},
		{
			"a cause stands between detail and advice",
			&call.Error{Detail: "no configuration", Cause: dial, Try: "start xdsserver"},
			"mesh: no configuration: dial tcp 10.0.0.7:8080: connection refused; try: start xdsserver",
		},
		{
			"an error of the mesh beneath says neither prefix nor advice twice",
			&call.Error{Detail: "deadline exceeded", Cause: none},
			`mesh: deadline exceeded: no healthy endpoint for "voting"; try: xdsserver endpoints voting`,
		},
		{
			"the outer advice wins",
			&call.Error{Detail: "deadline exceeded", Cause: none, Try: "a longer deadline"},
			`mesh: deadline exceeded: no healthy endpoint for "voting"; try: a longer deadline`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("Error() =\n\t%s\nwant\n\t%s", got, tt.want)
			}
		})
	}
}

func TestAnErrorIsAStatusError(t *testing.T) {
	err := error(&call.Error{Reason: call.MaxRequests, Code: codes.Unavailable, Detail: "too many calls"})

	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.Unavailable || st.Message() != "mesh: too many calls" {
		t.Errorf("status.FromError = %v, %v", st, ok)
	}
	if got := status.Code(fmt.Errorf("vote: %w", err)); got != codes.Unavailable {
		t.Errorf("the code of a wrapped error = %v", got)
	}
}

func TestWhenToTryAgainIsADetail(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		want  time.Duration // of google.rpc.RetryInfo; zero for none
	}{
		{"an error that says nothing has none", 0, 0},
		{"an error that says when", 1500 * time.Millisecond, 1500 * time.Millisecond},
	} {
		var got time.Duration
		for _, d := range (&call.Error{Code: codes.ResourceExhausted, Detail: "full", RetryAfter: tt.after}).GRPCStatus().Details() {
			if info, ok := d.(*errdetails.RetryInfo); ok {
				got = info.GetRetryDelay().AsDuration()
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if st := (&call.Error{Detail: "as though it had sent OK", RetryAfter: 1}).GRPCStatus(); st.Code() != codes.OK {
		t.Errorf("OK became %v", st)
	}
}

func TestAsError(t *testing.T) {
	cause := errors.New("beneath")
	mesh := &call.Error{Reason: call.NoRoute, Cause: cause}

	if got := call.AsError(fmt.Errorf("vote: %w", mesh)); got != mesh {
		t.Errorf("AsError of a wrapped error = %v", got)
	}
	if got := call.AsError(status.Error(codes.Unavailable, "of the service")); got != nil {
		t.Errorf("AsError of a service's error = %v, want nil", got)
	}
	if got := call.AsError(nil); got != nil {
		t.Errorf("AsError(nil) = %v", got)
	}
	if !errors.Is(mesh, cause) {
		t.Error("the cause is not in the chain")
	}
}
