package call_test

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
)

func TestUnhandledIsWhatTheServersMeshRefused(t *testing.T) {
	// As it comes over the wire: a status, and no *call.Error.
	sent := func(e call.Error) error { return e.GRPCStatus().Err() }
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"overloaded", sent(call.Error{Service: "voting", Reason: call.Overloaded, Code: codes.ResourceExhausted}), true},
		{"above its rate", sent(call.Error{Service: "voting", Reason: call.RateLimited, Code: codes.ResourceExhausted}), true},
		{"without a policy yet", sent(call.Error{Service: "voting", Reason: call.NoPolicy, Code: codes.Unavailable}), true},
		{"of another service, handed on", sent(call.Error{Service: "emoji", Reason: call.Overloaded, Code: codes.ResourceExhausted}), false},
		{"a panic of its handler", sent(call.Error{Service: "voting", Reason: call.Panicked, Code: codes.Internal}), false},
		{"a reason of the client's", sent(call.Error{Service: "voting", Reason: call.MaxRequests, Code: codes.Unavailable}), false},
		{"the service's own answer", status.Error(codes.ResourceExhausted, "no"), false},
		{"no status", errors.New("no"), false},
		{"success", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := call.Unhandled(tt.err, "voting"); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
