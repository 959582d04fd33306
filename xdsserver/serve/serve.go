// Package serve is the ADS engine: it brings snapshots to clients over xDS
// streams, and keeps account of what each client was sent and said of it.
//
// It speaks both forms of the protocol, state of the world (stock clients) and
// delta (ours), on one grpc.Server, with LRS and CSDS beside them. It is our own
// because the engines there are resend what a client has just rejected, marshal
// the same resource once for every stream, and do so under one lock
// (docs/RATIONALE.md).
//
// Streams follow state, never a queue of changes. Publish stores the new content
// of each changed name and wakes the streams that subscribe to it; each stream
// then compares what it has sent with what there is now, and sends the
// difference, at most one response of a type until the last is answered. A slow
// client is therefore behind by one response, whatever happened meanwhile, and
// costs the others nothing. Encoded resources are shared by all streams.
//
//	srv := serve.New(serve.Config{})
//	defer srv.Close()
//	g := grpc.NewServer(srv.ServerOptions()...)
//	srv.Register(g)
//	srv.Publish(snap)                           // again after each change
//	err := srv.Await(ctx, "store", generation)  // until all clients have it
//	ledger := srv.Ledger()                      // who has what, and who refused it
//
// Who a client is, Config.Identify says of its connection; what it says of itself,
// the node, is shown and decides nothing. A client sees what is for everybody and
// what is its own service's: the policy of another is none of its business. A
// stream ends with the certificate it was opened with, UNAUTHENTICATED; who renews
// in time never sees that, since connections are made anew long before.
//
// It does not decide what is served: snapshots come judged and encoded from
// package snapshot. It does not listen, and it authenticates nobody: credentials
// and interceptors belong to the grpc.Server it is registered on.
package serve

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

// The defaults of [Config].
const (
	DefaultMaxStreams   = 20_000
	DefaultMaxNames     = 10_000
	DefaultStallTimeout = time.Minute
)

// Config says how a [Server] serves. The zero value works.
type Config struct {
	// Identify says whose connection ctx is of; its error ends the stream. Nil
	// shows everybody everything, which is for tests.
	Identify func(ctx context.Context) (Client, error)
	// MaxConnectionAge is after how long a connection is asked to close, within
	// half as long again: so that clients come back with the certificates they
	// have meanwhile. Zero lets connections live. A quarter of a certificate's life
	// is good: certificates are renewed when half of it is left.
	MaxConnectionAge time.Duration
	// WarmUntil ends the warm-up after a start without memory; zero means there
	// is none. Until then a client that comes back with resources is not told
	// that they are gone, nor given other endpoints than it holds, and names
	// that are not known yet are not answered: processes get the time to
	// register again before anybody forgets them. Later protects clients of
	// slow processes longer; sooner frees them earlier from endpoints that died
	// with the server. At that moment every stream is brought up to date.
	WarmUntil time.Time
	// MaxStreams is how many ADS streams may be open; zero means 20,000. A
	// stream costs about 35 KB, half of it stacks. LRS streams count apart, up to the same.
	MaxStreams int
	// MaxNames is how many names of one type a stream may subscribe to; zero
	// means 10,000.
	MaxNames int
	// StallTimeout is how long a client may leave a response unanswered and say
	// nothing else before its stream is ended; zero means one minute.
	StallTimeout time.Duration
	// Loaded is called with each load report, on its stream's goroutine; nil is not.
	Loaded func(Load)
	// Logger; nil means slog.Default().
	Logger *slog.Logger
}

// A Server serves snapshots to xDS clients. It is safe for concurrent use.
type Server struct {
	// Immutable after New.
	config  Config
	log     *slog.Logger
	cooling *time.Timer // ends the warm-up; nil without one

	// Each with a lock of its own, taken last.
	rejections rejections
	loads      loads
	waiters    waiters
	intruders  intruders
	work       work

	// publishing admits one Publish at a time: snapshots are compared under it,
	// so that mu is held for what has changed only.
	publishing sync.Mutex

	// running counts streams, and goroutines of theirs. It grows only under mu while the
	// server is not closing, or from a goroutine that is counted already.
	running sync.WaitGroup
	// closing is set under mu; streams read it without.
	closing atomic.Bool

	// mu guards what follows: held for writing while content or subscriptions
	// change, for reading while a stream plans its responses, so that a stream
	// sees the whole of a snapshot or nothing of it. Nothing is sent, called
	// back or waited for under it. It is taken before any stream's mu.
	mu       sync.RWMutex
	snapshot *snapshot.Snapshot
	revision uint64 // counts calls of Publish
	tables   [kinds]table
	streams  map[*stream]struct{}
	warm     bool
}

// New returns a Server that serves nothing yet: streams that open before the
// first [Server.Publish] wait for it. The caller closes it.
func New(config Config) *Server {
	if config.MaxStreams == 0 {
		config.MaxStreams = DefaultMaxStreams
	}
	if config.MaxNames == 0 {
		config.MaxNames = DefaultMaxNames
	}
	if config.StallTimeout == 0 {
		config.StallTimeout = DefaultStallTimeout
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	s := &Server{
		config:  config,
		log:     config.Logger,
		streams: make(map[*stream]struct{}),
	}
	s.work.free.L = &s.work.mu
	for k := range s.tables {
		s.tables[k] = newTable()
	}
	if left := time.Until(config.WarmUntil); left > 0 {
		s.warm = true
		s.cooling = time.AfterFunc(left, s.endWarmUp)
	}
	return s
}

// Register adds ADS, LRS and CSDS to a grpc.Server, which must have been made
// with [Server.ServerOptions].
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, adsService{s})
	loadstatsv3.RegisterLoadReportingServiceServer(r, lrsService{s})
	statusv3.RegisterClientStatusDiscoveryServiceServer(r, csdsService{s})
}

// Close ends every ADS stream with UNAVAILABLE, so that its client goes
// elsewhere or comes back, and waits for them. New streams are refused. It is
// idempotent. LRS and CSDS streams end with the grpc.Server.
func (s *Server) Close() error {
	if s.cooling != nil {
		s.cooling.Stop()
	}
	s.mu.Lock()
	s.closing.Store(true)
	for st := range s.streams {
		st.poke()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.work.wait()
	return nil
}

// adsService keeps the methods of the protocol off Server.
type adsService struct{ s *Server }

var _ discoveryv3.AggregatedDiscoveryServiceServer = adsService{}

func (a adsService) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return a.s.serve(g, false)
}

func (a adsService) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return a.s.serve(g, true)
}
