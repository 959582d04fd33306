package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// Tap streams the lines of Tap.SERVICE.jsonl, and is over. Tap.log has a line for each
// request.
func (f *filesServer) Tap(_ context.Context, req *adminv1.TapRequest, stream *connect.ServerStream[adminv1.TapResponse]) error {
	var conditions []string
	for key, value := range req.GetMetadata() {
		conditions = append(conditions, key+"="+value)
	}
	slices.Sort(conditions)
	asked := fmt.Sprintf("service=%s instance=%s to=%s from=%s method=%s metadata=%s failures=%v rps=%v payload=%v for=%v\n",
		req.GetService(), req.GetInstance(), req.GetTo(), req.GetFrom(), req.GetMethod(), strings.Join(conditions, ","),
		req.GetFailures(), req.GetMaxRps(), req.GetPayload(), req.GetDuration().AsDuration())
	if err := os.WriteFile(filepath.Join(f.dir, "Tap.log"), []byte(asked), 0o600); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(f.dir, "Tap."+filepath.Base(req.GetService())+".jsonl"))
	if err != nil {
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("no service is named %q", req.GetService()))
	}
	for line := range strings.Lines(strings.TrimSpace(string(b))) {
		m := new(adminv1.TapResponse)
		if err := protojson.Unmarshal([]byte(line), m); err != nil {
			return err
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (f *filesServer) ListCommands(context.Context, *adminv1.ListCommandsRequest) (*adminv1.ListCommandsResponse, error) {
	return answer(f, "ListCommands", &adminv1.ListCommandsResponse{})
}

// SetLog says that it reaches three.
func (*filesServer) SetLog(context.Context, *adminv1.SetLogRequest) (*adminv1.SetLogResponse, error) {
	return &adminv1.SetLogResponse{Processes: 3, Until: &timestamppb.Timestamp{Seconds: 1e9}}, nil
}
