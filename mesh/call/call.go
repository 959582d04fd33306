// Package call holds the facts about one RPC that travel in its context, from
// the interceptor that starts it to the picker that sends it, and the error the
// mesh ends an RPC with.
//
// The interceptor and the picker live in packages that never import each other;
// a [Call] is the value they meet in. It costs one allocation per RPC, and two for each
// attempt after the first.
//
// The interceptor makes it and hands it on as the context:
//
//	rpc := &call.Call{Context: ctx, Cluster: "voting/v2"}
//	err := invoker(rpc, method, req, reply, cc, opts...)
//	if err != nil && rpc.Failure != nil {
//		return rpc.Failure // the mesh's reason says more than grpc's words
//	}
//
// The picker finds it again:
//
//	rpc := call.FromContext(info.Ctx)
//	rpc.Failure = &call.Error{Service: "voting", Reason: call.NoEndpoint, ...}
//
// The package decides nothing: it does not route, wait, retry or log.
package call

import (
	"context"
	"sync/atomic"
	"time"
)

// A Call is the context of one RPC, with what the mesh decided about it.
//
// It needs no lock: grpc-go makes every pick of one RPC in the goroutine that
// makes the call or, where it tries a stream again, under the stream's own
// lock, and returns the RPC's error only after the last of them.
//
// A Call sets no deadline of its own: Context does. A Call with a timer inside
// was weighed and left: context.WithCancel, which grpc-go calls on every RPC,
// starts a goroutine for each parent whose Done channel is not the standard
// library's.
type Call struct {
	context.Context

	// Service is the dialled service, Method the full method: what server-side
	// packages and pickers name in their errors.
	Service, Method string

	// Cluster is the cluster the route chose. A picker that does not know it
	// (the configuration moved on since) routes the call again by its own.
	Cluster string

	// Hash is the key that ring hash goes by, where Hashed is set.
	Hash uint64

	// tried is the address that was picked for the first attempt, and others those for
	// the ones after it, the latest last; pickers avoid them while there are others.
	// Fork reads them while the picker of a running attempt may add one: what ntried has
	// counted never changes, but for the last place.
	tried  string
	others *[maxTried - 1]string // nil before there are any
	ntried uint32                // atomic

	// Attempt counts the attempts of the call, retries and hedges, from zero. The
	// interceptor sets it before each; see [Call.Begin].
	Attempt uint32

	// crowd is where the call is, for streams whose cluster bounds their age.
	crowd atomic.Value // of a Crowd

	// Why is what made the picker choose, where Explain is set, as in
	// "peak-ewma: 2.1ms x 1 beat 10.0.0.8:8080 4ms x 3".
	Why string

	// Failure is the last reason why the mesh could not send the call, set by
	// the picker, nil once an endpoint was picked. The interceptor returns it to
	// the application in place of grpc's own words. (It cannot be named Err: a
	// field of that name would hide the context's method.)
	Failure *Error

	// Outcome is what the picker's endpoint came to in the last attempt that was
	// picked and is over. It is written before grpc returns the attempt's error.
	Outcome Outcome

	// Picked is what the picker says of the endpoint of the attempt at hand, zero until
	// it chose one.
	Picked Pick

	// WaitForReady is whether the application asked for grpc.WaitForReady: such
	// a call waits for a configuration as long as its context lets it.
	WaitForReady bool
	// Waited is whether the call had to wait for its configuration; who made it wait
	// says so.
	Waited bool
	// Hashed is whether there is a Hash.
	Hashed bool
	// Stream is whether the call is a stream, which may stay open for long.
	Stream bool
	// Copy is whether the call is a copy for a mirror. A picker that does not know its
	// Cluster refuses it: to route it by itself would make the call twice.
	Copy bool
	// Explain is whether the picker is to say in Why what made it choose. Somebody taps
	// the call then; to find the words costs more than the choice.
	Explain bool
	// untried are the places of tried and others, as bits, that were taken back. Forks do
	// not hear of it: they avoid one address more.
	untried uint8
}

// maxTried is how many endpoints of a call are remembered: no call has more
// attempts, but for those that grpc makes of one that no server has seen.
const maxTried = 5

// A Pick is an endpoint that was chosen for an attempt.
type Pick struct {
	// Chosen is whether there was one. Where grpc tries a stream again it is the last.
	Chosen bool
	// Local is whether it is in the process's own zone.
	Local bool
	// Security is that of the connection to it.
	Security Security
}

// Security is how a connection is secured.
type Security uint8

// The kinds of connections.
const (
	// UnknownSecurity is that of credentials that are not the mesh's.
	UnknownSecurity Security = iota
	// MutualTLS is that of the mesh: both sides have proved who they are.
	MutualTLS
	// Plaintext is none.
	Plaintext
)

// String returns "mtls", "plaintext" or "unknown".
func (s Security) String() string {
	switch s {
	case MutualTLS:
		return "mtls"
	case Plaintext:
		return "plaintext"
	default:
		return "unknown"
	}
}

// An Outcome is what one attempt came to, as its picker saw it.
type Outcome struct {
	// Sent is whether anything of the call may have reached the endpoint. It is
	// true until it is known otherwise, so that nothing is done twice by mistake.
	Sent bool
	// Pushback is what the endpoint said about trying again, by the trailer
	// grpc-retry-pushback-ms (gRFC A6): zero says nothing, negative not to.
	Pushback time.Duration
}

// Begin makes the Call ready for attempt n, and assumes that it will be sent.
func (c *Call) Begin(n uint32) {
	c.Attempt, c.Failure, c.Outcome, c.Picked = n, nil, Outcome{Sent: true}, Pick{}
	if c.Explain {
		c.Why = ""
	}
}

// Try remembers that an address was picked. The picker calls it.
func (c *Call) Try(address string) {
	n := c.ntried // nobody else writes it
	switch n {
	case 0:
		c.tried = address
	case maxTried:
		c.others[maxTried-2] = address
		c.untried &^= 1 << (maxTried - 1)
		return
	default:
		if c.others == nil {
			c.others = new([maxTried - 1]string)
		}
		c.others[n-1] = address
	}
	atomic.StoreUint32(&c.ntried, n+1)
}

// Untry takes the last Try back: nothing reached the address. The picker calls it.
func (c *Call) Untry() {
	if n := c.ntried; n > 0 {
		c.untried |= 1 << (n - 1)
	}
}

// HasTried reports whether an address was picked for an earlier attempt.
func (c *Call) HasTried(address string) bool {
	for i := range c.ntried {
		if c.untried&(1<<i) == 0 && c.address(i) == address {
			return true
		}
	}
	return false
}

// address is the one that was picked for an attempt.
func (c *Call) address(attempt uint32) string {
	if attempt == 0 {
		return c.tried
	}
	return c.others[attempt-1]
}

// Endpoint returns the address that was picked last, empty before the first.
func (c *Call) Endpoint() string {
	if c.ntried == 0 {
		return ""
	}
	return c.address(c.ntried - 1)
}

// A Crowd is an endpoint among the others of its cluster.
type Crowd interface {
	// Crowded reports whether it has so many more streams than the others that one
	// which is old should be opened anew. It is safe for concurrent use.
	Crowded() bool
}

// JoinCrowd says where the call is, a stream whose cluster bounds its age. The picker
// calls it, with one type of Crowd.
func (c *Call) JoinCrowd(crowd Crowd) { c.crowd.Store(crowd) }

// Crowded reports whether the call is in a crowd. It is safe for concurrent use.
func (c *Call) Crowded() bool {
	crowd, ok := c.crowd.Load().(Crowd)
	return ok && crowd.Crowded()
}

// Fork returns a Call for an attempt of the same RPC that runs beside this one, in
// ctx. It knows what was tried so far, and shares nothing that changes. It may be
// called while an attempt of c runs, which may be picking.
func (c *Call) Fork(ctx context.Context) *Call {
	fork := &Call{
		Context:      ctx,
		Cluster:      c.Cluster,
		WaitForReady: c.WaitForReady,
		Service:      c.Service,
		Method:       c.Method,
		Hash:         c.Hash,
		Hashed:       c.Hashed,
		Stream:       c.Stream,
		Explain:      c.Explain,
	}
	if fork.ntried = min(atomic.LoadUint32(&c.ntried), maxTried-1); fork.ntried > 0 {
		fork.tried = c.tried
	}
	if fork.ntried > 1 {
		fork.others = new([maxTried - 1]string)
		copy(fork.others[:fork.ntried-1], c.others[:fork.ntried-1])
	}
	return fork
}

var _ context.Context = (*Call)(nil)

type key struct{}

// Value returns the Call itself for the key of [FromContext].
func (c *Call) Value(k any) any {
	if _, ok := k.(key); ok {
		return c
	}
	return c.Context.Value(k)
}

// FromContext returns the innermost Call that ctx runs in, or nil where no
// interceptor of the mesh ran.
func FromContext(ctx context.Context) *Call {
	c, _ := ctx.Value(key{}).(*Call)
	return c
}
