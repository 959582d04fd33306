package call_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/mesh/call"
)

var full = &call.Error{
	Service: "voting", Reason: call.RateLimited, Code: codes.ResourceExhausted,
	Detail: "too many calls", Try: "fewer", RetryAfter: 50 * time.Millisecond,
}

func TestDetailsSayWhatTheTextSays(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  *call.Error
		want []any
	}{
		{"all of it", full, []any{
			&errdetails.ErrorInfo{Reason: "RATE_LIMITED", Domain: "tulle.mesh", Metadata: map[string]string{"service": "voting", "try": "fewer"}},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(50 * time.Millisecond)},
		}},
		{"as little as there is", &call.Error{Reason: call.Panicked, Code: codes.Internal}, []any{
			&errdetails.ErrorInfo{Reason: "PANICKED", Domain: "tulle.mesh"},
		}},
		{"the advice of a cause", &call.Error{Reason: call.NoEndpoint, Code: codes.DeadlineExceeded, Cause: full}, []any{
			&errdetails.ErrorInfo{Reason: "NO_ENDPOINT", Domain: "tulle.mesh", Metadata: map[string]string{"try": "fewer"}},
		}},
		{"nothing of OK", &call.Error{Reason: call.FaultInjected}, nil},
		{"nothing that is no text", &call.Error{Code: codes.Internal, Service: "\xff"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.err.GRPCStatus().Details(), protocmp.Transform(), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestACallerReadsTheReasonFromTheWire(t *testing.T) {
	listener := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return full }))
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(listener) })
	defer running.Wait()
	defer srv.Stop()
	conn, err := grpc.NewClient("passthrough:///voting", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	got := status.Convert(conn.Invoke(t.Context(), "/voting.v1.Voting/Vote", &emptypb.Empty{}, &emptypb.Empty{}))
	if diff := cmp.Diff(full.GRPCStatus().Proto(), got.Proto(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkGRPCStatus(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = full.GRPCStatus()
	}
}
