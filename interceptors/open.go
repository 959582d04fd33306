package interceptors

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/access"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/tap"
)

// reviewGap is the least time between two looks at all open streams for those
// whose certificate has expired.
const reviewGap = time.Second

// streams are the open streams of a Server.
type streams struct {
	started atomic.Bool
	wake    chan struct{} // cap 1: a stream ends sooner than Run knows

	mu   sync.Mutex
	open map[*openStream]struct{}
	next time.Time // when Run looks again; zero is not
}

func newStreams() streams {
	return streams{wake: make(chan struct{}, 1), open: map[*openStream]struct{}{}}
}

// An openStream is a stream whose handler runs.
//
// A stream that must end is not always one whose handler can be told: it may wait
// for a message that never comes. So another goroutine ends it, on the transport,
// as grpc itself does when a deadline passes: the status is sent, the context ends
// and the handler's reads and writes with it. Running each handler in a goroutine
// of its own, to leave it behind, would cost that goroutine.
type openStream struct {
	grpc.ServerStream

	caller  access.Caller
	method  string
	counted string
	watch   *tap.Watch // nil while nobody taps

	transport ender
	incoming  call.Incoming // the handler's context
	// cancel ends that where there is no transport to end; else nil.
	cancel context.CancelFunc

	ended atomic.Pointer[call.Error]
}

// An ender is grpc's own side of a server stream, by the one method of it that
// ends it. grpc does not promise the method; a test holds it to it. Without, a
// stream's context ends and no message passes any more, but a handler that ignores
// its context while it waits for one is not freed before the caller sends it.
type ender interface {
	WriteStatus(s *status.Status) error
}

// Stream is a grpc.StreamServerInterceptor. It decides when the stream is opened,
// and again whenever the policy changes and when the caller's certificate expires:
// a stream that may not go on is ended, whatever its handler is doing, and the
// handler's context with it. The handler runs where it would run without us.
//
// Opening a stream counts as a call for rate limits, and faults are injected there. It
// takes none of the places that calls run in; see interceptors/shed.
func (s *Server) Stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := stream.Context()
	o := &openStream{ServerStream: stream, caller: access.CallerOf(ctx), method: info.FullMethod, counted: info.FullMethod}
	if srv == nil {
		o.counted = access.Other // callers make up methods that nobody has
	}
	v := visitor{caller: o.caller, method: o.counted, began: time.Now()}
	ctx, v.span = s.tracer.Serve(ctx, o.counted)
	v.ctx, v.watch = ctx, s.match(ctx, &o.caller, o.method, true)
	o.watch = v.watch
	defer func() { s.tell(&v, err) }()
	if _, err := s.policy(ctx); err != nil {
		return err
	}
	o.transport, _ = grpc.ServerTransportStreamFromContext(ctx).(ender)
	if o.transport == nil {
		ctx, o.cancel = context.WithCancel(ctx)
		defer o.cancel()
	}
	o.incoming.Context = ctx
	// Before it is decided on: a policy that comes between the two is then either
	// decided by here, or by the review.
	s.streams.add(o)
	defer s.streams.remove(o)
	if failure := s.admitStream(o); failure != nil {
		if trailer := again(failure); trailer != nil {
			stream.SetTrailer(trailer)
		}
		return failure
	}
	handled := false
	defer func() {
		if !handled {
			err = s.unhandled(ctx, o.method, recover())
		}
		if err != nil && o.incoming.Spent() {
			stream.SetTrailer(notAgain)
		}
	}()
	err = handler(srv, o)
	handled = true
	if ended := o.ended.Load(); ended != nil {
		return ended
	}
	return err
}

// admitStream returns why a stream may not be opened, nil when it may.
func (s *Server) admitStream(o *openStream) *call.Error {
	e, now := s.enforce(s.policies.Current()), time.Now()
	if failure := s.decide(&o.incoming, e.in, &o.caller, o.method, o.counted, now); failure != nil {
		return failure
	}
	s.streams.expect(access.Until(e.in, &o.caller))
	return s.let(&o.incoming, e.admission(o.method), &o.caller, o.method, now)
}

// Run decides on open streams until ctx ends, and then returns nil; the streams go
// on. It is called once.
func (s *Server) Run(ctx context.Context) error {
	if s.streams.started.Swap(true) {
		return errors.New("interceptors: a server runs once")
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := s.policies.Changed()
		s.review(timer)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-timer.C:
		case <-s.streams.wake:
		}
	}
}

// review decides on all open streams, and sets the timer to the next end of one.
func (s *Server) review(timer *time.Timer) {
	in := s.policies.Current()
	if in == nil {
		return // no stream has been let in
	}
	now := time.Now()
	var next time.Time
	for _, o := range s.streams.begin() {
		s.reconsider(o, in, now)
		if until := access.Until(in, &o.caller); o.ended.Load() == nil && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	if !next.IsZero() && next.Before(now.Add(reviewGap)) {
		next = now.Add(reviewGap)
	}
	s.streams.set(next, timer)
}

// reconsider ends a stream that would not be let in now.
func (s *Server) reconsider(o *openStream, in *resource.Inbound, now time.Time) {
	if o.ended.Load() != nil {
		return
	}
	verdict := access.Decide(o.Context(), in, &o.caller, o.method, now)
	if verdict.Allowed {
		return
	}
	s.ledger.Count(&o.caller, o.counted, &verdict)
	s.log.Tell(&o.caller, o.method, &verdict, now)
	if verdict.Cause == access.Expired {
		o.end(access.Ended(s.service, &o.caller, o.method))
		return
	}
	o.end(access.Denied(s.service, &o.caller, o.method, &verdict))
}

// end ends the stream for a reason. It does not wait for the handler.
func (o *openStream) end(failure *call.Error) {
	if !o.ended.CompareAndSwap(nil, failure) {
		return
	}
	if o.transport != nil {
		// Of a connection that is closed already there is nothing to end.
		_ = o.transport.WriteStatus(failure.GRPCStatus())
		return
	}
	o.cancel()
}

// Context implements grpc.ServerStream.
func (o *openStream) Context() context.Context { return &o.incoming }

// SendMsg implements grpc.ServerStream.
func (o *openStream) SendMsg(m any) error {
	if ended := o.ended.Load(); ended != nil {
		return ended
	}
	if o.watch != nil {
		o.watch.Response(m)
	}
	err := o.ServerStream.SendMsg(m)
	if ended := o.ended.Load(); err != nil && ended != nil {
		return ended
	}
	return err
}

// RecvMsg implements grpc.ServerStream. A message that came before the end and is
// read after it is not handed on.
func (o *openStream) RecvMsg(m any) error {
	if ended := o.ended.Load(); ended != nil {
		return ended
	}
	err := o.ServerStream.RecvMsg(m)
	if ended := o.ended.Load(); ended != nil {
		return ended
	}
	if o.watch != nil && err == nil {
		o.watch.Request(m)
	}
	return err
}

// count returns how many there are.
func (t *streams) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

func (t *streams) add(o *openStream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[o] = struct{}{}
}

func (t *streams) remove(o *openStream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, o)
}

// begin returns the streams to look at. Those that are opened from now on wake Run
// again, until set.
func (t *streams) begin() []*openStream {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = time.Time{}
	all := make([]*openStream, 0, len(t.open))
	for o := range t.open {
		all = append(all, o)
	}
	return all
}

// expect makes Run look when a stream ends that was just opened.
func (t *streams) expect(end time.Time) {
	t.mu.Lock()
	sooner := t.next.IsZero() || end.Before(t.next)
	t.mu.Unlock()
	if sooner {
		select {
		case t.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// set arms the timer of Run.
func (t *streams) set(next time.Time, timer *time.Timer) {
	t.mu.Lock()
	t.next = next
	t.mu.Unlock()
	if next.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(time.Until(next))
}
