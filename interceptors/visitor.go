package interceptors

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/access"
	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// A visitor is what is told of a call that the process serves, or refuses to.
type visitor struct {
	ctx    context.Context //nolint:containedctx // the call's own
	caller access.Caller
	method string // access.Other for what nobody has
	began  time.Time
	span   trace.Span
	watch  *tap.Watch // nil while nobody taps
}

// match asks whether somebody taps the call.
func (s *Server) match(ctx context.Context, c *access.Caller, method string, stream bool) *tap.Watch {
	if s.taps == nil {
		return nil
	}
	set := s.taps.Active()
	if set == nil {
		return nil
	}
	what := tap.Call{Side: tap.Server, Method: method, Stream: stream}
	if c.Peer != nil {
		what.Peer = c.Peer.Service
	}
	what.Metadata, _ = metadata.FromIncomingContext(ctx)
	what.Deadline, _ = ctx.Deadline()
	return set.Match(what)
}

// watched shows the request of a unary call to those who watch it.
func watched(w *tap.Watch, decode func(any) error) func(any) error {
	return func(request any) error {
		err := decode(request)
		if err == nil {
			w.Request(request)
		}
		return err
	}
}

// tell tells of a call that is over: the instruments, the tracer, the access log and
// those who tap.
func (s *Server) tell(v *visitor, err error) {
	now, code := time.Now(), codeOf(err)
	security := secured(v.ctx, &v.caller)
	if s.telemetry != nil {
		key := telemetry.ServerKey{Method: v.method, Security: security}
		if v.caller.Peer != nil {
			key.Caller = v.caller.Peer.URI
		}
		s.telemetry.ServerCall(key).Record(code, now.Sub(v.began))
	}
	if v.span.On() {
		v.span.End(&trace.Facts{
			Code: code, Server: true, Message: messageOf(err), Reason: string(reasonOf(err)), End: now,
		})
	}
	if s.lines.Wants(code) {
		s.line(v, code, err, now)
	}
	if v.watch != nil {
		f := tap.Facts{
			Start: v.began, Took: now.Sub(v.began), Security: security.String(), Err: err, Reason: string(reasonOf(err)),
			Attempt: call.PreviousAttempts(v.ctx),
		}
		if v.caller.Addr != nil {
			f.Endpoint = v.caller.Addr.String()
		}
		if v.caller.Peer != nil {
			f.PeerID = v.caller.Peer.URI
		}
		v.watch.End(f)
	}
}

// line writes a line of the access log.
func (s *Server) line(v *visitor, code codes.Code, err error, now time.Time) {
	e := accesslog.Entry{
		Side: accesslog.Server, Method: v.method, Code: code, Took: now.Sub(v.began),
		Attempts: call.PreviousAttempts(v.ctx) + 1,
		Trace:    trace.IDFrom(v.ctx), Reason: reasonOf(err), Message: messageOf(err),
	}
	switch {
	case v.caller.Peer != nil:
		e.Peer = v.caller.Peer.URI
	case v.caller.Addr != nil:
		e.Peer = v.caller.Addr.String()
	default: // nobody that is known
	}
	s.lines.Tell(e)
}

// codeOf is the code that grpc gives a call whose handler returned err.
func codeOf(err error) codes.Code {
	switch e := err.(type) { //nolint:errorlint // what wraps another is looked into below
	case nil:
		return codes.OK
	case *call.Error:
		return e.Code
	}
	if st, ok := status.FromError(err); ok {
		return st.Code()
	}
	return status.FromContextError(err).Code()
}

// secured is how the connection is that a call came by.
func secured(ctx context.Context, c *access.Caller) telemetry.Security {
	if c.Peer != nil {
		return telemetry.MTLS
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return telemetry.Unknown
	}
	switch info := p.AuthInfo.(type) {
	case identity.AuthInfo:
		return telemetry.Plaintext
	case nil:
		return telemetry.Plaintext
	default:
		if info.AuthType() == "insecure" {
			return telemetry.Plaintext
		}
		return telemetry.Unknown
	}
}
