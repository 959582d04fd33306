package interceptors_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// spans are those that ended, by name, each with its parent's and its code.
func spans(r *tracetest.SpanRecorder) []string {
	names := map[string]string{}
	for _, s := range r.Ended() {
		names[s.SpanContext().SpanID().String()] = s.Name()
	}
	var all []string
	for _, s := range r.Ended() {
		code := ""
		for _, a := range s.Attributes() {
			if a.Key == "rpc.response.status_code" || a.Key == "tulle.attempt" || a.Key == "tulle.endpoint" {
				code += " " + a.Value.String()
			}
		}
		parent := names[s.Parent().SpanID().String()]
		if parent == "" {
			parent = "-"
		}
		all = append(all, fmt.Sprintf("%s < %s:%s", s.Name(), parent, code))
	}
	slices.Sort(all)
	return all
}

func recorder(t *testing.T) (*trace.Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	return trace.New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r))), r
}

func TestSpansOfACallAndItsAttempts(t *testing.T) {
	const vote = "voting.v1.Voting/Vote"
	var seen []string
	sees := func(then func(context.Context, *call.Call) error) func(context.Context, *call.Call) error {
		return func(ctx context.Context, rpc *call.Call) error {
			md, _ := metadata.FromOutgoingContext(ctx)
			seen = append(seen, md.Get("traceparent")...)
			return picked(then)(ctx, rpc)
		}
	}
	for _, tt := range []struct {
		name   string
		config *configs
		steps  []func(context.Context, *call.Call) error
		want   []string
		sent   int // different parents
	}{
		{"one attempt has no span of its own", voting(), []func(context.Context, *call.Call) error{sees(answers)}, []string{vote + " < -: OK endpoint-0"}, 1},
		{
			"of several each has one", voting(traffic(retried(3))),
			[]func(context.Context, *call.Call) error{sees(fails(codes.Unavailable)), sees(fails(codes.Unavailable)), sees(answers)},
			[]string{
				"attempt < " + vote + ": 0 UNAVAILABLE endpoint-0", "attempt < " + vote + ": 1 UNAVAILABLE endpoint-1",
				"attempt < " + vote + ": 2 OK endpoint-2", vote + " < -: OK endpoint-2",
			},
			3,
		},
		{
			"a call that is refused has one", voting(faulty(resource.Fault{AbortPerMillion: all, AbortCode: codes.Aborted})), nil,
			[]string{vote + " < -: ABORTED"},
			0,
		},
		{
			"one without a configuration, too", &configs{err: &call.Error{Service: "voting", Code: codes.Unavailable}}, nil,
			[]string{vote + " < -: UNAVAILABLE"},
			0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen = nil
			tracer, r := recorder(t)
			client := interceptors.NewClient(interceptors.ClientConfig{Configs: tt.config, Tracer: tracer})
			_ = client.Unary(t.Context(), method, wrapperspb.String(""), wrapperspb.String(""), nil, steps(tt.steps...).invoke)
			if diff := cmp.Diff(tt.want, spans(r)); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
			slices.Sort(seen)
			if got := len(slices.Compact(seen)); got != tt.sent {
				t.Errorf("%d parents went out, want %d: %v", got, tt.sent, seen)
			}
		})
	}
}

func TestSpansOfAStreamThatIsOpenedAgain(t *testing.T) {
	const vote = "voting.v1.Voting/Vote"
	tracer, r := recorder(t)
	client := interceptors.NewClient(interceptors.ClientConfig{Configs: voting(traffic(retried(3))), Tracer: tracer})
	conn, _ := dialBackendBy(t, client, after(0, codes.Unavailable), parrot)
	s := newStream(t, conn, bidi)
	send(t, s, "a")
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got, _ := rest(s); len(got) != 1 {
		t.Fatalf("got %v", got)
	}
	want := []string{
		"attempt < " + vote + ": 0 UNAVAILABLE 10.0.0.1:80", "attempt < " + vote + ": 1 OK 10.0.0.1:80", vote + " < -: OK 10.0.0.1:80",
	}
	if diff := cmp.Diff(want, spans(r)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

func TestSpansOfHedges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const vote = "voting.v1.Voting/Vote"
		tracer, r := recorder(t)
		client := interceptors.NewClient(interceptors.ClientConfig{Tracer: tracer, Configs: voting(traffic(func(t *resource.Traffic) {
			t.Retry.Idempotent = true
			t.Hedge = &resource.Hedge{Delay: 10 * time.Millisecond, Attempts: 2}
		}))})
		err := client.Unary(t.Context(), method, wrapperspb.String(""), wrapperspb.String(""), nil, ends(func(ctx context.Context) error {
			rpc := call.FromContext(ctx)
			if rpc.Attempt == 0 {
				return never(ctx)
			}
			if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get("traceparent")) != 1 {
				t.Errorf("the hedge has the parents %v", md.Get("traceparent"))
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"attempt < " + vote + ": 0 CANCELLED", "attempt < " + vote + ": 1 OK", vote + " < -: OK"}
		if diff := cmp.Diff(want, spans(r)); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
	})
}

// A chain of three: web calls voting, whose handler calls emoji, in the context that it
// was given and with nothing else.
func TestATraceGoesThroughAHandler(t *testing.T) {
	const came = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tt := range []struct {
		name   string
		tracer func(t *testing.T) (*trace.Tracer, *tracetest.SpanRecorder)
		sent   string // by who calls voting
		spans  []string
		want   func(parents []string) bool // at emoji
	}{
		{
			"where nobody traces, as it came",
			func(*testing.T) (*trace.Tracer, *tracetest.SpanRecorder) {
				return trace.New(noop.NewTracerProvider()), tracetest.NewSpanRecorder()
			},
			came, nil, func(p []string) bool { return slices.Equal(p, []string{came}) },
		},
		{
			"where nobody traces and none came, not at all",
			func(*testing.T) (*trace.Tracer, *tracetest.SpanRecorder) {
				return trace.New(noop.NewTracerProvider()), tracetest.NewSpanRecorder()
			},
			"", nil, func(p []string) bool { return len(p) == 0 },
		},
		{
			"with spans on the way", recorder, came,
			[]string{"emoji.v1.Emoji/Get < voting.v1.Voting/Vote: OK", "voting.v1.Voting/Vote < -: OK"},
			func(p []string) bool { return len(p) == 1 && p[0][:35] == came[:35] && p[0] != came },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tracer, r := tt.tracer(t)
			client := interceptors.NewClient(interceptors.ClientConfig{Configs: voting(), Tracer: tracer})
			var parents []string
			server := interceptors.NewServer(interceptors.ServerConfig{
				Service: "voting", Policies: newPolicies(anyoneMay(t)), Tracer: tracer, Logger: slog.New(slog.DiscardHandler),
			})
			ctx := calledBy(t.Context(), peerOf(t, web, time.Hour))
			if tt.sent != "" {
				ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("traceparent", tt.sent))
			}
			_, err := server.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
				return nil, client.Unary(ctx, "/emoji.v1.Emoji/Get", nil, nil, nil, ends(func(ctx context.Context) error {
					md, _ := metadata.FromOutgoingContext(ctx)
					parents = md.Get("traceparent")
					return nil
				}))
			})
			if err != nil {
				t.Fatal(err)
			}
			if !tt.want(parents) {
				t.Errorf("emoji gets the parents %q", parents)
			}
			if diff := cmp.Diff(tt.spans, spans(r)); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
		})
	}
}
