package interceptors

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// A teller tells of one call and of its attempts: the instruments, the tracer, the
// access log and those who tap. It is immutable once the call is admitted, so that
// attempts that run beside each other may share it.
type teller struct {
	client *Client
	// service is the dialled one, route what the call takes; empty before it is known.
	service, route, method string

	begun time.Time
	span  trace.Span
	watch *tap.Watch // of the first attempt; nil while nobody taps
}

// An outing is one attempt while it runs.
type outing struct {
	begun time.Time
	span  trace.Span // where it has one of its own
	watch *tap.Watch
}

// begin begins to tell of a call, which began at a time. Spans of its attempts are in
// the context that rpc then has.
func (t *teller) begin(c *Client, rpc *call.Call, begun time.Time) {
	t.client, t.method, t.begun = c, rpc.Method, begun
	rpc.Context, t.span = c.tracer.Call(rpc.Context, rpc.Method, begun)
}

// match asks whether somebody taps the call, whose headers are those of ctx.
func (t *teller) match(ctx context.Context, rpc *call.Call) {
	if t.client.taps == nil {
		return
	}
	set := t.client.taps.Active()
	if set == nil {
		return
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	deadline, _ := ctx.Deadline()
	t.watch = set.Match(tap.Call{
		Side: tap.Client, Peer: t.service, Method: t.method, Metadata: md, Deadline: deadline, Stream: rpc.Stream,
	})
	rpc.Explain = t.watch != nil
}

// outing begins another attempt, whose call is rpc and whose context ctx.
func (t *teller) outing(rpc *call.Call, now time.Time) outing {
	o := outing{begun: now, watch: t.watch}
	if rpc.Attempt == 0 {
		return o
	}
	if t.watch != nil {
		o.watch = t.watch.Again()
	}
	if t.span.On() {
		rpc.Context, o.span = t.span.Attempt(rpc.Context, rpc.Attempt, now)
		rpc.Context = o.span.Inject(rpc.Context, nil)
	}
	return o
}

// back tells that an attempt is over, but for those who tap, and returns when it was.
func (t *teller) back(o *outing, rpc *call.Call, err error) time.Time {
	now := time.Now()
	if rpc.Picked.Chosen && t.client.telemetry != nil {
		t.client.telemetry.ClientAttempt(telemetry.AttemptKey{
			Service:  t.service,
			Route:    t.route,
			Method:   t.method,
			Cluster:  rpc.Cluster,
			Local:    rpc.Picked.Local,
			Security: securityOf(rpc.Picked.Security),
		}).Record(call.Code(err), now.Sub(o.begun))
	}
	if o.span.On() {
		t.endSpan(o.span, rpc, err, now)
	}
	return now
}

// endSpan ends the span of an attempt.
func (t *teller) endSpan(s trace.Span, rpc *call.Call, err error, now time.Time) {
	s.End(&trace.Facts{
		Code: call.Code(err), Message: messageOf(err), Reason: string(reasonOf(err)),
		Cluster: rpc.Cluster, Endpoint: rpc.Endpoint(), End: now,
	})
}

// first makes the span of the first attempt, which failed, now that there is a second.
func (t *teller) first(o *outing, rpc *call.Call, err error, ended time.Time) {
	if !t.span.On() {
		return
	}
	_, span := t.span.Attempt(rpc.Context, 0, o.begun)
	t.endSpan(span, rpc, err, ended)
}

// An ending is how a call went, as the application sees it.
type ending struct {
	err      error
	ctx      context.Context //nolint:containedctx // the call's own, for the id of its trace
	cluster  string
	endpoint string
	attempts uint32
	at       time.Time
}

// over tells that the call is over.
func (t *teller) over(e *ending) {
	c, code, reason := t.client, call.Code(e.err), reasonOf(e.err)
	if c.telemetry != nil && t.service != "" {
		c.telemetry.ClientCall(telemetry.ClientKey{Service: t.service, Route: t.route, Method: t.method}).
			Record(code, e.at.Sub(t.begun))
	}
	if reason != "" && t.service != "" {
		c.upstreams.of(t.service).refuse(reason)
	}
	if t.span.On() {
		t.span.End(&trace.Facts{
			Code: code, Message: messageOf(e.err), Reason: string(reason),
			Service: t.service, Route: t.route, Cluster: e.cluster, Endpoint: e.endpoint, Attempts: e.attempts, End: e.at,
		})
	}
	if c.log.Wants(code) {
		c.log.Tell(accesslog.Entry{
			Side: accesslog.Client, Peer: t.service, Method: t.method, Code: code, Took: e.at.Sub(t.begun),
			Attempts: e.attempts, Endpoint: e.endpoint, Trace: trace.IDFrom(e.ctx), Reason: reason, Message: messageOf(e.err),
		})
	}
}

// refused tells of a call that ended before its first attempt.
func (t *teller) refused(rpc *call.Call, err error) {
	now := time.Now()
	if t.match(rpc.Context, rpc); t.watch != nil {
		t.watch.End(tap.Facts{Start: t.begun, Took: now.Sub(t.begun), Route: t.route, Cluster: rpc.Cluster, Err: err})
	}
	t.over(&ending{err: err, ctx: rpc.Context, cluster: rpc.Cluster, at: now})
}

// unconfigured tells of a call for whose service there is no configuration. Of one that
// names no service there is nothing to tell, but to its trace.
func (t *teller) unconfigured(rpc *call.Call, err error) {
	if failure := call.AsError(err); failure != nil {
		t.service = failure.Service
	}
	t.refused(rpc, err)
}

// tapped makes an attempt of a unary call that somebody watches.
func (t *teller) tapped(o *outing, rpc *call.Call, u *unary) error {
	var seen seen
	own := *u
	own.Options = seen.options(u.Options)
	o.watch.Request(u.Request)
	err := own.invoke(rpc)
	if err == nil {
		o.watch.Response(u.Reply)
	}
	o.watch.End(t.facts(o, rpc, &seen, err, time.Now()))
	return err
}

// facts are what those who tap are told of an attempt.
func (t *teller) facts(o *outing, rpc *call.Call, s *seen, err error, now time.Time) tap.Facts {
	md, _ := metadata.FromOutgoingContext(rpc.Context)
	f := tap.Facts{
		Start: o.begun, Took: now.Sub(o.begun), Route: t.route, Cluster: rpc.Cluster, Attempt: rpc.Attempt, Err: err,
		RequestMetadata: md, ResponseMetadata: metadata.Join(s.header, s.trailer),
	}
	if rpc.Picked.Chosen {
		f.Endpoint, f.Why, f.Security = rpc.Endpoint(), rpc.Why, rpc.Picked.Security.String()
	}
	if rpc.Failure != nil {
		f.Reason = string(rpc.Failure.Reason)
	}
	if info, ok := s.peer.AuthInfo.(identity.AuthInfo); ok && info.Peer != nil {
		f.PeerID = info.Peer.URI
	}
	return f
}

// seen is what grpc tells of the other side, where somebody asks.
type seen struct {
	peer            peer.Peer
	header, trailer metadata.MD
}

// options returns the options with those that fill s. The slice may have room for more,
// which is not ours.
func (s *seen) options(own []grpc.CallOption) []grpc.CallOption {
	return append(slices.Clip(own), grpc.Peer(&s.peer), grpc.Header(&s.header), grpc.Trailer(&s.trailer))
}

// reasonOf is why the mesh of this process ended a call, empty where it did not.
func reasonOf(err error) call.Reason {
	switch e := err.(type) { //nolint:errorlint // one of ours within another error is the application's
	case nil:
		return ""
	case *call.Error:
		return e.Reason
	default:
		return ""
	}
}

// messageOf is why a call failed, in words.
func messageOf(err error) string {
	switch e := err.(type) { //nolint:errorlint // what wraps another is for status.Convert
	case nil:
		return ""
	case *call.Error:
		return e.Error()
	default:
		return status.Convert(err).Message()
	}
}

func securityOf(s call.Security) telemetry.Security {
	switch s {
	case call.MutualTLS:
		return telemetry.MTLS
	case call.Plaintext:
		return telemetry.Plaintext
	default:
		return telemetry.Unknown
	}
}
