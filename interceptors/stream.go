package interceptors

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors/age"
	"github.com/tulle-mesh/tulle/interceptors/idle"
	"github.com/tulle-mesh/tulle/mesh/call"
)

var _ grpc.StreamClientInterceptor = (*Client)(nil).Stream

// Stream is a grpc.StreamClientInterceptor. It decides once, when the stream is
// opened: a later configuration does not move an open stream. A route's timeout
// bounds the stream's whole life (gRFC A31, max_stream_duration).
//
// A stream that cannot be opened is tried again as a call is that was not sent. One
// that is open is, too, until the application has received something of it, where its
// method may be called twice and its messages are protobuf: those it has sent are kept
// until then, as many as the route's bufferBytes allow.
func (c *Client) Stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
	streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	begun := time.Now()
	var w wishes
	w.read(opts)
	s := &stream{first: call.Call{Context: ctx, Method: method, WaitForReady: w.waitForReady, Stream: true}}
	s.rpc = &s.first
	config, err := c.configs.Config(s.rpc, cc)
	if config == nil && err == nil {
		return streamer(ctx, desc, cc, method, opts...)
	}
	s.plan.tell.begin(c, s.rpc, begun)
	if err != nil {
		s.plan.tell.unconfigured(s.rpc, err)
		return nil, err
	}
	if failure := c.admit(&s.plan, s.rpc, config, &w); failure != nil {
		s.plan.tell.refused(s.rpc, failure)
		if failure.Code == codes.OK {
			return &ended{ctx: ctx, desc: desc, failure: failure}, nil
		}
		return nil, failure
	}
	s.prepare(&w, opening{streamer: streamer, desc: desc, conn: cc, method: method, opts: opts})
	if s.plan.replays(&w) {
		s.replay = newReplay(s)
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	var opened grpc.ClientStream = s
	if s.replay != nil {
		opened = s.replay.begin(s.ClientStream)
	}
	if s.plan.tell.watch != nil {
		opened = &tapped{ClientStream: opened, stream: s}
	}
	return opened, nil
}

// An opening is a stream that is not opened yet: what grpc gives an interceptor.
type opening struct {
	streamer grpc.Streamer
	desc     *grpc.StreamDesc
	conn     *grpc.ClientConn
	method   string
	opts     []grpc.CallOption
}

// A stream is a client stream with the call it runs in, and what there is to do when
// it ends. All are one allocation: the call is needed anyway, so that wrapping the
// stream, for the picks that grpc makes when it tries the stream again, costs nothing
// more.
type stream struct {
	grpc.ClientStream // the first; see replay for others

	// Immutable once the stream is open.
	opening opening
	watch   *idle.Watch
	old     *age.Watch
	told    []grpc.CallOption // the application's, if it wants to be told of the end
	replay  *replay           // nil where the stream is not tried again once it is open

	// plan belongs to who opens attempts and, after the last, is not written.
	plan  plan
	first call.Call // of the first attempt

	mu       sync.Mutex         // guards what follows
	rpc      *call.Call         // of the attempt at hand
	cancel   context.CancelFunc // of the attempt at hand, nil for none
	going    *journey           // the attempt at hand
	attempts uint32             // how many there were
	last     waypoint           // where the last went that is over

	journey journey // the first attempt

	opened atomic.Bool
	early  atomic.Pointer[error] // what an attempt ended with before it was opened
	judged atomic.Bool           // whether the service's breaker knows how it went
	over   atomic.Bool           // whether what its end sets off was set off
}

// prepare arms what ends the stream, and what the stream's end sets off. Most have
// nothing of either.
func (s *stream) prepare(w *wishes, o opening) {
	p := &s.plan
	if (p.traffic.IdleTimeout > 0 || s.maxAge() > 0) && p.cancel == nil {
		p.ctx, p.cancel = context.WithCancel(p.ctx)
		s.rpc.Context = p.ctx
	}
	if w.finishes {
		s.told = w.opts
		o.opts = unfinished(o.opts)
	}
	s.opening = o
}

// open opens the stream, as often as it takes and as it may.
func (s *stream) open() error {
	for {
		var err error
		if s.ClientStream, err = s.attempt(); err == nil {
			s.begin()
			return nil
		}
		again, err := s.plan.again(s.rpc, err)
		if !again {
			// An interceptor below may have failed without a stream to finish.
			return s.end(err)
		}
		s.early.Store(nil)
		s.next()
	}
}

// attempt makes the attempt at hand.
func (s *stream) attempt() (grpc.ClientStream, error) {
	o := &s.opening
	j := s.depart()
	opts := o.opts
	if s.plan.cancel != nil || s.cancel != nil || s.told != nil || s.replay != nil || s.plan.traffic.Breaker != nil ||
		s.plan.client.tells {
		// OnFinish is called however the stream ends, also where the application
		// neither reads to the end nor cancels but closes the connection. The
		// caller's slice may have room for one more, which is not ours.
		opts = append(slices.Clip(opts), grpc.OnFinish(j.finished))
	}
	if j.watch != nil {
		opts = j.seen.options(opts)
	}
	if s.replay != nil {
		s.replay.arm(s.plan.tryUntil, s.cancel)
	}
	at, err := o.streamer(s.rpc, o.desc, o.conn, o.method, opts...)
	if err != nil {
		j.end(err) // an interceptor below may have failed without a stream to finish
	}
	return at, err
}

// next makes the call of the next attempt, which again decided on.
func (s *stream) next() {
	rpc, cancel := s.plan.attempt(s.rpc)
	s.mu.Lock()
	last := s.cancel
	s.rpc, s.cancel = rpc, cancel
	over := s.over.Load()
	s.mu.Unlock()
	if last != nil {
		last()
	}
	if over && cancel != nil {
		cancel() // the end came first, and did not see it
	}
}

// begin begins the life of a stream that was opened.
func (s *stream) begin() {
	if timeout := s.plan.traffic.IdleTimeout; timeout > 0 {
		s.watch = idle.Start(timeout, s.plan.cancel)
	}
	if maxAge := s.maxAge(); maxAge > 0 {
		s.old = age.Start(maxAge, s.crowded, s.plan.cancel)
	}
	s.plan.client.streams.Add(1)
	s.opened.Store(true)
	if early := s.early.Load(); early != nil {
		s.conclude(*early)
	}
}

// maxAge is how old the stream may become in a crowd; zero for as old as it likes.
func (s *stream) maxAge() time.Duration {
	if c := s.plan.config.Clusters[s.rpc.Cluster]; c != nil && c.Cluster != nil {
		return c.Cluster.Balancing.MaxStreamAge
	}
	return 0
}

func (s *stream) crowded() bool {
	s.mu.Lock()
	rpc := s.rpc
	s.mu.Unlock()
	return rpc.Crowded()
}

// finished is what grpc calls when an attempt ends. Before the stream is open, it is
// open that decides whether that is the end of the stream: of the two that note
// something and then look, at least one sees what the other noted.
func (s *stream) finished(err error) {
	if s.replay != nil && !s.replay.ends(err) {
		return
	}
	s.early.Store(&err)
	if !s.opened.Load() {
		return
	}
	if s.replay == nil {
		err = s.explain(err)
	}
	s.conclude(err)
}

// end is the end of a stream as the application sees it. It returns the error that it
// gets.
func (s *stream) end(err error) error {
	if err != nil && err != io.EOF { //nolint:errorlint // grpc returns it bare
		s.plan.spent(s.rpc)
	}
	err = s.explain(err)
	s.conclude(err)
	return err
}

// conclude sets off what a stream's end sets off, once.
func (s *stream) conclude(err error) {
	if s.over.Swap(true) {
		return
	}
	if err == io.EOF { //nolint:errorlint // grpc returns it bare
		err = nil
	}
	s.watch.Stop()
	s.old.Stop()
	s.judge(err)
	if s.opened.Load() {
		s.plan.client.streams.Add(-1)
	}
	s.mu.Lock()
	cancel, last, attempts := s.cancel, s.last, s.attempts
	s.mu.Unlock()
	s.plan.tell.over(&ending{
		err: err, ctx: s.plan.ctx, cluster: last.cluster, endpoint: last.endpoint, attempts: attempts, at: time.Now(),
	})
	if cancel != nil {
		cancel()
	}
	if s.plan.cancel != nil {
		s.plan.cancel()
	}
	if s.told != nil {
		finish(s.told, err)
	}
}

// judge tells the service's breaker how the stream went: well, as soon as a message
// came. It may stay open for hours, and the breaker wait for it to close.
func (s *stream) judge(err error) {
	if s.plan.traffic.Breaker == nil || s.judged.Swap(true) {
		return
	}
	s.plan.ticket.Done(s.plan.own, err)
}

func (s *stream) explain(err error) error {
	if err != nil {
		if failure := s.watch.Failure(s.plan.config.Service, s.plan.method); failure != nil && err != io.EOF { //nolint:errorlint // grpc returns it bare
			return failure
		}
		if failure := s.old.Failure(s.plan.config.Service, s.rpc.Endpoint()); failure != nil && err != io.EOF { //nolint:errorlint // grpc returns it bare
			return failure
		}
	}
	return s.plan.explain(s.rpc, err)
}

// SendMsg may fail with the mesh's reason: grpc sends again, on another pick,
// what a refused stream did not take.
func (s *stream) SendMsg(m any) error { return s.sent(s.ClientStream.SendMsg(m)) }

// RecvMsg may fail with the mesh's reason, as SendMsg.
func (s *stream) RecvMsg(m any) error { return s.received(s.ClientStream.RecvMsg(m)) }

func (s *stream) sent(err error) error {
	if err == nil {
		s.watch.Touch()
		return nil
	}
	return s.explain(err)
}

func (s *stream) received(err error) error {
	if err == nil {
		s.watch.Touch()
		if s.plan.traffic.Breaker != nil && !s.judged.Load() {
			s.judge(nil)
		}
		return nil
	}
	return s.end(err)
}
