// Package mirror sends copies of a share of unary calls to another cluster, so that
// a new version meets real calls before its answers count.
//
//	var mirrors mirror.Mirrors // one per process
//	defer mirrors.Close()
//	mirrors.Send(rpc, config, traffic.Mirrors, mirror.Unary{
//		Method: method, Request: req, Reply: reply, Conn: cc, Invoker: invoker, Options: opts,
//	})
//
// The caller never waits for a copy and never learns what became of it: the request
// is copied before Send returns, and the copy is sent in a goroutine of its own with
// a deadline of its own. What comes back is dropped, what fails is counted.
//
// Nothing tells a copy from a call. Envoy appends "-shadow" to the host for that, and
// a header would do. But a version that is tried must do what it will do later, and
// one that must not (charge a card) is told so where it is started, for all its calls:
// a switch in each call is one more that callers could set, or forget.
//
// The package mirrors no streams, compares no answers, and retries nothing.
package mirror

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// MaxOpen is how many copies a process has open at once. Above it copies are dropped:
// a cluster that does not answer costs no more than that many goroutines and requests.
const MaxOpen = 100

// million is all calls, of which a mirror gets a share.
const million = 1_000_000

// A Unary is a unary RPC: what grpc gives an interceptor. Of Reply only the type
// counts.
type Unary struct {
	Method         string
	Request, Reply any
	Conn           *grpc.ClientConn
	Invoker        grpc.UnaryInvoker
	Options        []grpc.CallOption
}

// Counts are the copies since the process began.
type Counts struct {
	Sent    uint64 // handed to grpc
	Failed  uint64 // of those that were sent, for whatever reason
	Dropped uint64 // since MaxOpen were open
	Skipped uint64 // since they are not protobuf, or the mirror's cluster is not there
}

// Mirrors are the copies of a process. The zero value is ready, and is closed by who
// has it. They are safe for concurrent use.
type Mirrors struct {
	sent, failed, dropped, skipped atomic.Uint64

	// open counts the copies that are open, and running waits for them.
	open    atomic.Int64
	running sync.WaitGroup

	mu      sync.Mutex // guards closed and cancels, and running's growth
	closed  bool
	cancels map[*copied]context.CancelFunc
}

// A copied call is on its way to a mirror.
type copied struct {
	rpc            *call.Call
	unary          Unary
	request, reply proto.Message
}

// Send sends a copy of rpc to each of the mirrors that the dice choose, of a service
// whose configuration is config. It does not wait, fail or panic, and after Close it
// does nothing. It is called once for a call, before its first attempt and in the
// goroutine that makes it. Neither rpc nor the messages are used after it has returned.
//
// A copy has the metadata, the call options and the hash key of the call, but not its
// deadline, and is not cancelled with it. What the options Header, Trailer, Peer and
// OnFinish tell is told of the call alone.
func (m *Mirrors) Send(rpc *call.Call, config *resource.Config, mirrors []resource.Mirror, unary Unary) {
	for i := range mirrors {
		mirror := &mirrors[i]
		if mirror.PerMillion < million && rand.Uint32N(million) >= mirror.PerMillion {
			continue
		}
		if config.Clusters[mirror.Cluster] == nil {
			// Of a cluster that it does not have a picker knows no better than to
			// send the copy where calls go.
			m.skipped.Add(1)
			continue
		}
		m.send(rpc, mirror, unary)
	}
}

// Counts returns what became of the copies so far.
func (m *Mirrors) Counts() Counts {
	return Counts{Sent: m.sent.Load(), Failed: m.failed.Load(), Dropped: m.dropped.Load(), Skipped: m.skipped.Load()}
}

// Close cancels the copies that are open and waits for them. It may be called more
// than once, and always returns nil.
func (m *Mirrors) Close() error {
	m.mu.Lock()
	m.closed = true
	for _, cancel := range m.cancels {
		cancel()
	}
	m.mu.Unlock()
	m.running.Wait()
	return nil
}

// send sends one copy.
func (m *Mirrors) send(rpc *call.Call, mirror *resource.Mirror, unary Unary) {
	// It reserves first and gives back on refusal, so that concurrent calls never
	// overshoot, and before the request is copied, which may cost more than the call.
	if m.open.Add(1) > MaxOpen {
		m.open.Add(-1)
		m.dropped.Add(1)
		return
	}
	c := copyOf(rpc, mirror.Cluster, unary)
	if c == nil {
		m.open.Add(-1)
		m.skipped.Add(1)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(rpc.Context), mirror.Timeout)
	c.rpc.Context = ctx
	if !m.begin(c, cancel) {
		m.open.Add(-1)
		cancel()
	}
}

// begin starts the goroutine of a copy, unless m is closed.
func (m *Mirrors) begin(c *copied, cancel context.CancelFunc) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	if m.cancels == nil {
		m.cancels = map[*copied]context.CancelFunc{}
	}
	m.cancels[c] = cancel
	m.running.Go(func() {
		m.sent.Add(1)
		if err := c.send(); err != nil {
			m.failed.Add(1)
		}
		m.end(c)
	})
	return true
}

// end forgets a copy that is over.
func (m *Mirrors) end(c *copied) {
	m.mu.Lock()
	cancel := m.cancels[c]
	delete(m.cancels, c)
	m.mu.Unlock()
	cancel()
	m.open.Add(-1)
}

// copyOf copies a call for a cluster, but for its context. It is nil where the
// messages cannot be copied: grpc encodes whatever the application's codec does, but
// only protobuf says how to copy it.
func copyOf(rpc *call.Call, cluster string, unary Unary) (c *copied) {
	request, ok := unary.Request.(proto.Message)
	if !ok {
		return nil
	}
	reply, ok := unary.Reply.(proto.Message)
	if !ok {
		return nil
	}
	// Messages may be types of the application's own, whose methods do as they like:
	// the call will show what is wrong with them, not its copy.
	defer func() {
		if recover() != nil {
			c = nil
		}
	}()
	c = &copied{
		rpc: &call.Call{
			Cluster: cluster,
			Service: rpc.Service,
			Method:  rpc.Method,
			Hash:    rpc.Hash,
			Hashed:  rpc.Hashed,
			Copy:    true,
		},
		unary:   unary,
		request: proto.Clone(request),
		reply:   reply.ProtoReflect().New().Interface(),
	}
	c.rpc.Begin(0)
	c.unary.Request, c.unary.Reply = nil, nil // the application's
	c.unary.Options = options(unary.Options)
	return c
}

// options are those of the call without what grpc writes through them. A copy does
// not wait for an endpoint: it would keep its place from others.
func options(own []grpc.CallOption) []grpc.CallOption {
	kept := make([]grpc.CallOption, 0, len(own)+1)
	for _, o := range own {
		switch o.(type) {
		case grpc.HeaderCallOption, grpc.TrailerCallOption, grpc.PeerCallOption, grpc.OnFinishCallOption:
		default:
			kept = append(kept, o)
		}
	}
	return append(kept, grpc.WaitForReady(false))
}

// send makes the copied call. Interceptors of the application run in it, and must not
// end the process from a goroutine that the application knows nothing of.
func (c *copied) send() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return c.unary.Invoker(c.rpc, c.unary.Method, c.request, c.reply, c.unary.Conn, c.unary.Options...)
}
