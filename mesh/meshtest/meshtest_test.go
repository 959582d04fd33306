package meshtest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A whole mesh in a test: two versions of a service, and a route between them.
func TestRoutesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		for _, version := range []string{"v1", "v2"} {
			m.ServeAs(mesh.Config{Service: "voting", Version: version}, func(s grpc.ServiceRegistrar) {
				s.RegisterService(versionService(version), struct{}{})
			})
		}
		conn := m.Client("mesh:///voting")
		for _, want := range []string{"v1", "v2"} {
			m.Apply(`
apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
---
apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: route}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules: [{backendRefs: [{name: voting, version: ` + want + `}]}]`)
			time.Sleep(time.Second)
			for range 10 {
				if got := version(t, conn); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
			}
		}
		m.Delete("GRPCRoute", "route")
		time.Sleep(time.Second)
		seen := map[string]bool{}
		for range 20 {
			seen[version(t, conn)] = true
		}
		if len(seen) != 2 {
			t.Errorf("without the route: %v, want both versions", seen)
		}
	})
}

func version(t *testing.T, conn *grpc.ClientConn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	answer := new(wrapperspb.StringValue)
	if err := conn.Invoke(ctx, "/tulle.test.Version/Version", wrapperspb.String(""), answer); err != nil {
		t.Fatal(err)
	}
	return answer.GetValue()
}

func versionService(version string) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "tulle.test.Version",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Version",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return wrapperspb.String(version), decode(new(wrapperspb.StringValue))
			},
		}},
	}
}
