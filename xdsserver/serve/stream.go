package serve

import (
	"errors"
	"io"
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
// It has one goroutine, grpc's, which takes requests. What the client lacks is sent by
// the workers of [work], whoever has something to send: a goroutine for each stream that
// waits for that would double what a quiet stream holds, and what it costs to wake all. To
// end a stream, a worker ends the call, and with it the read. Another goroutine exists only while a send
// is held up by flow control, so that a client that never reads can still be cut off.
type stream struct {
	// Immutable.
	server    *Server
	grpc      grpc.ServerStream
	ender     ender
	delta     bool
	peer      string
	client    Client
	connected time.Time

	state atomic.Int32 // see rouse

	// turn guards what follows: whoever looks holds it. It is taken before Server.mu.
	turn     sync.Mutex
	alarm    *time.Timer // rings when the stream may have stalled
	expiry   *time.Timer // rings when to look whether the certificate has expired; nil without one
	armed    bool        // alarm is set
	queue    []*response // planned; those from next on are not sent yet
	next     int
	sending  bool       // a send is held up, in a goroutine of its own
	sent     chan error // its end; nil until there was one
	finished bool       // nothing is sent any more
	result   error      // what the stream ended with
	gone     bool       // the client had gone by then

	// rung says that alarm has fired since somebody looked, and due that expiry has.
	rung, due atomic.Bool

	// dirty is the set of kinds to compare: those marked since they were compared
	// last, shifted by fresh, and those left over from then. since is the revision from
	// which on the client lacks configuration that was not sent yet, zero when
	// nothing. Both change only under Server.mu: by anybody who holds it for
	// writing, or by who looks, who holds it for reading. Atomic, since they are
	// read without.
	dirty atomic.Uint32
	since atomic.Uint64

	// mu guards what follows. It is held for no longer than it takes to look
	// through one subscription.
	mu        sync.Mutex
	node      node // written by read alone
	subs      [kinds]subscription
	responses uint32 // counts those of any kind
	// heard is when the client last said something, or when it came to owe an
	// answer.
	heard time.Time
	// ended says that the server has forgotten the stream. It changes under Server.mu as
	// well, so that it may be read under either.
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
	end, err := enderOf(g.Context())
	if err != nil {
		return err
	}
	st := &stream{server: s, grpc: g, ender: end, delta: delta, connected: time.Now()}
	st.heard = st.connected
	if p, ok := peer.FromContext(g.Context()); ok {
		st.peer = p.Addr.String()
	}
	if st.client, err = s.identify(g.Context(), "ads"); err != nil {
		return err
	}
	st.wind()
	if err := s.open(st); err != nil {
		st.unwind()
		return err
	}
	defer s.running.Done()
	gone, err := st.finish(st.read())
	st.unwind()
	n := s.leave(st)
	level := slog.LevelWarn
	if err == nil || gone || status.Code(err) == codes.PermissionDenied {
		level = slog.LevelDebug // the client went away, as clients do, or was turned away, which is logged
	}
	s.log.Log(g.Context(), level, "ads stream ended", "node", n.id, "identity", st.client.ID, "peer", st.peer, "error", err)
	return err
}

// open admits a stream.
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
	s.running.Add(1)
	return nil
}

var errClosing = status.Error(codes.Unavailable, "ads: the server is closing")

// leave forgets a stream, and returns who it was. A request that comes in at the
// same time finds it gone.
func (s *Server) leave(st *stream) node {
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

// fresh is the shift of marks that nobody has looked at.
const fresh = 8

// mark notes that a kind is to be compared since a revision, and reports whether
// somebody must look for it. Server.mu must be held for writing.
func (st *stream) mark(k kind, revision uint64) bool {
	if st.since.Load() == 0 && k.bit()&configuration != 0 {
		st.since.Store(revision)
	}
	return st.dirty.Or(k.bit()<<fresh)&(k.bit()<<fresh) == 0
}

// read takes requests until the stream ends, and returns why; nil after a clean end.
func (st *stream) read() error {
	var next encoded
	for {
		err := st.grpc.RecvMsg(&next)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = st.receive(&request{encoded: next})
			next.free()
		}
		if err != nil {
			return err
		}
	}
}

// wind makes the timers.
func (st *stream) wind() {
	st.turn.Lock()
	defer st.turn.Unlock()
	// Who has not asked yet owes nothing: a process that calls nobody keeps its
	// stream to know that the server is there.
	st.alarm = time.AfterFunc(st.server.config.StallTimeout, st.ring)
	st.alarm.Stop()
	if !st.client.NotAfter.IsZero() {
		st.expiry = time.AfterFunc(st.client.untilExpiry(time.Now()), st.expire)
	}
}

// unwind stops them, once nobody sets them any more.
func (st *stream) unwind() {
	st.alarm.Stop()
	if st.expiry != nil {
		st.expiry.Stop()
	}
}

// step sends what the client lacks, unless the stream is over. turn must be held.
func (st *stream) step() (over bool, err error) {
	select {
	case err := <-st.sent:
		if err != nil {
			return true, err
		}
		st.sending = false
	default:
	}
	if over, err := st.verdict(); over {
		return true, err
	}
	st.queue = st.plan(st.queue)
	err = st.flush()
	return err != nil, err
}

// flush sends the queue, unless a send is held up. turn must be held.
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
		// When serve returns, which waits for this turn, grpc ends the send with an error.
		st.server.running.Go(func() {
			st.sent <- st.grpc.SendMsg(r)
			st.poke()
		})
	}
	if st.next == len(st.queue) {
		st.queue, st.next = st.queue[:0], 0
	}
	return nil
}
