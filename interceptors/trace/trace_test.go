package trace

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/call"
)

const (
	method  = "/voting.v1.Voting/Vote"
	came    = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

// recording returns a Tracer whose spans are seen.
func recording(t *testing.T, sampler sdktrace.Sampler) (*Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r), sdktrace.WithSampler(sampler))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return New(provider), r
}

func incoming(t testing.TB, pairs ...string) context.Context {
	return metadata.NewIncomingContext(t.Context(), metadata.Pairs(pairs...))
}

func outgoing(t testing.TB, pairs ...string) context.Context {
	return metadata.NewOutgoingContext(t.Context(), metadata.Pairs(pairs...))
}

// sent is what a call in ctx has on the wire.
func sent(ctx context.Context) map[string][]string {
	md, _ := metadata.FromOutgoingContext(ctx)
	return md
}

func TestATraceThatComesInGoesOutWithoutATracer(t *testing.T) {
	long := strings.Repeat("x", 600)
	for _, tt := range []struct {
		name string
		in   []string
		want metadata.MD
	}{
		{"nothing came in, nothing goes out", nil, nil},
		{"the parent goes out as it came", []string{traceparent, came}, metadata.MD{traceparent: {came}}},
		{
			"with its state and baggage",
			[]string{traceparent, came, tracestate, "a=1,b=2", baggageHeader, "tenant=7"},
			metadata.MD{traceparent: {came}, tracestate: {"a=1,b=2"}, baggageHeader: {"tenant=7"}},
		},
		{
			"headers that came in parts are put together",
			[]string{traceparent, came, tracestate, "a=1", tracestate, "b=2"},
			metadata.MD{traceparent: {came}, tracestate: {"a=1,b=2"}},
		},
		{"what is no parent is dropped", []string{traceparent, "00-xyz", tracestate, "a=1"}, nil},
		{"of two parents neither counts", []string{traceparent, came, traceparent, came}, nil},
		{"a parent of any length is not read", []string{traceparent, came + "-" + long}, nil},
		{"one of a later version is understood", []string{traceparent, "01" + came[2:] + "-more"}, metadata.MD{traceparent: {came}}},
		{"a state that is too long is dropped, the parent is not", []string{traceparent, came, tracestate, "a=" + long}, metadata.MD{traceparent: {came}}},
		{"one that is too long in parts, too", []string{traceparent, came, tracestate, "a=" + long[:300], tracestate, "b=" + long[:300]}, metadata.MD{traceparent: {came}}},
		{"a baggage that is too long is dropped", []string{traceparent, came, baggageHeader, "a=" + strings.Repeat(long, 14)}, metadata.MD{traceparent: {came}}},
		{"baggage does not travel alone", []string{baggageHeader, "tenant=7"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tracer := New(noop.NewTracerProvider())
			ctx, served := tracer.Serve(incoming(t, tt.in...), method)
			in := &call.Incoming{Context: ctx}
			ctx, called := tracer.Call(in, method, time.Now())
			if served.On() || called.On() {
				t.Error("there is a span without a tracer")
			}
			for range 2 { // a handler may make several calls
				if diff := cmp.Diff(map[string][]string(tt.want), sent(called.Inject(ctx, in))); diff != "" {
					t.Errorf("sent (-want +got):\n%s", diff)
				}
			}
			served.End(&Facts{})
			called.End(&Facts{})
		})
	}
}

func TestWithoutATraceNothingIsAllocated(t *testing.T) {
	for name, tracer := range map[string]*Tracer{"none": nil, "the global one, which nobody installed": New(nil), "one that does nothing": New(noop.NewTracerProvider())} {
		t.Run(name, func(t *testing.T) {
			ctx := incoming(t, ":authority", "voting", "content-type", "application/grpc", "user-agent", "grpc-go")
			in := &call.Incoming{Context: ctx}
			if got := testing.AllocsPerRun(1000, func() {
				ctx, served := tracer.Serve(in, method)
				ctx, called := tracer.Call(ctx, method, time.Time{})
				if ctx = called.Inject(ctx, in); ctx.Err() != nil {
					t.Error(ctx.Err())
				}
				called.End(&Facts{})
				served.End(&Facts{})
			}); got != 0 {
				t.Errorf("it costs %v allocations", got)
			}
		})
	}
}

// attributesOf are a span's, as text.
func attributesOf(s sdktrace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func TestSpans(t *testing.T) {
	tracer, seen := recording(t, sdktrace.AlwaysSample())
	begun := time.Now()
	ctx, served := tracer.Serve(incoming(t, traceparent, came), method)
	ctx, called := tracer.Call(ctx, "/shop.v1.Shop/Buy", begun)
	first := sent(called.Inject(ctx, nil))
	attempt, second := called.Attempt(ctx, 1, begun.Add(time.Second))
	again := sent(second.Inject(attempt, nil))
	second.End(&Facts{Code: codes.OK, Endpoint: "10.0.0.1:80", End: begun.Add(2 * time.Second)})
	called.End(&Facts{Code: codes.Unavailable, Message: "gone", Reason: "NO_ENDPOINT", Service: "shop", Route: "r", Cluster: "shop/v2", Attempts: 2, End: begun.Add(3 * time.Second)})
	served.End(&Facts{Code: codes.NotFound, Server: true, Message: "no such vote", End: begun.Add(4 * time.Second)})

	spans := seen.Ended()
	if len(spans) != 3 {
		t.Fatalf("%d spans, want that of the call served, of the one made and of its second attempt", len(spans))
	}
	for i, want := range []struct {
		name       string
		kind       trace.SpanKind
		parent     string
		status     otelcodes.Code
		attributes map[string]string
		took       time.Duration
	}{
		{"attempt", trace.SpanKindClient, spans[1].SpanContext().SpanID().String(), otelcodes.Unset, map[string]string{
			"tulle.attempt": "1", "rpc.response.status_code": "OK", "tulle.endpoint": "10.0.0.1:80",
		}, time.Second},
		{"shop.v1.Shop/Buy", trace.SpanKindClient, spans[2].SpanContext().SpanID().String(), otelcodes.Error, map[string]string{
			"rpc.system.name": "grpc", "rpc.method": "shop.v1.Shop/Buy", "rpc.response.status_code": "UNAVAILABLE", "error.type": "UNAVAILABLE",
			"tulle.reason": "NO_ENDPOINT", "tulle.service": "shop", "tulle.route": "r", "tulle.cluster": "shop/v2", "tulle.attempts": "2",
		}, 3 * time.Second},
		{"voting.v1.Voting/Vote", trace.SpanKindServer, spanID, otelcodes.Unset, map[string]string{
			"rpc.system.name": "grpc", "rpc.method": "voting.v1.Voting/Vote", "rpc.response.status_code": "NOT_FOUND",
		}, 0},
	} {
		s := spans[i]
		if s.Name() != want.name || s.SpanKind() != want.kind || s.Parent().SpanID().String() != want.parent ||
			s.SpanContext().TraceID().String() != traceID || s.Status().Code != want.status {
			t.Errorf("span %d is %s, %v, below %v, %v", i, s.Name(), s.SpanKind(), s.Parent().SpanID(), s.Status())
		}
		if diff := cmp.Diff(want.attributes, attributesOf(s)); diff != "" {
			t.Errorf("attributes of %s (-want +got):\n%s", s.Name(), diff)
		}
		if took := s.EndTime().Sub(s.StartTime()); want.took > 0 && took != want.took {
			t.Errorf("%s took %v, want %v", s.Name(), took, want.took)
		}
	}
	for i, headers := range []map[string][]string{first, again} {
		want := "00-" + traceID + "-" + spans[1-i].SpanContext().SpanID().String() + "-01"
		if diff := cmp.Diff(map[string][]string{traceparent: {want}}, headers); diff != "" {
			t.Errorf("sent with attempt %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestOnTheServersSideAnErrorIsTheServers(t *testing.T) {
	for code, want := range map[codes.Code]bool{
		codes.OK: false, codes.NotFound: false, codes.PermissionDenied: false, codes.Canceled: false, codes.ResourceExhausted: false,
		codes.Unknown: true, codes.Internal: true, codes.Unavailable: true, codes.DeadlineExceeded: true,
	} {
		if got := failed(&Facts{Code: code, Server: true}); got != want {
			t.Errorf("%v is an error: %v, want %v", code, got, want)
		}
		if got := failed(&Facts{Code: code}); got != (code != codes.OK) {
			t.Errorf("for a client %v is an error: %v", code, got)
		}
	}
}

func TestATraceThatIsNotSampledGoesOut(t *testing.T) {
	tracer, seen := recording(t, sdktrace.NeverSample())
	ctx, span := tracer.Call(t.Context(), method, time.Now())
	headers := sent(span.Inject(ctx, nil))[traceparent]
	span.End(&Facts{})
	if len(headers) != 1 || !strings.HasSuffix(headers[0], "-00") {
		t.Errorf("sent %q, want a parent that is not sampled", headers)
	}
	if got := len(seen.Ended()); got != 0 {
		t.Errorf("%d spans were recorded", got)
	}
}

func TestATraceThatTheApplicationHandsOnByHand(t *testing.T) {
	t.Run("stays where there is no tracer", func(t *testing.T) {
		tracer := New(noop.NewTracerProvider())
		ctx, span := tracer.Call(outgoing(t, traceparent, came, "k", "v"), method, time.Now())
		if diff := cmp.Diff(map[string][]string{traceparent: {came}, "k": {"v"}}, sent(span.Inject(ctx, nil))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("stays where it is not that of the context", func(t *testing.T) {
		tracer := New(noop.NewTracerProvider())
		ctx, _ := tracer.Serve(incoming(t, traceparent, "00-11111111111111111111111111111111-1111111111111111-01"), method)
		in := &call.Incoming{Context: ctx}
		ctx, span := tracer.Call(metadata.AppendToOutgoingContext(in, traceparent, came), method, time.Now())
		if diff := cmp.Diff(map[string][]string{traceparent: {came}}, sent(span.Inject(ctx, in))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("has our span below it", func(t *testing.T) {
		tracer, seen := recording(t, sdktrace.AlwaysSample())
		ctx, span := tracer.Call(outgoing(t, traceparent, came, tracestate, "a=1", "k", "v"), method, time.Now())
		headers := sent(span.Inject(ctx, nil))
		span.End(&Facts{})
		s := seen.Ended()[0]
		want := map[string][]string{traceparent: {"00-" + traceID + "-" + s.SpanContext().SpanID().String() + "-01"}, tracestate: {"a=1"}, "k": {"v"}}
		if diff := cmp.Diff(want, headers); diff != "" {
			t.Error(diff)
		}
		if s.Parent().SpanID().String() != spanID {
			t.Errorf("it is below %v", s.Parent().SpanID())
		}
	})
}

func TestAProviderThatIsInstalledLaterIsFound(t *testing.T) {
	before := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	tracer := New(nil)
	if _, span := tracer.Call(t.Context(), method, time.Now()); span.On() {
		t.Fatal("there is a span before a tracer is installed")
	}
	r := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)))
	_, span := tracer.Call(t.Context(), method, time.Now())
	span.End(&Facts{})
	if len(r.Ended()) != 1 {
		t.Error("there is no span once it is")
	}
	otel.SetTracerProvider(noop.NewTracerProvider())
	if _, span := tracer.Call(t.Context(), method, time.Now()); span.On() {
		t.Error("there is a span when it is gone")
	}
}

// odd is a provider whose values cannot be compared.
type odd struct {
	noop.TracerProvider

	_ []int
}

func TestAProviderThatCannotBeCompared(t *testing.T) {
	before := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	otel.SetTracerProvider(odd{})
	tracer := New(nil)
	for range 2 {
		_, span := tracer.Call(t.Context(), method, time.Now())
		span.End(&Facts{})
	}
}

func TestWhatASpanSaysIsBounded(t *testing.T) {
	tracer, seen := recording(t, sdktrace.AlwaysSample())
	_, span := tracer.Call(t.Context(), method, time.Now())
	span.End(&Facts{Code: codes.Internal, Message: strings.Repeat("ä", 1000)})
	if got := seen.Ended()[0].Status().Description; len(got) > maxMessage || !strings.HasPrefix(got, "ää") {
		t.Errorf("a message of %d bytes", len(got))
	}
}

func TestIDFrom(t *testing.T) {
	ctx, _ := New(noop.NewTracerProvider()).Serve(incoming(t, traceparent, came), method)
	if got := IDFrom(ctx); got != traceID {
		t.Errorf("the id is %q", got)
	}
	if got := IDFrom(t.Context()); got != "" {
		t.Errorf("without a trace the id is %q", got)
	}
}

// What comes in is what W3C's own reader makes of it, or nothing.
func FuzzExtract(f *testing.F) {
	f.Add(came, "a=1,b=2", "k=v;p=1")
	f.Add("00-00000000000000000000000000000000-b7ad6b7169203331-01", "", "")
	f.Add("ff-"+came[3:], "=", ",")
	f.Add(came+"-x", "a=1,a=2", "k=%zz")
	f.Fuzz(func(t *testing.T, parent, state, bag string) {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.MD{traceparent: {parent}, tracestate: {state}, baggageHeader: {bag}})
		got := extract(ctx, ctx)
		want := propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: parent, tracestate: state})
		g, w := trace.SpanContextFromContext(got), trace.SpanContextFromContext(want)
		if len(parent) <= maxParent && (g.TraceID() != w.TraceID() || g.SpanID() != w.SpanID()) {
			t.Errorf("%q is %v, want %v", parent, g, w)
		}
		out := sent(new(Span).Inject(got, nil))
		if len(strings.Join(out[tracestate], ",")) > maxState || len(strings.Join(out[baggageHeader], ",")) > maxBaggage || len(out[traceparent]) > 1 {
			t.Errorf("sent %v", out)
		}
	})
}

func BenchmarkNoTrace(b *testing.B) {
	tracer := New(nil)
	ctx := incoming(b, ":authority", "voting", "content-type", "application/grpc", "user-agent", "grpc-go")
	in := &call.Incoming{Context: ctx}
	b.ReportAllocs()
	for b.Loop() {
		ctx, served := tracer.Serve(ctx, method)
		ctx, called := tracer.Call(ctx, method, time.Time{})
		_ = called.Inject(ctx, in)
		called.End(&Facts{})
		served.End(&Facts{})
	}
}
