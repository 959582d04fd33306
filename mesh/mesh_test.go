package mesh_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// named is an instance that answers with its name.
func named(name string) func(grpc.ServiceRegistrar) {
	return func(s grpc.ServiceRegistrar) {
		s.RegisterService(&grpc.ServiceDesc{
			ServiceName: "tulle.test.Name",
			HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{
				MethodName: "Name",
				Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
					return wrapperspb.String(name), decode(new(wrapperspb.StringValue))
				},
			}},
		}, struct{}{})
	}
}

func ask(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, "/tulle.test.Name/Name", wrapperspb.String(""), answer, opts...)
	return answer.GetValue(), err
}

// askUntil asks every 10 ms for as long as d, and returns who answered how often.
func askUntil(t *testing.T, conn *grpc.ClientConn, d time.Duration) map[string]int {
	t.Helper()
	answers := map[string]int{}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		name, err := ask(t.Context(), conn)
		if err != nil {
			t.Fatalf("a call failed: %v", err)
		}
		answers[name]++
	}
	return answers
}

func TestCallsGoOnForFiveMinutesWithoutControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		a := m.Serve("voting", named("a"))
		m.Serve("voting", named("b"))
		caller := m.Join(mesh.Config{Service: "web"})
		conn, err := caller.NewClient("mesh:///voting")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		askUntil(t, conn, time.Second)

		m.StopServer()
		gone := time.Now()
		if got := askUntil(t, conn, 5*time.Minute); got["a"] == 0 || got["b"] == 0 {
			t.Errorf("answers during the outage: %v, want some of a and of b", got)
		}
		if s := caller.Status(); !s.Stale || s.StaleSince.Sub(gone).Abs() > time.Second {
			t.Errorf("stale %v since %v, want stale since %v", s.Stale, s.StaleSince, gone)
		}

		// It returns without its memory: nobody is removed, and within 10 s all
		// is as before.
		m.StartServer()
		if got := askUntil(t, conn, 10*time.Second); got["a"] == 0 || got["b"] == 0 {
			t.Errorf("answers after the return: %v, want some of a and of b", got)
		}
		if s := caller.Status(); s.Stale {
			t.Errorf("10 s after the return the caller is stale since %v", s.StaleSince)
		}
		if s := a.Mesh.Status(); !s.Registrations[0].Registered {
			t.Errorf("10 s after the return a is not registered: %+v", s.Registrations[0])
		}
		m.Serve("voting", named("c"))
		time.Sleep(time.Second)
		if got := askUntil(t, conn, time.Second); got["c"] == 0 || got["a"] == 0 || got["b"] == 0 {
			t.Errorf("answers after a new instance: %v, want a, b and c", got)
		}
	})
}

func TestKilledInstanceLeavesAfterItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		victim := m.Serve("voting", named("a"))
		m.Serve("voting", named("b"))
		conn := m.Client("mesh:///voting")
		askUntil(t, conn, time.Second)

		victim.Kill()
		// One call at the most may have been on its way.
		_, _ = ask(t.Context(), conn)
		if got := askUntil(t, conn, 10*time.Second); got["b"] == 0 || got["a"] != 0 {
			t.Errorf("answers: %v, want only b", got)
		}
	})
}

func TestGracefulStopFailsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		first := m.Serve("voting", named("a"))
		m.Serve("voting", named("b"))
		conn := m.Client("mesh:///voting")
		askUntil(t, conn, time.Second)

		var stopping sync.WaitGroup
		stopping.Go(first.Server.GracefulStop)
		askUntil(t, conn, time.Second)
		stopping.Wait()
		if got := askUntil(t, conn, time.Second); got["a"] != 0 {
			t.Errorf("answers after the stop: %v, want only b", got)
		}
		if err := first.Mesh.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestInstanceThatIsNotServingTakesNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		a := m.Serve("voting", named("a"))
		m.Serve("voting", named("b"))
		conn := m.Client("mesh:///voting")
		askUntil(t, conn, time.Second)

		a.Server.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
		time.Sleep(time.Second)
		if got := askUntil(t, conn, time.Second); got["a"] != 0 || got["b"] == 0 {
			t.Errorf("while a is not serving: %v, want only b", got)
		}
		a.Server.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
		time.Sleep(time.Second)
		if got := askUntil(t, conn, time.Second); got["a"] == 0 {
			t.Errorf("when a serves again: %v, want a and b", got)
		}
	})
}

func TestErrorsSayWhoseTheyAreAndWhatToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Apply(`{apiVersion: tulle/v1, kind: Service, metadata: {name: empty}}`)
		time.Sleep(10 * time.Second) // until the control plane answers for what it does not know
		for service, want := range map[string]mesh.Reason{
			"nobody": mesh.UnknownService,
			"empty":  mesh.NoEndpoint,
		} {
			_, err := ask(t.Context(), m.Client("mesh:///"+service))
			var ours *mesh.Error
			if !errors.As(err, &ours) {
				t.Errorf("%s: got %v, want a *mesh.Error", service, err)
				continue
			}
			if ours.Reason != want || ours.Service != service || status.Code(err) != codes.Unavailable {
				t.Errorf("%s: reason %s, service %q, code %v, want %s and UNAVAILABLE", service, ours.Reason, ours.Service, status.Code(err), want)
			}
			if !strings.HasPrefix(err.Error(), "mesh: ") || !strings.Contains(err.Error(), service) || !strings.Contains(err.Error(), "xdsserver") {
				t.Errorf("%s: %q does not name the service and what to do", service, err)
			}
		}
		// An answer of the service itself is none of ours.
		m.Serve("voting", func(grpc.ServiceRegistrar) {})
		_, err := ask(t.Context(), m.Client("mesh:///voting"))
		var ours *mesh.Error
		if status.Code(err) != codes.Unimplemented || errors.As(err, &ours) {
			t.Errorf("got %v, want the server's own UNIMPLEMENTED", err)
		}
	})
}

func TestRegisterNeedsAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t).Join(mesh.Config{})
		if _, err := m.Register("127.0.0.1:80"); err == nil || !strings.Contains(err.Error(), "TULLE_SERVICE") {
			t.Errorf("got %v, want an error that names TULLE_SERVICE", err)
		}
	})
}

func TestTwoInstancesWithOneIDAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		first := m.ServeAs(mesh.Config{Service: "voting", Instance: "one"}, named("a"))
		second := m.Join(mesh.Config{Service: "voting", Instance: "one"})
		r, err := second.Register("127.0.0.1:4242")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := r.Status(); s.Registered || s.Err == nil || !strings.Contains(s.Err.Error(), "one") {
			t.Errorf("got %+v, want a refusal that names the instance", s)
		}
		first.Server.GracefulStop()
		time.Sleep(15 * time.Second)
		if s := r.Status(); !s.Registered || s.Err != nil {
			t.Errorf("after the first has left: %+v, want the second in its place", s)
		}
	})
}

func TestCloseIsIdempotentAndEndsRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		in := m.Serve("voting", named("a"))
		for range 2 {
			if err := in.Mesh.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := in.Mesh.Register("127.0.0.1:80"); err == nil {
			t.Error("a closed mesh takes registrations")
		}
	})
}

func TestServerOnTwoListenersIsTwoEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		in := m.Serve("voting", named("a"))
		second, err := m.Network.Listen("")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() { _ = in.Server.Serve(second) })
		time.Sleep(time.Second)
		status := in.Mesh.Status()
		if len(status.Registrations) != 2 || !status.Registrations[0].Registered || !status.Registrations[1].Registered {
			t.Errorf("registrations %+v, want two", status.Registrations)
		}
		in.Server.Stop()
		serving.Wait()
	})
}

// Timeouts come from the operator and change live: the same for all calls, which
// grpc keeps, and different by route, which the interceptor keeps. In between no
// call is without one.
func TestTimeoutsFollowTheConfiguration(t *testing.T) {
	const service = "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec: {timeout: 2s}\n"
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Apply(service)
		m.Serve("voting", stuck)
		conn := m.Client("mesh:///voting")
		wait := func(want time.Duration, headers ...string) {
			t.Helper()
			began := time.Now()
			ctx := metadata.AppendToOutgoingContext(t.Context(), headers...)
			err := conn.Invoke(ctx, "/tulle.test.Stuck/Stuck", wrapperspb.String(""), new(wrapperspb.StringValue))
			var ours *mesh.Error
			if !errors.As(err, &ours) || ours.Reason != mesh.RouteTimeout || status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("got %v, want the route's timeout", err)
			}
			if took := time.Since(began); took.Round(10*time.Millisecond) != want {
				t.Errorf("took %v, want %v", took, want)
			}
		}
		wait(2 * time.Second)
		m.Apply(`
apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: route}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
    - matches: [{headers: [{name: x-slow, value: "yes"}]}]
      backendRefs: [{name: voting}]
      timeouts: {request: 10s}
    - backendRefs: [{name: voting}]`)
		time.Sleep(time.Second)
		wait(2 * time.Second)
		wait(10*time.Second, "x-slow", "yes")
		m.Delete("GRPCRoute", "route")
		time.Sleep(time.Second)
		wait(2*time.Second, "x-slow", "yes")
	})
}

// stuck is an instance whose one method answers only when it is cancelled.
func stuck(s grpc.ServiceRegistrar) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "tulle.test.Stuck",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Stuck",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				if err := decode(new(wrapperspb.StringValue)); err != nil {
					return nil, err
				}
				<-ctx.Done()
				return nil, status.FromContextError(ctx.Err()).Err()
			},
		}},
	}, struct{}{})
}
