// Package tap lets an operator watch the calls of a process, live: what was called,
// how it went, which endpoint was chosen and why and, where he may see them, the
// messages. Nothing of it is on until somebody asks, and then for a while.
//
//	taps := tap.New(tap.Config{Service: "web", Instance: "a1"})
//	go taps.Run(ctx, conn)       // reports to xdsserver
//	taps.Set(commands.Taps)      // as xdsserver says, again after each change
//
//	// in an interceptor
//	var w *tap.Watch
//	if set := taps.Active(); set != nil {
//		w = set.Match(tap.Call{Side: tap.Client, Peer: "voting", Method: method, Metadata: md})
//	}
//	w.Request(req)
//	err := invoke()
//	w.Response(reply)
//	w.End(tap.Facts{Start: start, Took: took, Endpoint: address, Err: err})
//
// A process that nobody taps pays one atomic load for a call. One that is tapped pays
// for the calls that match, at most as many a second as the tap asks for. Events wait in
// a queue of a bounded size, and are dropped and counted where it is full: nothing here
// makes a call wait, and while xdsserver does not take reports, nobody is tapped.
//
// Secrets do not leave the process: values of metadata that are secrets by their key,
// fields of messages with the option debug_redact, and what the operator named are taken
// out before anything is written down.
//
// The package does not decide who may tap; xdsserver does, and tells the process.
package tap

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Side is that of a call on which a process stands.
type Side uint8

// The sides.
const (
	Client Side = iota
	Server
)

// String returns "client" or "server".
func (s Side) String() string {
	if s == Server {
		return "server"
	}
	return "client"
}

// Config is what a process says of itself.
type Config struct {
	// Service is the process's own, "name" or "name.namespace".
	Service string
	// Instance tells it from others of its service.
	Instance string
	// Logger is told when reports begin to fail and when they work again; nil means
	// slog.Default().
	Logger *slog.Logger
}

// Taps are those that are open in a process. It is safe for concurrent use.
type Taps struct {
	config Config
	set    atomic.Pointer[Set]
}

// New returns a Taps that nobody has opened yet. The caller runs it; see [Taps.Run].
func New(c Config) *Taps { return &Taps{config: c} }

// Active returns the taps that are open now, nil where there are none. It is one
// atomic load.
func (t *Taps) Active() *Set { return t.set.Load() }

// Set makes taps the ones that are open, but for those that are over or ask another
// instance. One that was open before, with the same id, goes on.
func (t *Taps) Set(taps []resource.Tap) {}

// Run reports what taps see to xdsserver, until ctx ends, and ends taps in time.
func (t *Taps) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	<-ctx.Done()
	return nil
}

// A Set are taps that are open at one moment. It is immutable but for its counters.
type Set struct{}

// A Call is what is known of a call before it is made or served.
type Call struct {
	Side Side
	// Peer is the service on the other side, as it is named in the mesh: the one that is
	// called, or, on the server's side, the one that the caller's certificate names;
	// empty where that is not known.
	Peer string
	// Method is the full method, "/pkg.Service/Method".
	Method string
	// Metadata is the request's, not kept and not changed.
	Metadata metadata.MD
	// Deadline is the call's; zero where there is none.
	Deadline time.Time
	Stream   bool
}

// Match returns a watch of a call if any of the taps asks for it and may have one more
// in this second, otherwise nil. All its attempts have what it was matched by.
func (s *Set) Match(c Call) *Watch { return nil }

// A Watch is what one attempt of a call, or one call on the server's side, is seen by.
// Its methods are safe for concurrent use, and do nothing on a nil Watch.
type Watch struct{}

// Again returns a watch of another attempt of the same call, which may run at the same
// time.
func (w *Watch) Again() *Watch { return w }

// Payload reports whether messages are asked for: where they are not, they are counted.
func (w *Watch) Payload() bool { return false }

// Request takes a message from the client to the server. It is read before Request
// returns, and never after.
func (w *Watch) Request(msg any) {}

// Response takes a message from the server to the client, as Request does.
func (w *Watch) Response(msg any) {}

// Facts are what is known once an attempt is over. Fields that are not known are left
// out.
type Facts struct {
	Start time.Time
	Took  time.Duration
	// Route names the route that was taken, Cluster the cluster.
	Route, Cluster string
	// Attempt counts from zero.
	Attempt uint32
	// Endpoint is the address on the other side, Why why it was chosen.
	Endpoint, Why string
	// PeerID is the SPIFFE id on the other side.
	PeerID string
	// Security is "mtls", or why not.
	Security string
	// Err is how it ended, nil for OK.
	Err error
	// Reason is what the mesh itself ended the call for, a call.Reason; empty where it
	// did not. It is found in Err where that is a *call.Error.
	Reason string
	// RequestMetadata replaces that of the Call where it is not nil; ResponseMetadata is
	// headers and trailers, joined.
	RequestMetadata, ResponseMetadata metadata.MD
}

// End says how the attempt ended. Only the first call of it counts; it never waits.
func (w *Watch) End(f Facts) {}
