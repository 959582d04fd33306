package interceptors

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// perMessage is what a kept message costs beside its bytes: those of nothing have a
// bound, too.
const perMessage = 64

// A replay is a stream that is opened again where an attempt fails of which the
// application has seen nothing yet. The first message received, a header that was
// asked for, or more messages sent than are kept commit it to its attempt: from then
// on it costs one atomic load a message.
//
// Messages are kept as copies, not as bytes: interceptors below ours, stats handlers
// and codecs then see of each attempt what they would see of the first.
//
// One goroutine at a time receives, and it is the one that opens the next attempt: that
// in which the application calls RecvMsg or, where SendMsg or Header find the attempt
// broken and nobody receives, theirs. Others wait meanwhile, for a condition and not
// for the lock, with which virtual time would stand still.
type replay struct {
	stream *stream

	committed atomic.Bool // the attempt at hand is the last
	direct    atomic.Bool // and what was received of it was handed on
	expired   atomic.Bool // the attempt at hand has used up its own time

	room int // for messages to keep; it belongs to who sends

	mu        sync.Mutex // not held while grpc is called
	changed   sync.Cond  // that something of what follows did
	at        grpc.ClientStream
	number    int  // of at
	receiving bool // somebody receives, and opens the next attempt
	switching bool // and is at the latter
	kept      []proto.Message
	closed    bool           // the application will send no more
	early     *emptypb.Empty // a message that nobody had asked for yet
	failure   error          // what the stream ended with
	timer     *time.Timer    // of the attempt's own time, nil for none
}

var _ grpc.ClientStream = (*replay)(nil)

func newReplay(s *stream) *replay {
	r := &replay{stream: s, room: int(s.plan.retry.BufferBytes)}
	r.changed.L = &r.mu
	s.plan.replayed = true
	s.rpc.Context, s.cancel = s.plan.try(s.plan.ctx)
	return r
}

// begin takes an attempt that was opened, the first.
func (r *replay) begin(at grpc.ClientStream) *replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = at
	return r
}

// arm starts the time that the attempt at hand has, until something is received.
func (r *replay) arm(until time.Time, cancel context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expired.Store(false)
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if until.IsZero() {
		return
	}
	var own *time.Timer
	own = time.AfterFunc(time.Until(until), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.committed.Load() || r.timer != own {
			return
		}
		r.expired.Store(true)
		cancel() // with the lock held: a message that comes now comes too late
	})
	r.timer = own
}

// commit makes the attempt at hand the last. It needs mu.
func (r *replay) commit() {
	r.committed.Store(true)
	r.kept = nil
	if r.timer != nil {
		r.timer.Stop()
	}
}

// ends reports whether the end of an attempt, with err, is that of the stream however
// nobody may ever receive again.
func (r *replay) ends(err error) bool {
	if r.committed.Load() || r.stream.plan.ctx.Err() != nil {
		return true
	}
	// The connection was closed by the application.
	return status.Code(err) == codes.Canceled && !r.expired.Load() && !r.stream.plan.retry.Codes.Has(uint32(codes.Canceled))
}

// SendMsg implements grpc.ClientStream.
func (r *replay) SendMsg(m any) error {
	if r.committed.Load() {
		return r.stream.sent(r.at.SendMsg(m))
	}
	keep := r.copy(m)
	r.mu.Lock()
	for r.switching {
		r.changed.Wait()
	}
	switch {
	case r.committed.Load():
	case keep == nil:
		r.commit()
	default:
		r.kept = append(r.kept, keep)
	}
	at, number, committed := r.at, r.number, r.committed.Load()
	r.mu.Unlock()

	err := at.SendMsg(m)
	switch {
	case err == nil:
		r.stream.watch.Touch()
		return nil
	case err != io.EOF: //nolint:errorlint // grpc returns it bare
		// It is of this side's making, as a message that is too large: another
		// attempt would have the same.
		r.last()
		return err
	case committed:
		return err
	case r.replaced(number):
		return nil // it was sent again with those before
	default:
		return err
	}
}

// copy returns a copy of a message to keep, nil where it cannot be kept.
func (r *replay) copy(m any) proto.Message {
	message, ok := m.(proto.Message)
	if !ok {
		return nil
	}
	size := proto.Size(message) + perMessage
	if size > r.room {
		return nil
	}
	r.room -= size
	return proto.Clone(message)
}

// replaced waits, where the attempt of a number is broken, until it is known whether
// there is another, and reports so.
func (r *replay) replaced(number int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.switching || r.number == number && !r.committed.Load() {
		if r.receiving {
			r.changed.Wait()
			continue
		}
		// Only what is received tells. It may be a message, whose kind is not known
		// here: all its fields are then unknown to an Empty, which keeps them.
		r.receiving = true
		at := r.at
		r.mu.Unlock()
		_ = r.receive(at, new(emptypb.Empty), true)
		r.mu.Lock()
	}
	return r.number != number && r.failure == nil
}

// RecvMsg implements grpc.ClientStream.
func (r *replay) RecvMsg(m any) error {
	if r.direct.Load() {
		return r.stream.received(r.at.RecvMsg(m))
	}
	r.mu.Lock()
	for r.receiving {
		r.changed.Wait()
	}
	at := r.at
	switch {
	case r.early != nil:
		early := r.early
		r.early = nil
		r.mu.Unlock()
		return read(early, m)
	case r.failure != nil:
		defer r.mu.Unlock()
		return r.failure
	case r.committed.Load():
		r.direct.Store(true)
		r.mu.Unlock()
		return r.stream.received(at.RecvMsg(m))
	default:
		r.receiving = true
		r.mu.Unlock()
		return r.receive(at, m, false)
	}
}

// read makes an early message what the application asks for.
func read(early *emptypb.Empty, m any) error {
	message, ok := m.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %T is no protobuf", m)
	}
	if err := proto.Unmarshal(early.ProtoReflect().GetUnknown(), message); err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

// receive receives a message of an attempt and, where it fails, of those that come
// after it; an early one of the attempt alone. Receiving is set, and is not afterwards.
func (r *replay) receive(at grpc.ClientStream, m any, early bool) error {
	for {
		err := at.RecvMsg(m)
		r.mu.Lock()
		if err == nil {
			r.commit()
			if early {
				r.early = m.(*emptypb.Empty)
			} else {
				r.direct.Store(true)
			}
			r.received()
			if !r.stream.opening.desc.ServerStreams {
				r.stream.conclude(nil) // it ended with its one answer, before it was committed
			}
			return r.stream.received(nil)
		}
		if err == io.EOF || r.committed.Load() { //nolint:errorlint // grpc returns it bare
			r.commit()
			r.mu.Unlock()
			return r.end(err)
		}
		r.switching = true
		r.mu.Unlock()

		if at, err = r.reopen(err); err != nil {
			return r.end(err)
		}
		r.mu.Lock()
		r.at, r.switching = at, false
		r.number++
		if early { // what was to be known is
			r.received()
			return nil
		}
		r.changed.Broadcast()
		r.mu.Unlock()
	}
}

// received lets others receive. It needs mu, and gives it back.
func (r *replay) received() {
	r.receiving, r.switching = false, false
	r.changed.Broadcast()
	r.mu.Unlock()
}

// end ends the stream.
func (r *replay) end(err error) error {
	err = r.stream.end(err)
	r.mu.Lock()
	r.commit()
	r.failure = err
	r.received()
	return err
}

// reopen opens the next attempts after one that failed with err, until one can be, and
// sends it what the application sent. The error is the stream's.
func (r *replay) reopen(err error) (grpc.ClientStream, error) {
	for {
		var again bool
		if again, err = r.stream.plan.again(r.stream.rpc, err); !again {
			return nil, err
		}
		r.stream.next()
		var at grpc.ClientStream
		if at, err = r.stream.attempt(); err == nil {
			return at, r.resend(at)
		}
	}
}

// resend sends what is kept. Nobody adds to it while it does.
func (r *replay) resend(at grpc.ClientStream) error {
	for _, m := range r.kept {
		if err := at.SendMsg(m); err == io.EOF { //nolint:errorlint // grpc returns it bare
			return nil // broken again, which to receive will tell
		} else if err != nil {
			return err
		}
	}
	if r.closed {
		return at.CloseSend()
	}
	return nil
}

// Header implements grpc.ClientStream.
func (r *replay) Header() (metadata.MD, error) {
	for {
		at, number := r.current()
		md, err := at.Header()
		if len(md) == 0 || err != nil { // one that came says at least what kind the content is
			if r.replaced(number) {
				continue
			}
			return md, err
		}
		r.mu.Lock()
		stays := r.number == number && !r.switching
		if stays {
			r.commit()
		}
		r.mu.Unlock()
		if stays {
			return md, nil
		}
	}
}

// Trailer implements grpc.ClientStream.
func (r *replay) Trailer() metadata.MD {
	at, _ := r.current()
	return at.Trailer()
}

// CloseSend implements grpc.ClientStream.
func (r *replay) CloseSend() error {
	r.mu.Lock()
	for r.switching {
		r.changed.Wait()
	}
	r.closed = true
	at := r.at
	r.mu.Unlock()
	return at.CloseSend()
}

// Context implements grpc.ClientStream. As with grpc's own, no attempt comes after the
// one that it belongs to.
func (r *replay) Context() context.Context { return r.last().Context() }

// last commits the stream, and returns its attempt.
func (r *replay) last() grpc.ClientStream {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.switching {
		r.changed.Wait()
	}
	r.commit()
	return r.at
}

// current is the attempt at hand, once there is one.
func (r *replay) current() (grpc.ClientStream, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.switching {
		r.changed.Wait()
	}
	return r.at, r.number
}
