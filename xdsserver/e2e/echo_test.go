package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
)

// whereMethod answers with the version and the address of who took the call.
const whereMethod = "/tulle.e2e.Echo/Where"

// An echo fails a share of its calls, as a service that is not well, and takes its time:
// from half of takes to twice that, as often below as above.
type echo struct {
	version, address string
	fails            float64
	takes            time.Duration
}

func (e *echo) work(ctx context.Context) {
	if e.takes <= 0 {
		return
	}
	timer := time.NewTimer(time.Duration(float64(e.takes) * math.Exp2(2*rand.Float64()-1)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// echoService is written by hand: the stock client calls it without our protobuf.
var echoService = grpc.ServiceDesc{
	ServiceName: "tulle.e2e.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Where",
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(new(wrapperspb.StringValue)); err != nil {
				return nil, err
			}
			e, _ := srv.(*echo)
			e.work(ctx)
			if rand.Float64() < e.fails {
				return nil, status.Error(codes.Unavailable, "fails on purpose")
			}
			return wrapperspb.String(e.version + " " + e.address), nil
		},
	}},
}

// serveEcho is the whole of a service's process.
func serveEcho(ctx context.Context) error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := mesh.NewServer()
	fails, err := strconv.ParseFloat(cmp.Or(os.Getenv("TULLE_E2E_FAILS"), "0"), 64)
	if err != nil {
		return err
	}
	takes, err := time.ParseDuration(cmp.Or(os.Getenv("TULLE_E2E_TAKES"), "0s"))
	if err != nil {
		return err
	}
	srv.RegisterService(&echoService, &echo{version: os.Getenv("TULLE_VERSION"), address: lis.Addr().String(), fails: fails, takes: takes})
	stopped := make(chan struct{})
	context.AfterFunc(ctx, func() {
		srv.GracefulStop()
		close(stopped)
	})
	fmt.Println(lis.Addr())
	if err := srv.Serve(lis); err != nil {
		return err
	}
	<-stopped
	return nil
}

// where makes one call.
func where(ctx context.Context, cc grpc.ClientConnInterface, opts ...grpc.CallOption) (version, address string, err error) {
	var answer wrapperspb.StringValue
	if err := cc.Invoke(ctx, whereMethod, wrapperspb.String(""), &answer, opts...); err != nil {
		return "", "", err
	}
	version, address, _ = strings.Cut(answer.GetValue(), " ")
	return version, address, nil
}

// firstCall is what a caller's process reports.
type firstCall struct {
	// Took is from the start of joining to the first answer.
	Took  time.Duration
	Stale bool
	Since time.Time
	Err   string
}

// callOnce is a process that joins, makes one call and says how it went.
func callOnce(ctx context.Context) error {
	start := time.Now()
	var report firstCall
	conn, err := mesh.NewClient("mesh:///" + os.Getenv("TULLE_E2E_TARGET"))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, _, err := where(ctx, conn); err != nil {
		report.Err = err.Error()
	}
	report.Took = time.Since(start)
	m, err := mesh.Default()
	if err != nil {
		return err
	}
	status := m.Status()
	report.Stale, report.Since = status.Stale, status.StaleSince
	if err := m.Close(); err != nil { // keeps the configuration on disk
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}
