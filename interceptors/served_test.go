package interceptors_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/interceptors/shed"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// handles makes a handler of unary calls that reads the request first.
func handles(handle func(ctx context.Context) error) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		if err := decode(new(wrapperspb.StringValue)); err != nil {
			return nil, err
		}
		return wrapperspb.String("yes"), handle(ctx)
	}
}

func slowly(d time.Duration) grpc.MethodHandler {
	return handles(func(context.Context) error {
		<-time.After(d)
		return nil
	})
}

// rarely is a rate that takes one call a minute.
var rarely = resource.Rate{PerSecond: 1.0 / 60, Burst: 1}

// ends makes one call and returns how it ended.
func (s *served) ends(ctx context.Context) (st *status.Status, pushback string) {
	var trailer metadata.MD
	err := s.conn.Invoke(ctx, method, wrapperspb.String(""), new(wrapperspb.StringValue), grpc.Trailer(&trailer))
	return status.Convert(err), strings.Join(trailer.Get("grpc-retry-pushback-ms"), ",")
}

// opens opens one stream and returns how it ended.
func (s *served) opens(t *testing.T) (st *status.Status, pushback string) {
	t.Helper()
	stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/voting.v1.Voting/Watch")
	if err == nil {
		_ = stream.CloseSend()
		if err = stream.RecvMsg(new(wrapperspb.StringValue)); errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return status.Convert(err), strings.Join(stream.Trailer().Get("grpc-retry-pushback-ms"), ",")
}

func TestWhatIsTooMuchIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name      string
		admission resource.Admission
		text      string
		stats     interceptors.ServerStats
	}{
		{
			"a call above the rate",
			resource.Admission{RateLimits: []resource.RateLimit{{Name: "few", Rate: rarely}}},
			`rate limit "few" of voting`,
			interceptors.ServerStats{Limited: 1},
		},
		{
			"a call above what may run at once",
			resource.Admission{Concurrency: &resource.Concurrency{Limit: 1}},
			"voting runs as many calls as it takes at once, 1",
			interceptors.ServerStats{Shed: 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serveBoth(t, newPolicies(taking(t, tt.admission)), peerOf(t, web, time.Hour), slowly(time.Second), echo)
				var first sync.WaitGroup
				first.Go(func() {
					if st, _ := s.ends(t.Context()); st.Code() != codes.OK {
						t.Errorf("the first call ended with %v", st)
					}
				})
				synctest.Wait()
				st, pushback := s.ends(t.Context())
				if st.Code() != codes.ResourceExhausted || !strings.Contains(st.Message(), tt.text) {
					t.Errorf("got %v, want RESOURCE_EXHAUSTED that says %q", st, tt.text)
				}
				var retry time.Duration
				for _, d := range st.Details() {
					if info, ok := d.(*errdetails.RetryInfo); ok {
						retry = info.GetRetryDelay().AsDuration()
					}
				}
				if wait, err := time.ParseDuration(pushback + "ms"); err != nil || retry == 0 || wait < retry || wait > retry+time.Millisecond {
					t.Errorf("the trailer says %q ms, the detail %v", pushback, retry)
				}
				health, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
				if err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
					t.Errorf("a health check got %v, %v", health, err)
				}
				if got := s.server.Stats(); got != tt.stats {
					t.Errorf("counted %+v, want %+v", got, tt.stats)
				}
				first.Wait()
			})
		})
	}
}

func TestStreamsCountForRatesAndTakeNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, newPolicies(taking(t, resource.Admission{
			RateLimits:  []resource.RateLimit{{Name: "few", Rate: resource.Rate{PerSecond: 0.01, Burst: 2}}},
			Concurrency: &resource.Concurrency{Limit: 1},
		})), peerOf(t, web, time.Hour), echo)
		for range 2 {
			s.watch(t)
		}
		if st, pushback := s.opens(t); st.Code() != codes.ResourceExhausted || pushback != "100000" {
			t.Errorf("the third stream ended with %v, pushback %q", st, pushback)
		}
		if got, want := s.server.Stats(), (interceptors.ServerStats{Limited: 1}); got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}

func TestAHandlerThatDoesNotReturn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		handle func()
		text   string
	}{
		{"panics", func() { panic("the secret") }, "the handler of %s panicked"},
		{"ends its goroutine", runtime.Goexit, "the handler of %s ended its goroutine"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicies(taking(t, resource.Admission{Concurrency: &resource.Concurrency{Limit: 1}}))
			s := serveBoth(t, p, peerOf(t, web, time.Hour), handles(func(context.Context) error {
				tt.handle()
				return nil
			}), func(any, grpc.ServerStream) error {
				tt.handle()
				return nil
			})
			for range 3 { // the place is given back
				st, _ := s.ends(t.Context())
				if want := strings.ReplaceAll(tt.text, "%s", method); st.Code() != codes.Internal || !strings.Contains(st.Message(), want) || strings.Contains(st.String(), "secret") {
					t.Errorf("a call whose handler %s ends with %v", tt.name, st)
				}
			}
			st, _ := s.opens(t)
			if want := strings.ReplaceAll(tt.text, "%s", "/voting.v1.Voting/Watch"); st.Code() != codes.Internal || !strings.Contains(st.Message(), want) || strings.Contains(st.String(), "secret") {
				t.Errorf("a stream whose handler %s ends with %v", tt.name, st)
			}
			if got, want := s.server.Stats(), (interceptors.ServerStats{Panics: 4}); got != want {
				t.Errorf("%s: counted %+v, want %+v", tt.name, got, want)
			}
		})
	}
}

func TestServerFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, newPolicies(taking(t, resource.Admission{Fault: &resource.Fault{
			DelayPerMillion: all, Delay: time.Second, AbortPerMillion: all, AbortCode: codes.DataLoss,
		}})), peerOf(t, web, time.Hour), echo)
		began := time.Now()
		if st, _ := s.ends(t.Context()); st.Code() != codes.DataLoss || time.Since(began) != time.Second {
			t.Errorf("a call ended with %v after %v", st, time.Since(began))
		}
		if st, _ := s.opens(t); st.Code() != codes.DataLoss || time.Since(began) != 2*time.Second {
			t.Errorf("a stream ended with %v after %v", st, time.Since(began))
		}
		if _, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Errorf("a health check got %v", err)
		}
		if got, want := s.server.Stats(), (interceptors.ServerStats{Injected: 2}); got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}

// A caller that may not call must not keep those away who may.
func TestADeniedCallGivesItsPlaceBack(t *testing.T) {
	in := noneMay(t)
	in.VirtualHost.Routes[0].Admission = &resource.Admission{
		Concurrency: &resource.Concurrency{Limit: 1},
		RateLimits:  []resource.RateLimit{{Name: "few", Rate: rarely}},
	}
	server := newServer(newPolicies(in))
	ctx := calledBy(t.Context(), peerOf(t, web, time.Hour))
	for range 3 { // nor does it count for the rate
		if _, err := server.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, taken); status.Code(err) != codes.PermissionDenied {
			t.Fatalf("got %v", err)
		}
	}
}

func TestTheHandlersContext(t *testing.T) {
	failure := status.Error(codes.Unavailable, "below")
	for _, tt := range []struct {
		name     string
		attempts string // of the header
		spend    bool
		err      error
		attempt  uint32
		pushback string
	}{
		{"of a first attempt", "", false, nil, 0, ""},
		{"of a retry", "2", false, nil, 2, ""},
		{"of a header that is no number", "many", false, nil, 0, ""},
		{"a failure alone says nothing of retries", "", false, failure, 0, ""},
		{"where calls below were tried in vain the caller must not try again", "", true, failure, 0, "-1"},
		{"unless the call was answered all the same", "1", true, nil, 1, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			handle := func(ctx context.Context) error {
				in := call.IncomingFrom(ctx)
				if in == nil || in.Attempt() != tt.attempt {
					t.Errorf("%s: the handler sees %+v, want attempt %d", tt.name, in, tt.attempt)
				}
				if tt.spend {
					in.Spend()
				}
				return tt.err
			}
			s := serveBoth(t, newPolicies(everybodyMay(t)), peerOf(t, web, time.Hour), handles(handle), func(_ any, stream grpc.ServerStream) error {
				return handle(stream.Context())
			})
			ctx := t.Context()
			if tt.attempts != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "grpc-previous-rpc-attempts", tt.attempts)
			}
			if st, pushback := s.ends(ctx); st.Code() != status.Code(tt.err) || pushback != tt.pushback {
				t.Errorf("%s: a call ended with %v, pushback %q, want %q", tt.name, st, pushback, tt.pushback)
			}
			if tt.attempts != "" {
				return
			}
			if st, pushback := s.opens(t); st.Code() != status.Code(tt.err) || pushback != tt.pushback {
				t.Errorf("%s: a stream ended with %v, pushback %q, want %q", tt.name, st, pushback, tt.pushback)
			}
		})
	}
}

func TestWhatWasCountedSurvivesOtherChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := []resource.RateLimit{{Name: "few", Rate: resource.Rate{PerSecond: 0.01, Burst: 2}}}
		p := newPolicies(taking(t, resource.Admission{RateLimits: limits, Concurrency: &resource.Concurrency{Limit: 1}}))
		s := serveBoth(t, p, peerOf(t, web, time.Hour), slowly(time.Second), echo)
		var first sync.WaitGroup
		first.Go(func() { s.ends(t.Context()) })
		synctest.Wait()

		p.set(taking(t, resource.Admission{RateLimits: limits, Concurrency: &resource.Concurrency{Limit: 2}}))
		for _, tt := range []struct {
			name string
			want codes.Code
		}{
			{"the second call runs beside the first", codes.OK},
			{"the third is above the rate of before", codes.ResourceExhausted},
		} {
			if st, _ := s.ends(t.Context()); st.Code() != tt.want {
				t.Errorf("%s: got %v", tt.name, st)
			}
		}
		first.Wait()

		p.set(everybodyMay(t))
		if st, _ := s.ends(t.Context()); st.Code() != codes.OK {
			t.Errorf("without limits: %v", st)
		}
		p.set(taking(t, resource.Admission{RateLimits: limits}))
		if st, _ := s.ends(t.Context()); st.Code() != codes.OK {
			t.Errorf("with limits that were gone for a while: %v", st)
		}
	})
}

func TestCriticalityIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveBoth(t, newPolicies(taking(t, resource.Admission{Concurrency: &resource.Concurrency{Limit: 3}})), peerOf(t, web, time.Hour), slowly(time.Second), echo)
		var running sync.WaitGroup
		for range 2 {
			running.Go(func() { s.ends(t.Context()) })
		}
		synctest.Wait()
		if st, _ := s.ends(metadata.AppendToOutgoingContext(t.Context(), shed.Header, "sheddable")); st.Code() != codes.ResourceExhausted {
			t.Errorf("the last place of three went to a sheddable call: %v", st)
		}
		if st, _ := s.ends(metadata.AppendToOutgoingContext(t.Context(), shed.Header, "critical")); st.Code() != codes.OK {
			t.Errorf("a critical call got %v", st)
		}
		running.Wait()
	})
}

// plenty is an Admission that refuses nothing, with everything on.
func plenty() resource.Admission {
	c := resource.DefaultConcurrency()
	most := resource.Rate{PerSecond: 1e9, Burst: 1e9}
	return resource.Admission{
		RateLimits: []resource.RateLimit{
			{Name: "total", Rate: most},
			{Name: "identity", Per: resource.PerIdentity, Rate: most},
			{Name: "method", Per: resource.PerMethod, Rate: most, Methods: []string{method}},
		},
		Concurrency: &c,
		Fault:       &resource.Fault{DelayPerMillion: 1, Delay: 1},
	}
}

// seeing is a server that all is told of which may see calls, and which sees nothing
// special.
func seeing(p interceptors.Policies) *interceptors.Server {
	return interceptors.NewServer(interceptors.ServerConfig{
		Service: "voting", Policies: p, Logger: slog.New(slog.DiscardHandler),
		Telemetry: telemetry.New(telemetry.Config{}), Tracer: trace.New(nil),
		Log: accesslog.New(slog.New(slog.DiscardHandler)), Taps: tap.New(tap.Config{}),
	})
}

func TestAllocationsOfAnAllowedCall(t *testing.T) {
	for _, tt := range []struct {
		name    string
		in      *resource.Inbound
		headers []string
		want    float64
	}{
		{"without limits", everybodyMay(t), nil, 1},
		{"with everything on", taking(t, plenty()), nil, 1},
		{"with everything on, of a caller that says how much it matters", taking(t, plenty()), []string{shed.Header, "critical"}, 2},
	} {
		server := seeing(newPolicies(tt.in))
		ctx := metadata.NewIncomingContext(calledBy(t.Context(), peerOf(t, web, time.Hour)), metadata.Pairs(append(tt.headers, ":authority", "voting")...))
		info := &grpc.UnaryServerInfo{FullMethod: method}
		if got := testing.AllocsPerRun(1000, func() {
			if _, err := server.Unary(ctx, nil, info, taken); err != nil {
				t.Error(err)
			}
		}); got != tt.want {
			t.Errorf("%s: %v allocations, want %v", tt.name, got, tt.want)
		}
	}
}

func BenchmarkServerUnary(b *testing.B) {
	for _, bb := range []struct {
		name string
		in   *resource.Inbound
	}{
		{"told of", anyoneMay(b)},
		{"off", anyoneMay(b)},
		{"on", func() *resource.Inbound {
			in, a := anyoneMay(b), plenty()
			in.VirtualHost.Routes[0].Admission = &a
			return in
		}()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			server := newServer(newPolicies(bb.in))
			if bb.name == "told of" {
				server = seeing(newPolicies(bb.in))
			}
			ctx := metadata.NewIncomingContext(calledBy(b.Context(), peerOf(b, web, time.Hour)), metadata.Pairs(":authority", "voting", "content-type", "application/grpc", "user-agent", "grpc-go"))
			info := &grpc.UnaryServerInfo{FullMethod: method}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := server.Unary(ctx, nil, info, taken); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzAttempts(f *testing.F) {
	for _, seed := range []string{"0", "1", "4294967295", "4294967296", "-1", "1e3", "", " 1"} {
		f.Add(seed)
	}
	server := newServer(newPolicies(everybodyMay(f)))
	f.Fuzz(func(t *testing.T, attempts string) {
		ctx := metadata.NewIncomingContext(calledBy(t.Context(), peerOf(t, web, time.Hour)), metadata.MD{"grpc-previous-rpc-attempts": {attempts}})
		if _, err := server.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
			if call.IncomingFrom(ctx) == nil {
				t.Error("a handler without a call")
			}
			return nil, nil
		}); err != nil {
			t.Error(err)
		}
	})
}
