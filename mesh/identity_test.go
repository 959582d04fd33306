package mesh_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// caller joins as web and returns a connection to voting.
func caller(t *testing.T, m *meshtest.Mesh, config mesh.Config) (*mesh.Mesh, *grpc.ClientConn) {
	t.Helper()
	if config.Service == "" {
		config.Service = "web"
	}
	member := m.Join(config)
	conn, err := member.NewClient("mesh:///voting")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return member, conn
}

// whoami is an instance that answers with its caller, and by streams of them.
func whoami(s grpc.ServiceRegistrar) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "tulle.test.Name",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Name",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				p, ok := mesh.PeerFromContext(ctx)
				if !ok {
					return nil, status.Error(codes.Internal, "no peer")
				}
				return wrapperspb.String(strings.Join([]string{p.ID, p.Service, p.Namespace, p.TrustDomain}, " ")), decode(new(wrapperspb.StringValue))
			},
		}},
		Streams: []grpc.StreamDesc{{
			StreamName:    "Echo",
			ClientStreams: true,
			ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				for {
					m := new(wrapperspb.StringValue)
					if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
						return nil
					} else if err != nil {
						return err
					}
					if err := stream.SendMsg(m); err != nil {
						return err
					}
				}
			},
		}},
	}, struct{}{})
}

func TestAHandlerKnowsItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewWith(t, meshtest.Config{TrustDomain: "example.org"})
		m.Serve("voting", whoami)
		for service, want := range map[string]string{
			"web":      "spiffe://example.org/ns/default/svc/web web default example.org",
			"web.shop": "spiffe://example.org/ns/shop/svc/web web.shop shop example.org",
		} {
			_, conn := caller(t, m, mesh.Config{Service: service})
			got, err := ask(t.Context(), conn)
			if err != nil || got != want {
				t.Errorf("%s: got %q, %v, want %q", service, got, err, want)
			}
		}
	})
	if _, ok := mesh.PeerFromContext(t.Context()); ok {
		t.Error("there is a caller where there is no call")
	}
}

const strict = `
apiVersion: tulle/v1
kind: AccessPolicy
metadata: {name: voting}
spec: {allow: [{from: [web], methods: [/tulle.test.Name/Name]}]}
`

func TestADeniedCallIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Serve("voting", named("a"))
		m.Apply(strict)
		_, web := caller(t, m, mesh.Config{})
		if _, err := ask(t.Context(), web); err != nil {
			t.Errorf("web: %v", err)
		}
		_, emoji := caller(t, m, mesh.Config{Service: "emoji"})
		_, err := ask(t.Context(), emoji)
		want := `mesh: spiffe://tulle.local/ns/default/svc/emoji may not call /tulle.test.Name/Name of voting: ` +
			`no rule of policy "voting" allows it; try: xdsserver authz voting --from emoji --method /tulle.test.Name/Name`
		if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if err := web.Invoke(t.Context(), "/tulle.test.Name/Other", wrapperspb.String(""), new(wrapperspb.StringValue)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a method that nobody has and nobody may call: %v", err)
		}
	})
}

func TestAPolicyReachesOpenStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Serve("voting", whoami)
		_, conn := caller(t, m, mesh.Config{})
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/tulle.test.Name/Echo")
		if err != nil {
			t.Fatal(err)
		}
		message := wrapperspb.String("hello")
		for range 3 {
			if err := errors.Join(stream.SendMsg(message), stream.RecvMsg(message)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		began := time.Now()
		m.Apply(strict)
		err = stream.RecvMsg(message)
		if took := time.Since(began); status.Code(err) != codes.PermissionDenied || took > 5*time.Second {
			t.Errorf("got %v after %v, want PERMISSION_DENIED within 5 s", err, took)
		}
		if _, err := ask(t.Context(), conn); err != nil {
			t.Errorf("what is still allowed: %v", err)
		}
		m.Delete("AccessPolicy", "voting")
		time.Sleep(time.Second)
		if stream, err = conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/tulle.test.Name/Echo"); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(stream.SendMsg(message), stream.RecvMsg(message)); err != nil {
			t.Errorf("a stream after the policy: %v", err)
		}
	})
}

// Servers report who calls them; what they could not report is told later.
func TestCallersAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Serve("voting", named("a"))
		_, conn := caller(t, m, mesh.Config{})
		for range 3 {
			if _, err := ask(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
		}
		m.StopServer()
		time.Sleep(time.Minute)
		m.StartServer()
		time.Sleep(20 * time.Second)
		m.Apply(strings.ReplaceAll(strict, "web", "nobody"))
		time.Sleep(time.Second)
		if _, err := ask(t.Context(), conn); status.Code(err) != codes.PermissionDenied {
			t.Errorf("got %v", err)
		}
		time.Sleep(6 * time.Second)
		got := m.Callers("voting")
		if len(got) != 1 {
			t.Fatalf("callers: %+v", got)
		}
		c := got[0]
		if c.ID != "spiffe://tulle.local/ns/default/svc/web" || c.Method != "/tulle.test.Name/Name" || c.Allowed != 3 || c.Denied != 1 {
			t.Errorf("got %+v, want 3 calls of web's that were allowed and one that was not", c)
		}
	})
}

// Whoever took an address over is not whom the caller means, and gets no call.
func TestAnotherServiceAtTheAddressGetsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		emoji := m.Serve("emoji", named("emoji"))
		m.Apply("apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec: {endpoints: [{address: \"" + emoji.Address + "\"}]}\n")
		_, conn := caller(t, m, mesh.Config{})
		time.Sleep(time.Second)
		_, err := ask(t.Context(), conn)
		var ours *mesh.Error
		if !errors.As(err, &ours) || ours.Reason != mesh.NoEndpoint || status.Code(err) != codes.Unavailable {
			t.Fatalf("got %v, want a NO_ENDPOINT", err)
		}
		for _, want := range []string{emoji.Address, "spiffe://tulle.local/ns/default/svc/emoji", "spiffe://tulle.local/ns/default/svc/voting"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not name %s: %v", want, err)
			}
		}
	})
}

func TestTenHoursWithoutControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		state := t.TempDir()
		m.Serve("voting", named("a"))
		member, conn := caller(t, m, mesh.Config{StateDir: state})
		if _, err := ask(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		m.StopServer()
		every := func(d time.Duration) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Second) {
				if _, err := ask(t.Context(), conn); err != nil {
					t.Fatalf("a call failed: %v", err)
				}
			}
		}
		every(5 * time.Hour)
		// The process restarts, and has neither token nor control plane.
		conn.Close()
		if err := member.Close(); err != nil {
			t.Fatal(err)
		}
		member, conn = caller(t, m, mesh.Config{StateDir: state, TokenFile: state + "/nothing"})
		if err := member.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		every(5 * time.Hour)
	})
}

// Longer than a certificate lives without xdsserver: calls fail and say why, and
// are made again within 10 s of its return. The certificates have expired, so that
// they renew nothing: processes join again, here by tokens that somebody leaves them,
// elsewhere by the kernel's word.
func TestACertificateThatNobodyRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewWith(t, meshtest.Config{LeafTTL: 4 * time.Hour})
		dir := t.TempDir()
		leave := func(service string) string {
			t.Helper()
			file := filepath.Join(dir, service)
			if err := os.WriteFile(file, []byte(m.Token(service)), 0o600); err != nil {
				t.Fatal(err)
			}
			return file
		}
		m.ServeAs(mesh.Config{Service: "voting", TokenFile: leave("voting")}, whoami)
		member, conn := caller(t, m, mesh.Config{TokenFile: leave("web")})
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/tulle.test.Name/Echo")
		if err != nil {
			t.Fatal(err)
		}
		message := wrapperspb.String("hello")
		if err := errors.Join(stream.SendMsg(message), stream.RecvMsg(message)); err != nil {
			t.Fatal(err)
		}
		m.StopServer()
		ends := member.Status().Identity.Identity.NotAfter
		for time.Until(ends) > time.Minute {
			time.Sleep(time.Minute)
			if _, err := ask(t.Context(), conn); err != nil {
				t.Fatalf("a call failed %v before the end: %v", time.Until(ends), err)
			}
		}
		if err := errors.Join(stream.SendMsg(message), stream.RecvMsg(message)); err != nil {
			t.Errorf("the stream, %v before the end: %v", time.Until(ends), err)
		}

		time.Sleep(2 * time.Minute)
		for _, after := range []time.Duration{0, time.Hour} {
			time.Sleep(after)
			if _, err := ask(t.Context(), conn); err == nil || !strings.Contains(err.Error(), "expired at "+ends.UTC().Format(time.RFC3339)) {
				t.Errorf("%v after the end: %v, want an error that says why", after, err)
			}
		}
		if err := stream.RecvMsg(message); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "expired") {
			t.Errorf("the stream ended with %v", err)
		}

		leave("voting")
		leave("web")
		m.StartServer()
		time.Sleep(10 * time.Second)
		if _, err := ask(t.Context(), conn); err != nil {
			t.Errorf("10 s after the return: %v", err)
		}
	})
}

// Certificates of ten seconds, under calls: each is replaced before its end, and so
// are the connections that were made with it.
func TestCertificatesAreRenewedUnderCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewWith(t, meshtest.Config{LeafTTL: 10 * time.Second, IntermediateTTL: 10 * time.Minute, RootTTL: time.Hour})
		m.Serve("voting", named("a"))
		m.Serve("voting", named("b"))
		member, conn := caller(t, m, mesh.Config{})
		if err := member.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := member.Status().Identity.Identity.Serial()
		var calls atomic.Int64
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var calling sync.WaitGroup
		for range 4 {
			calling.Go(func() {
				for ctx.Err() == nil {
					if _, err := ask(t.Context(), conn); err != nil {
						t.Errorf("a call failed: %v", err)
						return
					}
					calls.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Minute)
		m.RotateRoot()
		calling.Wait()
		if last := member.Status().Identity.Identity.Serial(); last == first {
			t.Errorf("the certificate is still %s", first)
		}
		t.Logf("%d calls", calls.Load())
	})
}

func TestAServerWithoutAPolicyTakesNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		in := m.Serve("voting", named("a"))
		if s := in.Mesh.Status(); s.Policy == 0 || !s.Registrations[0].Serving || s.Identity.Identity == nil {
			t.Errorf("status of a server in the mesh: %+v", s)
		}
		m.StopServer()
		late := m.Join(mesh.Config{Service: "late"})
		r, err := late.Register("127.0.0.1:4242")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s := late.Status(); s.Policy != 0 || r.Status().Serving {
			t.Errorf("without control plane: policy %d, %+v", s.Policy, r.Status())
		}
		m.StartServer()
		time.Sleep(15 * time.Second)
		if s := late.Status(); s.Policy == 0 || !r.Status().Serving || !r.Status().Registered {
			t.Errorf("with it: policy %d, %+v", s.Policy, r.Status())
		}
	})
}
