package interceptors

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/mirror"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// A unary is a unary RPC that is made several times: what grpc gives an interceptor.
type unary mirror.Unary

func (u *unary) invoke(rpc *call.Call) error {
	return u.Invoker(rpc, u.Method, u.Request, u.Reply, u.Conn, u.Options...)
}

// A unaryCall is a unary call as the application makes it. It lies on the stack: nothing
// keeps it beyond the call.
type unaryCall struct {
	unary
	plan
	wishes wishes
}

// errUnwound is how a call ends that panics: it says nothing of the service.
var errUnwound = status.Error(codes.Canceled, "the call panicked")

// run makes the call's attempts, in the goroutine of the caller.
func (u *unaryCall) run(rpc *call.Call) (err error) {
	if u.cancel != nil {
		defer u.cancel()
	}
	err = errUnwound
	defer func() { u.over(rpc, err) }()
	result := u.first(rpc)
	if result != nil {
		rpc, result = u.others(rpc, result)
		if result != nil {
			u.spent(rpc)
			result = u.explain(rpc, result)
		}
	}
	if err = result; u.wishes.finishes {
		finish(u.wishes.opts, err)
	}
	return err
}

// over is the end of the call, as the application sees it.
func (u *unaryCall) over(rpc *call.Call, err error) {
	if u.traffic.Breaker != nil {
		u.ticket.Done(u.own, err)
	}
	now := u.ended
	if now.IsZero() {
		now = time.Now()
	}
	u.tell.over(&ending{err: err, ctx: u.ctx, cluster: rpc.Cluster, endpoint: rpc.Endpoint(), attempts: u.made - u.dropped, at: now})
}

// send makes an attempt.
func (u *unaryCall) send(rpc *call.Call) (err error) {
	if u.outing.watch != nil {
		err = u.tell.tapped(&u.outing, rpc, &u.unary)
	} else {
		err = u.invoke(rpc)
	}
	u.ended = u.tell.back(&u.outing, rpc, err)
	return err
}

// first makes the first attempt, and its hedges.
func (u *unaryCall) first(rpc *call.Call) error {
	policy := u.traffic.Hedge
	if u.wishes.hedged {
		policy = hedging(policy, u.wishes.hedge)
	}
	if policy != nil && policy.Attempts > 1 && !u.serving() && u.repeatable() {
		return u.hedged(rpc, policy)
	}
	if u.retry.PerTryTimeout <= 0 {
		return u.send(rpc)
	}
	ctx, cancel := u.try(u.ctx)
	if cancel != nil {
		defer cancel()
	}
	rpc.Context = ctx
	return u.send(rpc)
}

// others makes the attempts after the first, which failed with err. It returns the
// last one's call and error.
func (u *unaryCall) others(rpc *call.Call, err error) (*call.Call, error) {
	for err != nil && !u.denied {
		var ok bool
		if ok, err = u.again(rpc, err); !ok {
			break
		}
		var cancel context.CancelFunc
		rpc, cancel = u.attempt(rpc)
		err = u.send(rpc)
		if cancel != nil {
			cancel()
		}
	}
	return rpc, err
}
