package serve

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A stream is one ADS stream.
//
// It has two goroutines: grpc's, in run, sends and ends the stream; one of ours,
// in read, takes requests, so that an acknowledgement wakes one goroutine and an
// update the other. (One goroutine that does both by turns would need grpc to
// tell it of requests without blocking, which it cannot.) A third exists only
// while a send is held up by flow control, so that a client that never reads can
// still be cut off.
type stream struct {
	// Immutable.
	server    *Server
	grpc      grpc.ServerStream
	delta     bool
	peer      string
	client    Client
	connected time.Time
	// wake has one slot: whoever changes something puts a token in, and run
	// looks at everything once for any number of them.
	wake chan struct{}

	// Owned by run.
	alarm   *time.Timer // rings when the stream may have stalled
	expiry  *time.Timer // rings when to look whether the certificate has expired; nil without one
	armed   bool        // alarm is set
	queue   []*response // planned; those from next on are not sent yet
	next    int
	sending bool       // a send is held up, in a goroutine of its own
	sent    chan error // its end; nil until there was one

	// rung says that alarm has fired since run looked, and due that expiry has.
	rung, due atomic.Bool

	// dirty is the set of kinds to compare: those marked since run compared
	// last, shifted by fresh, and those it has left. since is the revision from
	// which on the client lacks configuration that was not sent yet, zero when
	// nothing. Both change only under Server.mu: by anybody who holds it for
	// writing, or by run, which holds it for reading. Atomic, since they are
	// read without.
	dirty atomic.Uint32
	since atomic.Uint64

	// mu guards what follows. It is held for no longer than it takes to look
	// through one subscription.
	mu        sync.Mutex
	node      node // written by read only
	subs      [kinds]subscription
	responses uint32 // counts those of any kind
	// heard is when the client last said something, or when it came to owe an
	// answer.
	heard time.Time
	// over says that no more requests come, and err why; nil after a clean end.
	over bool
	err  error
	// ended says that the server has forgotten the stream.
	ended bool
}

// A node is who a client says it is, as far as it is kept.
type node struct {
	known              bool
	id, cluster, agent string
	region, zone       string
	// claimed is the cluster that the node itself names.
	claimed string
}

// serve runs one stream. Its goroutine is grpc's.
func (s *Server) serve(g grpc.ServerStream, delta bool) error {
	st := &stream{
		server:    s,
		grpc:      g,
		delta:     delta,
		connected: time.Now(),
		wake:      make(chan struct{}, 1),
	}
	st.heard = st.connected
	if p, ok := peer.FromContext(g.Context()); ok {
		st.peer = p.Addr.String()
	}
	var err error
	if st.client, err = s.identify(g.Context(), "ads"); err != nil {
		return err
	}
	if err := s.open(st); err != nil {
		return err
	}
	defer s.running.Done()
	err = st.run()
	n := s.leave(st)
	level := slog.LevelWarn
	if err == nil || g.Context().Err() != nil || status.Code(err) == codes.PermissionDenied {
		level = slog.LevelDebug // the client went away, as clients do, or was turned away, which is logged
	}
	s.log.Log(g.Context(), level, "ads stream ended", "node", n.id, "identity", st.client.ID, "peer", st.peer, "error", err)
	return err
}

// open admits a stream and starts its reader.
func (s *Server) open(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing.Load():
		return errClosing
	case len(s.streams) >= s.config.MaxStreams:
		return status.Errorf(codes.ResourceExhausted,
			"ads: %d streams are open, which is the limit; connect to another server", len(s.streams))
	}
	s.streams[st] = struct{}{}
	s.running.Add(1) // for run
	s.running.Go(st.read)
	return nil
}

var errClosing = status.Error(codes.Unavailable, "ads: the server is closing")

// leave forgets a stream, and returns who it was. A request that comes in at the
// same time finds it gone.
func (s *Server) leave(st *stream) node {
	st.alarm.Stop()
	if st.expiry != nil {
		st.expiry.Stop()
	}
	defer s.waiters.wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	delete(s.streams, st)
	for k := range st.subs {
		t := &s.tables[k]
		delete(t.wild, st)
		for i := range st.subs[k].names {
			sub := &st.subs[k].names[i]
			if sub.explicit {
				t.leave(sub.topic, st)
			}
			if sub.nack != nil {
				s.rejections.leave(sub.nack)
			}
		}
		st.subs[k].names = nil
	}
	return st.node
}

// poke makes run look. It never blocks.
func (st *stream) poke() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// fresh is the shift of marks that run has not seen.
const fresh = 8

// mark notes that a kind is to be compared since a revision, and reports whether
// run must be woken for it. Server.mu must be held for writing.
func (st *stream) mark(k kind, revision uint64) bool {
	if st.since.Load() == 0 && k.bit()&configuration != 0 {
		st.since.Store(revision)
	}
	return st.dirty.Or(k.bit()<<fresh)&(k.bit()<<fresh) == 0
}

// read takes requests until the stream ends, which it learns first.
func (st *stream) read() {
	var req request
	for {
		err := st.grpc.RecvMsg(&req)
		if err == nil {
			err = st.receive(&req)
			req.free()
		}
		if err != nil {
			st.end(err)
			return
		}
	}
}

// run sends what the client lacks until the stream is over.
func (st *stream) run() error {
	// Who has not asked yet owes nothing: a process that calls nobody keeps its
	// stream to know that the server is there.
	st.alarm = time.AfterFunc(st.server.config.StallTimeout, st.ring)
	st.alarm.Stop()
	if !st.client.NotAfter.IsZero() {
		st.expiry = time.AfterFunc(st.client.untilExpiry(time.Now()), st.expire)
	}
	for {
		select {
		case <-st.wake:
		case err := <-st.sent:
			if err != nil {
				return err
			}
			st.sending = false
		}
		if over, err := st.verdict(); over {
			return err
		}
		st.queue = st.plan(st.queue)
		if err := st.flush(); err != nil {
			return err
		}
	}
}

// flush sends the queue, unless a send is held up.
func (st *stream) flush() error {
	for st.next < len(st.queue) && !st.sending {
		r := st.queue[st.next]
		st.queue[st.next] = nil
		st.next++
		if !st.armed {
			st.alarm.Reset(st.server.config.StallTimeout)
			st.armed = true
		}
		if !r.mayBlock {
			if err := st.grpc.SendMsg(r); err != nil {
				return err
			}
			continue
		}
		if st.sent == nil {
			st.sent = make(chan error, 1)
		}
		st.sending = true
		// When run returns, grpc ends the send with an error.
		st.server.running.Go(func() { st.sent <- st.grpc.SendMsg(r) })
	}
	if st.next == len(st.queue) {
		st.queue, st.next = st.queue[:0], 0
	}
	return nil
}
