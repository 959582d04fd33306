package hedge

import (
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A race is one call and its attempts.
type race struct {
	plan    Plan
	unary   Unary
	delay   time.Duration
	latency *Latency // nil where nobody asks for it
	begun   time.Time
	first   *attempt
	// kind is the reply's. It is asked for before the first attempt, which may write
	// the reply while others begin.
	kind protoreflect.MessageType

	ctx    context.Context //nolint:containedctx // the call's own, with what ends its losers
	cancel context.CancelFunc

	// running are the goroutines of the timer: those that run, and one that is to
	// come while the timer is armed.
	running sync.WaitGroup

	mu     sync.Mutex // not held while the budget or the invoker is called
	timer  *time.Timer
	made   uint32   // attempts so far
	latest *attempt // of which the next is a fork
	closed bool     // no other attempt is made
	winner *attempt // whose answer counts
	failed *attempt // the last whose failure was no answer
	tally  Tally
}

// An attempt is one RPC of a race. All but err belongs to the goroutine that runs it.
type attempt struct {
	rpc     *call.Call
	reply   proto.Message
	targets targets
	err     error
}

// start makes the first attempt, and returns when all are over.
func start(rpc *call.Call, plan Plan, unary Unary, delay time.Duration, latency *Latency) (Tally, error) {
	own := rpc.Context
	ctx, cancel := context.WithCancel(own)
	defer cancel()
	rpc.Context = ctx
	first := &attempt{
		rpc: rpc,
		// All attempts are over before another's reply is copied here.
		reply:   unary.Reply.(proto.Message), // repeatable saw to it
		targets: split(unary.Options),
	}
	r := &race{
		plan:    plan,
		unary:   unary,
		delay:   delay,
		latency: latency,
		begun:   time.Now(),
		first:   first,
		kind:    first.reply.ProtoReflect().Type(),
		ctx:     ctx,
		cancel:  cancel,
		made:    1,
		latest:  first,
	}
	r.mu.Lock()
	r.arm()
	r.mu.Unlock()
	r.run(first)
	r.running.Wait()
	rpc.Context = own
	return r.result()
}

// run makes an attempt, and then those that failures ask for.
func (r *race) run(a *attempt) {
	for a != nil {
		a.err = r.unary.Invoker(a.rpc, r.unary.Method, r.unary.Request, a.reply, r.unary.Conn, a.targets.options...)
		a = r.over(a)
	}
}

// over takes in an attempt that has ended. It returns the next, where that is to be
// made at once: a failure that another attempt may mend does not wait for the timer
// (gRFC A6), unless the mesh refused to send, which it would again.
func (r *race) over(a *attempt) *attempt {
	if a == r.first {
		r.observe(a.err)
	}
	r.mu.Lock()
	if r.winner != nil {
		r.mu.Unlock()
		return nil
	}
	if !r.mends(a.err) {
		r.winner = a
		r.close()
		r.mu.Unlock()
		r.cancel()
		return nil
	}
	r.failed = a
	made, refused, pushback := r.made, a.rpc.Failure != nil, a.rpc.Outcome.Pushback
	switch {
	case pushback < 0:
		r.close()
	case !refused:
		r.disarm()
	}
	r.mu.Unlock()
	if refused || pushback < 0 || !r.wait(pushback) {
		return nil
	}
	return r.another(made)
}

// mends reports whether another attempt may mend a failure.
func (r *race) mends(err error) bool {
	return err != nil && r.ctx.Err() == nil && r.plan.Retryable.Has(uint32(status.Code(err)))
}

// wait waits as long as an endpoint asks for, and reports whether another attempt can
// be made then.
func (r *race) wait(pushback time.Duration) bool {
	if pushback == 0 {
		return true
	}
	if deadline, ok := r.ctx.Deadline(); ok && time.Until(deadline) <= pushback {
		return false
	}
	timer := time.NewTimer(pushback)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// tick makes the next attempt when the delay is over.
func (r *race) tick(made uint32) {
	defer r.running.Done()
	r.run(r.another(made))
}

// another returns the next attempt, nil where there is none: the attempts or the
// budget are used up, the call is over, or others made it since there were made.
func (r *race) another(made uint32) *attempt {
	r.mu.Lock()
	if r.closed || r.made != made || made >= min(r.plan.Policy.Attempts, resource.MaxAttempts) || r.ctx.Err() != nil {
		r.mu.Unlock()
		return nil
	}
	r.made++
	latest := r.latest
	r.mu.Unlock()

	if r.plan.Take != nil && !r.plan.Take() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tally.Denied = true
		r.close()
		return nil
	}
	n := r.first.rpc.Attempt + made
	ctx := metadata.AppendToOutgoingContext(r.ctx, Header, strconv.FormatUint(uint64(n), 10))
	a := &attempt{
		rpc:     latest.rpc.Fork(ctx),
		reply:   r.kind.New().Interface(),
		targets: split(r.unary.Options),
	}
	a.rpc.Begin(n)

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil // answered meanwhile
	}
	r.tally.Extra++
	r.latest = a
	r.arm()
	return a
}

// arm starts the timer for the next attempt, if there is to be one. It needs mu, and
// is called where running cannot be zero while somebody waits for it.
func (r *race) arm() {
	if made := r.made; made < min(r.plan.Policy.Attempts, resource.MaxAttempts) {
		r.running.Add(1)
		r.timer = time.AfterFunc(r.delay, func() { r.tick(made) })
	}
}

// disarm stops the timer, if it has not gone off yet. It needs mu.
func (r *race) disarm() {
	if r.timer != nil && r.timer.Stop() {
		r.running.Done()
	}
	r.timer = nil
}

// close makes the attempts that run the last ones. It needs mu.
func (r *race) close() {
	r.closed = true
	r.disarm()
}

// observe counts what the first attempt took. Where it was given up, for another was
// faster or the call ran out of time, it took at least as long as until now, which is
// more than the delay. To leave those out would lower the quantile, make more hedges,
// and lower it again.
func (r *race) observe(err error) {
	if r.latency == nil {
		return
	}
	now := time.Now()
	took := now.Sub(r.begun)
	if err == nil || r.ctx.Err() != nil && took >= r.delay {
		r.latency.Observe(now, took)
	}
}

// result makes the caller's call and reply those of the attempt that counts. All
// attempts are over.
func (r *race) result() (Tally, error) {
	a := r.winner
	if a == nil {
		a = r.failed
	}
	if a != r.first {
		r.tally.Won = true
		rpc := r.first.rpc
		rpc.Attempt, rpc.Failure, rpc.Outcome = a.rpc.Attempt, a.rpc.Failure, a.rpc.Outcome
		if endpoint := a.rpc.Endpoint(); endpoint != "" {
			rpc.Try(endpoint)
		}
		if a.err == nil {
			proto.Reset(r.first.reply)
			proto.Merge(r.first.reply, a.reply)
		}
	}
	a.targets.commit()
	return r.tally, a.err
}
