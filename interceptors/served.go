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
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
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
}

// begin returns why the call is not taken. Where it is nil end must be deferred.
func (v *visit) begin(ctx context.Context) (err error) {
	if v.ticket, err = v.server.admit(ctx, v.method); err != nil {
		return err
	}
	v.incoming = &call.Incoming{Context: ctx}
	return nil
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
}

// admit returns why a unary call is not taken, nil with the place it has when it is.
func (s *Server) admit(ctx context.Context, method string) (shed.Ticket, error) {
	e, err := s.policy(ctx)
	if err != nil {
		return shed.Ticket{}, err
	}
	a := e.admission(method)
	if a != nil {
		return s.admitWithin(ctx, e, a, method)
	}
	if failure := s.allow(ctx, e.in, method); failure != nil {
		return shed.Ticket{}, failure
	}
	return shed.Ticket{}, nil
}

// allow returns why a call may not be made, nil when it may.
func (s *Server) allow(ctx context.Context, in *resource.Inbound, method string) *call.Error {
	caller := access.CallerOf(ctx)
	return s.decide(ctx, in, &caller, method, method, time.Now())
}

// admitWithin is admit where there are limits. It asks for a place first: to refuse
// what is too much must cost nothing. A call that is refused for another reason gives
// its place back at once.
func (s *Server) admitWithin(ctx context.Context, e *enforced, a *admission, method string) (shed.Ticket, error) {
	now := time.Now()
	ticket, failure := s.place(ctx, a, now)
	if failure == nil {
		caller := access.CallerOf(ctx)
		if failure = s.decide(ctx, e.in, &caller, method, method, now); failure == nil {
			failure = s.let(ctx, a, &caller, method, now)
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
