package interceptors

import (
	"context"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/interceptors/access"
	"github.com/tulle-mesh/tulle/interceptors/shed"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/tap"
)

// pushbackKey is the trailer of a call that failed which says when to try again, or not
// to (gRFC A6).
const pushbackKey = "grpc-retry-pushback-ms"

// ServerStats are how many calls a [Server] ended by itself.
type ServerStats struct {
	// Panics are those whose handlers panicked, or ended their goroutines.
	Panics uint64
	// Limited are those above a rate limit, Shed those for which there was no place.
	Limited, Shed uint64
	// Injected are those that a fault rule ended.
	Injected uint64
}

type counts struct{ limited, shed, injected atomic.Uint64 }

// Stats returns what the Server has counted since it was made.
func (s *Server) Stats() ServerStats {
	return ServerStats{
		Panics:   s.recovery.Count(),
		Limited:  s.counts.limited.Load(),
		Shed:     s.counts.shed.Load(),
		Injected: s.counts.injected.Load(),
	}
}

// A visit is a unary call from when it is admitted until it is handled.
//
// The handler is called by whom grpc calls, and not by a function in between: grpc gives
// each call a goroutine, whose stack begins small and is copied to grow.
type visit struct {
	server   *Server
	method   string
	ticket   shed.Ticket
	incoming *call.Incoming
	handled  bool // whether the handler has returned

	caller access.Caller
	began  time.Time
	span   trace.Span
	watch  *tap.Watch // nil while nobody taps
}

// begin returns why the call is not taken. Where it is nil end must be deferred.
func (v *visit) begin(ctx context.Context) (err error) {
	v.began, v.caller = time.Now(), access.CallerOf(ctx)
	ctx, v.span = v.server.tracer.Serve(ctx, v.method)
	v.watch = v.server.match(ctx, &v.caller, v.method, false)
	if v.ticket, err = v.server.admit(ctx, v); err != nil {
		v.server.tell(v.visitor(ctx), err)
		return err
	}
	v.incoming = &call.Incoming{Context: ctx}
	return nil
}

// visitor is what is told of the call.
func (v *visit) visitor(ctx context.Context) *visitor {
	return &visitor{ctx: ctx, caller: v.caller, method: v.method, began: v.began, span: v.span, watch: v.watch}
}

// end ends the call with what its handler returned, or where it did not return.
func (v *visit) end(answer *any, err *error) {
	ctx := v.incoming.Context
	if !v.handled {
		*answer, *err = nil, v.server.unhandled(ctx, v.method, recover())
	}
	v.ticket.End(ctx, *err)
	if *err != nil && v.incoming.Spent() {
		_ = grpc.SetTrailer(ctx, notAgain) // outside of a server there is none
	}
	if v.watch != nil && *err == nil {
		v.watch.Response(*answer)
	}
	v.server.tell(v.visitor(ctx), *err)
}

// admit returns why a unary call is not taken, nil with the place it has when it is.
func (s *Server) admit(ctx context.Context, v *visit) (shed.Ticket, error) {
	e, now := s.enforced.Load(), v.began
	if e == nil || e.in != s.policies.Current() {
		var err error
		if e, err = s.policy(ctx); err != nil {
			return shed.Ticket{}, err
		}
		now = time.Now() // it may have been waited for
	}
	if a := e.admission(v.method); a != nil {
		return s.admitWithin(ctx, e, a, v, now)
	}
	if failure := s.decide(ctx, e.in, &v.caller, v.method, v.method, now); failure != nil {
		return shed.Ticket{}, failure
	}
	return shed.Ticket{}, nil
}

// admitWithin is admit where there are limits. It asks for a place first: to refuse
// what is too much must cost nothing. A call that is refused for another reason gives
// its place back at once.
func (s *Server) admitWithin(ctx context.Context, e *enforced, a *admission, v *visit, now time.Time) (shed.Ticket, error) {
	ticket, failure := s.place(ctx, a, now)
	if failure == nil {
		if failure = s.decide(ctx, e.in, &v.caller, v.method, v.method, now); failure == nil {
			failure = s.let(ctx, a, &v.caller, v.method, now)
		}
		if failure == nil {
			return ticket, nil
		}
		ticket.Release(now, false)
	}
	pushBack(ctx, failure)
	return shed.Ticket{}, failure
}

// unhandled is the end of a call whose handler did not return: recovered is what
// recover returned. Where that is nothing, the handler's goroutine ends, and nobody
// would tell the caller.
func (s *Server) unhandled(ctx context.Context, method string, recovered any) *call.Error {
	if recovered != nil {
		return s.recovery.Panicked(method, recovered, time.Now())
	}
	failure := s.recovery.Exited(method, time.Now())
	if transport, ok := grpc.ServerTransportStreamFromContext(ctx).(ender); ok {
		_ = transport.WriteStatus(failure.GRPCStatus()) // of a connection that is closed already there is nothing to end
	}
	return failure
}

// notAgain is the trailer of a call whose own calls were tried again in vain.
var notAgain = metadata.Pairs(pushbackKey, "-1")

// pushBack tells the caller when to try again, where the refusal says so.
func pushBack(ctx context.Context, refusal error) {
	if trailer := again(refusal); trailer != nil {
		_ = grpc.SetTrailer(ctx, trailer) // outside of a server there is none
	}
}

// again is the trailer of a refusal, nil for none.
func again(refusal error) metadata.MD {
	e := call.AsError(refusal)
	if e == nil || e.RetryAfter <= 0 {
		return nil
	}
	ms := math.Ceil(float64(e.RetryAfter) / float64(time.Millisecond))
	return metadata.Pairs(pushbackKey, strconv.FormatInt(int64(min(ms, math.MaxInt32)), 10))
}
