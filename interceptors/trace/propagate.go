package trace

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// The headers of W3C Trace Context and Baggage.
const (
	traceparent   = "traceparent"
	tracestate    = "tracestate"
	baggageHeader = "baggage"
)

const (
	// maxState bounds a tracestate, in bytes: W3C Trace Context, section 3.3.1.5, asks
	// for no more.
	maxState = 512
	// maxBaggage bounds a baggage, in bytes: W3C Baggage, section 3.3.2.
	maxBaggage = 8192
	// maxParent bounds a traceparent: later versions may be longer than the 55 bytes of
	// this one.
	maxParent = 128
)

// w3c reads and writes traceparent and tracestate.
var w3c propagation.TraceContext

// extract puts the trace that came in with a call, whose headers are in the context from,
// into ctx, and returns ctx itself where none did.
func extract(ctx, from context.Context) context.Context {
	parent := metadata.ValueFromIncomingContext(from, traceparent)
	if len(parent) != 1 || len(parent[0]) > maxParent {
		return ctx // of two one is a lie
	}
	extracted := w3c.Extract(ctx, &carrier{
		parent: parent[0],
		state:  within(maxState, metadata.ValueFromIncomingContext(from, tracestate)),
	})
	if extracted == ctx {
		return ctx
	}
	text := within(maxBaggage, metadata.ValueFromIncomingContext(from, baggageHeader))
	if text == "" {
		return extracted
	}
	// What of it can be read counts, as for other libraries.
	if bag, _ := baggage.Parse(text); bag.Len() > 0 {
		return baggage.ContextWithBaggage(extracted, bag)
	}
	return extracted
}

// within joins the values of a header, nothing where they are too long.
func within(most int, values []string) string {
	switch len(values) {
	case 0:
		return ""
	case 1:
		if len(values[0]) > most {
			return ""
		}
		return values[0]
	}
	sum := len(values) - 1
	for _, v := range values {
		sum += len(v)
	}
	if sum > most {
		return ""
	}
	return strings.Join(values, ",")
}

// Inject returns a context in which a call has the headers of the trace that ctx is in or,
// where it is in none, of that which served came with, the call that it is made to serve;
// nil is none. It returns ctx itself where there is no trace. What the application put
// there by hand stays, unless there is a span of ours below it.
//
// The trace of a served call is looked for here, and not where it comes in, since most
// calls are served without another, and to find that there is none costs a look at all
// of its headers.
func (s *Span) Inject(ctx context.Context, served *call.Incoming) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		if served == nil || served.Untraced() {
			return ctx
		}
		traced := extract(ctx, served.Context)
		if traced == ctx {
			served.NoteUntraced()
			return ctx
		}
		ctx = traced
	}
	if len(metadata.ValueFromOutgoingContext(ctx, traceparent)) > 0 {
		if s.span == nil {
			return ctx
		}
		ctx = without(ctx)
	}
	var to carrier
	w3c.Inject(ctx, &to)
	headers := append(make([]string, 0, 6), traceparent, to.parent)
	if to.state != "" && len(to.state) <= maxState {
		headers = append(headers, tracestate, to.state)
	}
	if bag := baggage.FromContext(ctx); bag.Len() > 0 && len(metadata.ValueFromOutgoingContext(ctx, baggageHeader)) == 0 {
		if text := bag.String(); len(text) <= maxBaggage {
			headers = append(headers, baggageHeader, text)
		}
	}
	return metadata.AppendToOutgoingContext(ctx, headers...)
}

// without returns a context without the headers of a trace.
func without(ctx context.Context) context.Context {
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	md.Delete(traceparent)
	md.Delete(tracestate)
	return metadata.NewOutgoingContext(ctx, md)
}

// byHand puts a trace into the context that the application wrote into the headers of
// its call, if there is no other: our span then is below it.
func byHand(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	parent := metadata.ValueFromOutgoingContext(ctx, traceparent)
	if len(parent) != 1 || len(parent[0]) > maxParent {
		return ctx
	}
	return w3c.Extract(ctx, &carrier{
		parent: parent[0],
		state:  within(maxState, metadata.ValueFromOutgoingContext(ctx, tracestate)),
	})
}

// IDFrom returns the id of the trace that ctx is in or, for the context of a call that is
// served, came with; empty for none.
func IDFrom(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.HasTraceID() {
		sc = trace.SpanContextFromContext(extract(ctx, ctx))
	}
	if !sc.HasTraceID() {
		return ""
	}
	return sc.TraceID().String()
}

// A carrier is the two headers of W3C Trace Context.
type carrier struct{ parent, state string }

var _ propagation.TextMapCarrier = (*carrier)(nil)

// Get implements [propagation.TextMapCarrier].
func (c *carrier) Get(key string) string {
	switch key {
	case traceparent:
		return c.parent
	case tracestate:
		return c.state
	default:
		return ""
	}
}

// Set implements [propagation.TextMapCarrier].
func (c *carrier) Set(key, value string) {
	switch key {
	case traceparent:
		c.parent = value
	case tracestate:
		c.state = value
	default: // not of W3C Trace Context
	}
}

// Keys implements [propagation.TextMapCarrier].
func (*carrier) Keys() []string { return []string{traceparent, tracestate} }
