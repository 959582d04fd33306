package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// A filesServer answers what stands in files of a directory, METHOD.json or
// METHOD.SERVICE.json, with $VARIABLES: what traffic comes to is the same in each run.
type filesServer struct {
	adminv1connect.UnimplementedAdminServiceHandler
	dir string
}

// fakeAdmin serves files: fakeadmin DIR.
func fakeAdmin(ctx context.Context) int {
	mux := http.NewServeMux()
	mux.Handle(adminv1connect.NewAdminServiceHandler(&filesServer{dir: os.Args[1]}))
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", os.Getenv("ADMIN"))
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stop()
		err = server.Serve(lis)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// answer reads a file; without one there is nothing of this name.
func answer[M proto.Message](f *filesServer, file string, m M) (M, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, filepath.Base(file)+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, connect.NewError(connect.CodeNotFound, fmt.Errorf("no service is named like %s", file))
	}
	if err == nil {
		err = protojson.Unmarshal([]byte(os.ExpandEnv(string(b))), m)
	}
	return m, err
}

func (f *filesServer) GetGraph(context.Context, *adminv1.GetGraphRequest) (*adminv1.GetGraphResponse, error) {
	return answer(f, "GetGraph", &adminv1.GetGraphResponse{})
}

func (f *filesServer) GetServiceStats(_ context.Context, req *adminv1.GetServiceStatsRequest) (*adminv1.GetServiceStatsResponse, error) {
	return answer(f, "GetServiceStats."+req.GetService(), &adminv1.GetServiceStatsResponse{})
}

func (f *filesServer) ListRoutes(_ context.Context, req *adminv1.ListRoutesRequest) (*adminv1.ListRoutesResponse, error) {
	return answer(f, "ListRoutes."+req.GetService(), &adminv1.ListRoutesResponse{})
}

func (f *filesServer) List(context.Context, *adminv1.ListRequest) (*adminv1.ListResponse, error) {
	return answer(f, "List", &adminv1.ListResponse{})
}

func (f *filesServer) ListEndpoints(context.Context, *adminv1.ListEndpointsRequest) (*adminv1.ListEndpointsResponse, error) {
	return answer(f, "ListEndpoints", &adminv1.ListEndpointsResponse{})
}

// GetStatus says that it is now.
func (f *filesServer) GetStatus(context.Context, *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	status, err := answer(f, "GetStatus", &adminv1.GetStatusResponse{})
	if status.GetSecurity() != nil {
		status.Security.Now = timestamppb.Now()
	}
	return status, err
}
