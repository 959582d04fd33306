package balancer

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// A purpose is why a call goes where it goes.
type purpose uint8

const (
	ordinary purpose = iota
	// reminder is a call to an endpoint that is avoided for being slow.
	reminder
	// probe is the call that a breaker lets through.
	probe
)

// An attempt is one call on its way to one endpoint. Attempts are pooled, each with
// its Done made once: that is what makes a pick free of allocations. grpc-go calls
// Done exactly once for each pick, so the attempt is free after it.
type attempt struct {
	done func(balancer.DoneInfo) // of the attempt itself

	pool    *Pool
	node    *Node
	rpc     *call.Call
	open    *openCalls
	inner   func(balancer.DoneInfo) // of the endpoint's picker; nil mostly
	begun   int64
	purpose purpose
	stream  bool
	limited bool // whether it is counted in the node's total
}

var attempts sync.Pool

func newAttempt() *attempt {
	if a, ok := attempts.Get().(*attempt); ok {
		return a
	}
	a := &attempt{}
	a.done = a.end
	return a
}

func (a *attempt) begin(p *Pool, n *Node, rpc *call.Call, open *openCalls, now int64, purpose purpose) {
	a.pool, a.node, a.rpc, a.open = p, n, rpc, open
	a.begun, a.purpose = now, purpose
	a.stream, a.limited = false, p.limit > 0
	n.begin()
	if rpc != nil {
		if rpc.Failure != nil {
			rpc.Failure = nil
		}
		rpc.Try(n.Address)
		if rpc.Stream {
			a.stream = true
			n.streams.Add(1)
			if p.config.MaxStreamAge > 0 {
				rpc.JoinCrowd(n)
			}
		}
	}
	if purpose != ordinary {
		n.streaming.Store(a.stream)
	}
}

// end is what grpc-go calls when the attempt is over: before it returns the error of
// the attempt, in the goroutine that does or under the stream's lock.
func (a *attempt) end(info balancer.DoneInfo) {
	now := breaker.Now()
	n := a.node
	n.end()
	if a.stream {
		n.streams.Add(-1)
	}
	if a.limited {
		n.total.Load().release()
	}
	if a.open != nil {
		a.open.release()
	}
	if a.inner != nil {
		a.inner(info)
	}
	a.learn(info, now)
	a.rpc, a.inner = nil, nil // the rest is small, or lives for long
	attempts.Put(a)
}

// learn takes what the end of a call says of its endpoint.
func (a *attempt) learn(info balancer.DoneInfo, now int64) {
	n, rate := a.node, a.pool.decayRate
	took := time.Duration(now - a.begun)
	isProbe := false
	if a.purpose != ordinary && n.probing.CompareAndSwap(a.begun, 0) {
		// Else the pool has waited long enough, and taken its own conclusions.
		isProbe = a.purpose == probe
	}
	if info.Err == nil {
		if !info.BytesSent {
			// The connection went away between pick and call: nobody was called.
			if a.rpc != nil {
				a.rpc.Untry()
			}
			n.breaker.Load().Done(now, isProbe, 0, false)
			return
		}
		if !a.stream {
			if a.purpose == reminder {
				estimate, _ := n.cost.at(now, rate)
				n.promising.Store(float64(took) < estimate/2)
			}
			if n.cost.observe(took, now, rate) {
				a.pool.watch.wake() // what the others are taken to need depends on it
			}
			n.answered(took)
		}
		n.breaker.Load().Done(now, isProbe, 0, true)
		a.report(info, now, false)
		return
	}
	pushback := pushbackOf(info.Trailer)
	if a.rpc != nil {
		a.rpc.Outcome = call.Outcome{Sent: info.BytesSent, Pushback: pushback}
	}
	code := status.Code(info.Err)
	counts := a.counts(info, code, took)
	failed := counts && a.pool.failures.Has(uint32(code))
	penalty := a.pool.config.PeakEWMA.FailurePenalty
	switch {
	case failed && max(penalty, pushback) > 0:
		n.cost.observe(max(penalty, min(pushback, maxPushback), took), now, rate)
	case !info.BytesSent:
	case !counts:
		// It would have taken longer yet.
		n.cost.atLeast(took, now, rate)
	case !a.stream:
		n.cost.observe(took, now, rate)
	}
	n.breaker.Load().Done(now, isProbe, uint32(code), counts)
	if counts {
		a.report(info, now, failed)
	}
}

// report hands on what only some policies want to know.
func (a *attempt) report(info balancer.DoneInfo, now int64, failed bool) {
	if a.pool.config.Outlier != nil {
		a.node.tally.count(failed)
	}
	if !a.pool.wantsLoad {
		return
	}
	if info.ServerLoad != nil {
		a.node.load.observe(info.ServerLoad, now)
	} else if r := readLoad(info.Trailer); r != nil {
		a.node.load.observe(r, now)
	}
}

// counts reports whether an error says anything of the endpoint: whether it made the
// error, or had the call for so long that it should have answered.
func (a *attempt) counts(info balancer.DoneInfo, code codes.Code, took time.Duration) bool {
	if !info.BytesSent || call.AsError(info.Err) != nil {
		return false
	}
	switch code {
	case codes.Canceled:
		return info.BytesReceived && a.rpc != nil && a.rpc.Err() == nil
	case codes.DeadlineExceeded:
		// Where the call itself is not over, the time of one try is, or the endpoint
		// said so. Else its caller may have given too little, which is no fault of an
		// endpoint that takes no longer than it does.
		if a.rpc != nil && a.rpc.Err() == nil {
			return true
		}
		return (!a.stream || !info.BytesReceived) && took >= 2*a.node.usual(a.pool.config.PeakEWMA.DefaultRTT)
	case codes.Internal:
		// grpc-go finds out that a message cannot be encoded after the pick.
		return info.BytesReceived || !strings.HasPrefix(status.Convert(info.Err).Message(), "grpc: error while marshaling")
	default:
		return true
	}
}

// maxPushback bounds for how slow an endpoint is taken that asks to be left alone
// (Linkerd).
const maxPushback = 300 * time.Second

// pushbackOf reads when to try again from the trailer (gRFC A6): zero where nothing is
// said, negative where not to.
func pushbackOf(trailer metadata.MD) time.Duration {
	values := trailer["grpc-retry-pushback-ms"]
	if len(values) == 0 {
		return 0
	}
	ms, err := strconv.ParseUint(values[0], 10, 31)
	if err != nil || len(values) > 1 {
		return -1
	}
	// At once is not the same as nothing.
	return max(time.Duration(ms)*time.Millisecond, 1)
}
