// Package hedge makes another attempt of a call that is slow to be answered, and
// takes the answer that comes first (gRFC A6, "Hedging Policy"; Dean and Barroso,
// The Tail at Scale). One call in a hundred that takes half a second is then two in
// ten thousand.
//
//	var hedges hedge.Hedger // one per process
//	tally, err := hedges.Do(rpc, hedge.Plan{
//		Policy:    traffic.Hedge,
//		Retryable: traffic.Retry.Codes,
//		Take:      budget.Take,
//	}, hedge.Unary{Method: method, Request: req, Reply: reply, Conn: cc, Invoker: invoker, Options: opts})
//
// The first attempt runs in the caller's goroutine, and where it is answered in
// time that is all. Otherwise a timer makes the next one in a goroutine of its own,
// up to the policy's attempts, each with a reply and options of its own. A success
// is an answer, and so is a failure that another attempt would not mend; the others
// are cancelled and waited for. A failure that is worth another attempt is no answer
// while attempts run or may still be made: the next one is made at once, or when the
// endpoint said that it may (grpc-retry-pushback-ms).
//
// The package does not know which calls may be made twice: see package retry. It
// hedges no streams, and bounds no load: that is for Take to do. Hedging takes the
// place of retries, as in gRFC A6: who retries what Do returned multiplies them.
package hedge

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Header says how many attempts came before, for every attempt but the first
// (gRFC A6).
const Header = "grpc-previous-rpc-attempts"

// A Plan says how one call is hedged.
type Plan struct {
	// Policy is the route's, or the call's own. Nil is no hedging.
	Policy *resource.Hedge
	// Retryable are the codes of failures that another attempt may mend.
	Retryable resource.CodeSet
	// Take takes one attempt from the retry budget, and reports whether it was
	// there; nil always is. A refusal ends the hedging of the call. It may be called
	// by several goroutines at once, but not after Do has returned.
	Take func() bool
}

// A Unary is a unary RPC that is not made yet: what grpc gives an interceptor.
type Unary struct {
	Method         string
	Request, Reply any
	Conn           *grpc.ClientConn
	Invoker        grpc.UnaryInvoker
	Options        []grpc.CallOption
}

// A Tally is what hedging did for one call.
type Tally struct {
	// Extra is how many attempts were made beside the first.
	Extra uint32
	// Won is whether the answer is not that of the first attempt.
	Won bool
	// Denied is whether the budget refused an attempt.
	Denied bool
}

// A Hedger hedges calls, and remembers what they take where a policy asks for a
// quantile. One is enough for a process. Its zero value is ready. It is safe for
// concurrent use.
type Hedger struct {
	latencies latencies
}

// Do makes the call, whose method may be made twice, and returns the error of the
// answer. rpc is ready for the first attempt (see [call.Call.Begin]); what it holds
// afterwards (Attempt, Failure, Outcome, Endpoint) is of the attempt that was
// answered. The call's deadline is that of rpc.Context: one that grpc sets by a
// service config begins anew with each attempt.
//
// The targets of the options Header, Trailer, Peer and OnFinish are those of the
// answer as well. A custom option that embeds one of them is not known, and its
// target is written by each attempt.
//
// Calls whose messages are not protobuf, and those whose method has too few calls to
// know its quantile (see [Latency]), are made once. No goroutine is left when Do
// returns.
func (h *Hedger) Do(rpc *call.Call, plan Plan, unary Unary) (Tally, error) {
	if plan.Policy == nil || plan.Policy.Attempts < 2 || !repeatable(unary) {
		return Tally{}, unary.invoke(rpc)
	}
	if plan.Policy.Delay > 0 {
		return start(rpc, plan, unary, plan.Policy.Delay, nil)
	}
	latency := h.latencies.of(rpc.Service, rpc.Method)
	if latency == nil {
		return Tally{}, unary.invoke(rpc)
	}
	begun := time.Now()
	if delay, ok := latency.Quantile(begun, plan.Policy.Quantile); ok {
		return start(rpc, plan, unary, delay, latency)
	}
	err := unary.invoke(rpc)
	if err == nil {
		now := time.Now()
		latency.Observe(now, now.Sub(begun))
	}
	return Tally{}, err
}

func (u *Unary) invoke(rpc *call.Call) error {
	return u.Invoker(rpc, u.Method, u.Request, u.Reply, u.Conn, u.Options...)
}

// repeatable reports whether several attempts may read the request at once, and
// each have a reply of its own. Of protobuf that is known; a codec of the
// application's own may do what it likes with its messages.
func repeatable(u Unary) bool {
	reply, ok := u.Reply.(proto.Message)
	if !ok || !reply.ProtoReflect().IsValid() {
		return false
	}
	_, ok = u.Request.(proto.Message)
	return ok
}
