package mesh_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/call"
)

func TestCallOptionsSayWhatWasWritten(t *testing.T) {
	ignore := cmpopts.IgnoreTypes(grpc.EmptyCallOption{})
	for _, tt := range []struct {
		name      string
		got, want grpc.CallOption
	}{
		{
			"a retry",
			mesh.WithRetry(mesh.Retry{Attempts: 3, PerTryTimeout: time.Second, On: []codes.Code{codes.Unavailable, codes.Aborted}, Idempotent: true}),
			call.RetryOption{Retry: call.Retry{Attempts: 3, PerTryTimeout: time.Second, Codes: []uint32{14, 10}, Idempotent: true}},
		},
		{"no retry", mesh.NoRetry(), call.RetryOption{Retry: call.Retry{Attempts: 1}}},
		{
			"a retry of nonsense is the route's",
			mesh.WithRetry(mesh.Retry{Attempts: -1, PerTryTimeout: -time.Second}),
			call.RetryOption{},
		},
		{"a hedge", mesh.WithHedge(time.Second), call.HedgeOption{Delay: time.Second}},
		{"a hedge of nonsense is none", mesh.WithHedge(-time.Second), call.HedgeOption{}},
		{"no hedge", mesh.NoHedge(), call.HedgeOption{}},
		{"a hash key", mesh.WithHashKey("user-7"), call.HashKeyOption{Key: "user-7"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.got, ignore); diff != "" {
				t.Error(diff)
			}
		})
	}
}
