package interceptors_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// A wish is what a test's handler is to do.
type wish string

func (w wish) handle(ctx context.Context) error {
	switch w {
	case "fail":
		return status.Error(codes.NotFound, "no such vote")
	case "panic":
		panic("oops")
	case "plain error":
		return context.DeadlineExceeded
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	default:
		return nil
	}
}

func TestServedCallsAreCounted(t *testing.T) {
	const from = "server.call " + web + " mtls "
	for _, tt := range []struct {
		name   string
		in     *resource.Inbound
		caller func(t *testing.T) *spiffe.Peer
		method string
		wish   wish
		within time.Duration
		calls  int
		want   map[string]float64
	}{
		{name: "calls that are answered", calls: 3, want: map[string]float64{from + "OK": 3, "server.access " + web + " allowed": 3}},
		{name: "one that fails", wish: "fail", want: map[string]float64{from + "NOT_FOUND": 1, "server.access " + web + " allowed": 1}},
		{name: "one that panics", wish: "panic", want: map[string]float64{from + "INTERNAL": 1, "server.access " + web + " allowed": 1, "server.panics": 1}},
		{
			name: "one whose error is no status, as grpc words it", wish: "plain error",
			want: map[string]float64{from + "DEADLINE_EXCEEDED": 1, "server.access " + web + " allowed": 1},
		},
		{
			name: "one that its caller gives up", wish: "hang", within: time.Second,
			want: map[string]float64{from + "CANCELLED": 1, "server.access " + web + " allowed": 1},
		},
		{
			name: "one that is denied", in: noneMay(t),
			want: map[string]float64{from + "PERMISSION_DENIED": 1, "server.access " + web + " denied default/strict": 1},
		},
		{
			name: "a method that nobody has", method: "/made.up/Method",
			want: map[string]float64{"server.call " + web + " other mtls UNIMPLEMENTED": 1, "server.access " + web + " other allowed": 1},
		},
		{
			name: "a caller without an identity", in: everybodyMay(t), caller: func(*testing.T) *spiffe.Peer { return nil },
			want: map[string]float64{"server.call plaintext UNAUTHENTICATED": 1, "server.access bufconn denied": 1},
		},
		{
			name: "above the limit", in: taking(t, resource.Admission{RateLimits: []resource.RateLimit{{Name: "total", Rate: resource.Rate{PerSecond: 1e-3, Burst: 1}}}}),
			calls: 3,
			want: map[string]float64{
				from + "OK": 1, from + "RESOURCE_EXHAUSTED": 2, "server.access " + web + " allowed": 3, "server.limited": 2,
			},
		},
		{
			name: "a fault", in: taking(t, resource.Admission{Fault: &resource.Fault{AbortPerMillion: all, AbortCode: codes.Aborted}}),
			want: map[string]float64{from + "ABORTED": 1, "server.access " + web + " allowed": 1, "server.injected": 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := telemetry.New(telemetry.Config{})
				in := tt.in
				if in == nil {
					in = anyoneMay(t)
				}
				caller := peerOf(t, web, time.Hour)
				if tt.caller != nil {
					caller = tt.caller(t)
				}
				server := interceptors.NewServer(interceptors.ServerConfig{
					Service: "voting", Policies: newPolicies(in), Telemetry: i, Logger: slog.New(slog.DiscardHandler),
				})
				s := serveBy(t, server, caller, func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
					return wrapperspb.String("yes"), cmpErr(decode(new(wrapperspb.StringValue)), tt.wish.handle(ctx))
				}, echo)
				to := method
				if tt.method != "" {
					to = tt.method
				}
				for range max(tt.calls, 1) {
					ctx, cancel := context.WithCancel(t.Context())
					if tt.within > 0 {
						time.AfterFunc(tt.within, cancel)
					}
					_ = s.vote(ctx, to)
					cancel()
					synctest.Wait()
				}
				if diff := cmp.Diff(tt.want, counted(i)); diff != "" {
					t.Errorf("counted (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestWithoutAPolicyACallIsCountedAsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := telemetry.New(telemetry.Config{})
		server := interceptors.NewServer(interceptors.ServerConfig{Service: "voting", Policies: newPolicies(nil), Telemetry: i})
		s := serveBy(t, server, peerOf(t, web, time.Hour), answer, echo)
		_ = s.vote(t.Context(), method)
		_, err := s.conn.NewStream(t.Context(), bidi, "/voting.v1.Voting/Watch")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		want := map[string]float64{"server.call " + web + " mtls UNAVAILABLE": 1, "server.call " + web + " /voting.v1.Voting/Watch mtls UNAVAILABLE": 1}
		if diff := cmp.Diff(want, counted(i)); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}

func TestServedStreamsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := telemetry.New(telemetry.Config{})
		p := newPolicies(anyoneMay(t))
		server := interceptors.NewServer(interceptors.ServerConfig{Service: "voting", Policies: p, Telemetry: i, Logger: slog.New(slog.DiscardHandler)})
		s := serveBy(t, server, peerOf(t, web, time.Hour), answer, echo)
		const stream = "server.call " + web + " /voting.v1.Voting/Watch mtls "
		const decided = "server.access " + web + " /voting.v1.Voting/Watch "
		check := func(want map[string]float64) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, counted(i)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		}
		first, second := s.watch(t), s.watch(t)
		check(map[string]float64{"streams server": 2, decided + "allowed": 2})
		if err := first.CloseSend(); err != nil {
			t.Fatal(err)
		}
		check(map[string]float64{"streams server": 1, stream + "OK": 1, decided + "allowed": 2})
		p.set(noneMay(t)) // ends what is open
		_, _ = rest(second)
		check(map[string]float64{stream + "OK": 1, stream + "PERMISSION_DENIED": 1, decided + "allowed": 2, decided + "denied default/strict": 1})
		third, err := s.conn.NewStream(t.Context(), bidi, "/voting.v1.Voting/Watch")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = rest(third)
		check(map[string]float64{stream + "OK": 1, stream + "PERMISSION_DENIED": 2, decided + "allowed": 2, decided + "denied default/strict": 2})
	})
}
