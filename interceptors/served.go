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
)

// The metadata of retries (gRFC A6). The first comes with a call that was tried
// before, and says how often; the second goes with one that failed, and says when to
// try again, or not to.
const (
	attemptsKey = "grpc-previous-rpc-attempts"
	pushbackKey = "grpc-retry-pushback-ms"
)

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

// serve takes a unary call and has it handled, or refuses it before it is read.
func (s *Server) serve(ctx context.Context, method string, handle func(context.Context) (any, error)) (answer any, err error) {
	ticket, err := s.admit(ctx, method)
	if err != nil {
		pushBack(ctx, err)
		return nil, err
	}
	incoming := &call.Incoming{Context: ctx, Attempt: attemptOf(ctx)}
	handled := false
	defer func() {
		if !handled {
			answer, err = nil, s.unhandled(ctx, method, recover())
		}
		ticket.End(ctx, err)
		if err != nil && incoming.Spent() {
			_ = grpc.SetTrailer(ctx, notAgain) // outside of a server there is none
		}
	}()
	answer, err = handle(incoming)
	handled = true
	return answer, err
}

// admit returns why a unary call is not taken, nil with the place it has when it is.
//
// It asks for a place first: to refuse what is too much must cost nothing. A call that
// is refused for another reason gives its place back at once.
func (s *Server) admit(ctx context.Context, method string) (shed.Ticket, error) {
	e, err := s.policy(ctx)
	if err != nil {
		return shed.Ticket{}, err
	}
	a, now := e.admission(method), time.Now()
	ticket, failure := s.place(ctx, a, now)
	if failure != nil {
		return ticket, failure
	}
	caller := access.CallerOf(ctx)
	if failure = s.decide(ctx, e.in, &caller, method, method, now); failure == nil {
		failure = s.let(ctx, a, &caller, method, now)
	}
	if failure != nil {
		ticket.Release(now, false)
		return shed.Ticket{}, failure
	}
	return ticket, nil
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

// attemptOf is how many attempts of the call were made before this one. What is no
// number is none.
func attemptOf(ctx context.Context) uint32 {
	values := metadata.ValueFromIncomingContext(ctx, attemptsKey)
	if len(values) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(values[0], 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
