// Package trace makes spans for calls, by the OpenTelemetry API that the application
// has, and hands traces on.
//
//	tracer := trace.New(nil) // the provider that is installed, if there is one
//
//	// a server
//	ctx, span := tracer.Serve(ctx, "/voting.v1.Voting/Vote")
//	answer, err := handler(ctx, req)
//	span.End(codes.OK, "", time.Now())
//
//	// a client
//	ctx, span := tracer.Call(ctx, "/voting.v1.Voting/Vote", time.Now())
//	err := invoker(span.Inject(ctx, call.IncomingFrom(ctx)), method, req, reply, cc)
//	span.End(codes.OK, "", time.Now())
//
// A trace that comes in goes out again with the calls that a handler makes in its
// context, by the headers of W3C Trace Context and Baggage, and also where the process
// has no tracer at all: who makes the spans before and behind it loses nothing. A call
// without a trace has no header more, and costs no allocation.
//
// Each call has a span on either side, named by its method. Where there is more than one
// attempt, each has a span of its own below the call's. That of the first is made when
// the second begins, with the times that it had: what the server did for it hangs
// below the call itself. Spans for single attempts would double the number of spans to
// say nothing new; events would not show how attempts overlap.
//
// What callers send is bounded: a tracestate of more than 512 bytes and a baggage of
// more than 8192 are not taken, nor a traceparent that is not one. Baggage travels with a
// trace, not without.
//
// The names are those of the semantic conventions for RPC, version 1.43. The package
// samples nothing and exports nothing; that is for the provider.
package trace

import (
	"context"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// scope names the mesh as who makes the spans.
const scope = "github.com/tulle-mesh/tulle"

// A Tracer makes spans, or hands traces on where it cannot. It is made by [New] and safe
// for concurrent use. A nil Tracer does neither.
type Tracer struct {
	given trace.TracerProvider // nil for the global one
	known atomic.Pointer[installed]
}

// installed is a provider with its tracer, which is nil where there is none worth
// asking.
type installed struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
	last     bool // whether another cannot be told from it
}

// New returns a Tracer of a provider. Nil is the one that otel.SetTracerProvider
// installs, also later.
func New(provider trace.TracerProvider) *Tracer { return &Tracer{given: provider} }

// tracer returns what makes spans now, nil for nothing. It allocates where the provider
// is another than before.
func (t *Tracer) tracer() trace.Tracer {
	known := t.known.Load()
	if known != nil && (t.given != nil || known.last) {
		return known.tracer
	}
	provider := t.given
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	if known != nil && known.provider == provider {
		return known.tracer
	}
	next := &installed{provider: provider, last: !reflect.TypeOf(provider).Comparable()}
	if !silent(provider) {
		next.tracer = provider.Tracer(scope)
	}
	t.known.Store(next)
	return next.tracer
}

// silent reports whether a provider makes no spans: what is installed before anything
// is, or what is installed to have none.
func silent(provider trace.TracerProvider) bool {
	if _, ok := provider.(noop.TracerProvider); ok {
		return true
	}
	// The type is not exported, and what it makes costs allocations for each call.
	return reflect.TypeOf(provider).String() == "*global.tracerProvider"
}

// A Span is one call, or one attempt, with what is needed to make those of its attempts.
// The zero Span is none. It is used by one goroutine at a time, but for Attempt.
type Span struct {
	span   trace.Span // nil for none
	tracer trace.Tracer
}

// Serve begins the span of a call that the process serves, in the context that its
// handler gets.
func (t *Tracer) Serve(ctx context.Context, method string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	tracer := t.tracer()
	if tracer == nil {
		return ctx, Span{} // Inject looks for the trace, if there is a call to be made
	}
	ctx, span := tracer.Start(extract(ctx, ctx), strings.TrimPrefix(method, "/"), //nolint:spancheck // the caller ends it
		trace.WithSpanKind(trace.SpanKindServer), about(method))
	return ctx, Span{span: span, tracer: tracer} //nolint:spancheck // as above
}

// Call begins the span of a call that began at a time. The context is that of its
// attempts, which each need [Span.Inject].
func (t *Tracer) Call(ctx context.Context, method string, begun time.Time) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	tracer := t.tracer()
	if tracer == nil {
		return ctx, Span{}
	}
	ctx, span := tracer.Start(byHand(ctx), strings.TrimPrefix(method, "/"), //nolint:spancheck // the caller ends it
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(begun), about(method))
	return ctx, Span{span: span, tracer: tracer} //nolint:spancheck // as above
}

// On reports whether there is a span.
func (s *Span) On() bool { return s.span != nil }

// Attempt begins the span of an attempt, n counted from zero, in a context that Call
// returned or a child of it.
func (s *Span) Attempt(ctx context.Context, n uint32, begun time.Time) (context.Context, Span) {
	if s.span == nil {
		return ctx, Span{}
	}
	ctx, span := s.tracer.Start(ctx, "attempt", trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(begun), //nolint:spancheck // the caller ends it
		trace.WithAttributes(attribute.Int("tulle.attempt", int(n))))
	return ctx, Span{span: span, tracer: s.tracer} //nolint:spancheck // as above
}

// Facts are what is known of a call, or an attempt, once it is over.
type Facts struct {
	Code codes.Code
	// Server is whether it is a call that the process served: of those that fail only
	// some are errors of its own.
	Server bool
	// Message says why it failed, Reason why the mesh made it fail; may be empty.
	Message, Reason string
	// Service is the dialled one, Route and Cluster where it went, Endpoint the address;
	// may be empty.
	Service, Route, Cluster, Endpoint string
	// Attempts are how many there were; zero is not told.
	Attempts uint32
	// End is when it was over.
	End time.Time
}

// End ends the span.
func (s *Span) End(f *Facts) {
	if s.span == nil {
		return
	}
	if s.span.IsRecording() {
		s.describe(f)
	}
	s.span.End(trace.WithTimestamp(f.End))
}

// maxMessage bounds what a span repeats of an error, in bytes.
const maxMessage = 256

// describe writes down how it went.
func (s *Span) describe(f *Facts) {
	name := call.CodeName(f.Code)
	attributes := append(make([]attribute.KeyValue, 0, 8), attribute.String("rpc.response.status_code", name))
	for _, a := range [...]struct{ key, value string }{
		{"tulle.reason", f.Reason},
		{"tulle.service", f.Service},
		{"tulle.route", f.Route},
		{"tulle.cluster", f.Cluster},
		{"tulle.endpoint", f.Endpoint},
	} {
		if a.value != "" {
			attributes = append(attributes, attribute.String(a.key, a.value))
		}
	}
	if f.Attempts > 0 {
		attributes = append(attributes, attribute.Int("tulle.attempts", int(f.Attempts)))
	}
	if failed(f) {
		attributes = append(attributes, attribute.String("error.type", name))
		message := f.Message
		if len(message) > maxMessage {
			message = strings.ToValidUTF8(message[:maxMessage], "")
		}
		s.span.SetStatus(otelcodes.Error, message)
	}
	s.span.SetAttributes(attributes...)
}

// failed reports whether the conventions call it an error: on the client's side all but
// OK, on the server's what is the server's fault.
func failed(f *Facts) bool {
	if !f.Server {
		return f.Code != codes.OK
	}
	switch f.Code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}

// about is what is known of a call by its method.
func about(method string) trace.SpanStartEventOption {
	return trace.WithAttributes(
		attribute.String("rpc.system.name", "grpc"),
		attribute.String("rpc.method", strings.TrimPrefix(method, "/")),
	)
}
