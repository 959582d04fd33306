package interceptors

import (
	"io"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/tap"
)

// A journey is one attempt of a stream, from when it is opened to its end.
type journey struct {
	outing

	stream *stream
	rpc    *call.Call
	seen   seen
	over   atomic.Bool

	// held is what those who tap are told of the end, where a message is still to come
	// that they are to see; guarded by the stream's mu.
	held *tap.Facts
}

// A waypoint is where an attempt went.
type waypoint struct{ cluster, endpoint string }

// depart begins the attempt at hand.
func (s *stream) depart() *journey {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := &s.journey
	if s.attempts > 0 {
		j = &journey{}
	}
	j.outing, j.stream, j.rpc = s.plan.outing, s, s.rpc
	s.attempts++
	s.going = j
	return j
}

// finished is what grpc calls when the attempt ends.
func (j *journey) finished(err error) {
	j.end(err)
	j.stream.finished(err)
}

// end tells that the attempt is over, once.
func (j *journey) end(err error) {
	if j.over.Swap(true) {
		return
	}
	if err == io.EOF { //nolint:errorlint // grpc returns it bare
		err = nil
	}
	s, tell := j.stream, &j.stream.plan.tell
	now := tell.back(&j.outing, j.rpc, err)
	s.mu.Lock()
	s.last = waypoint{cluster: j.rpc.Cluster, endpoint: j.rpc.Endpoint()}
	s.mu.Unlock()
	if j.watch == nil {
		return
	}
	f := tell.facts(&j.outing, j.rpc, &j.seen, err, now)
	if err == nil && !s.opening.desc.ServerStreams {
		s.mu.Lock()
		j.held = &f
		s.mu.Unlock()
		return // grpc ends the stream before it hands out the one answer
	}
	j.watch.End(f)
}

// release tells what was held.
func (j *journey) release() {
	j.stream.mu.Lock()
	f := j.held
	j.held = nil
	j.stream.mu.Unlock()
	if f != nil {
		j.watch.End(*f)
	}
}

// A tapped stream shows its messages to those who watch it, as those of the attempt at
// hand.
type tapped struct {
	grpc.ClientStream

	stream *stream
}

func (t *tapped) going() *journey {
	t.stream.mu.Lock()
	defer t.stream.mu.Unlock()
	return t.stream.going
}

// SendMsg implements grpc.ClientStream.
func (t *tapped) SendMsg(m any) error {
	t.going().watch.Request(m)
	return t.ClientStream.SendMsg(m)
}

// RecvMsg implements grpc.ClientStream.
func (t *tapped) RecvMsg(m any) error {
	err := t.ClientStream.RecvMsg(m)
	j := t.going()
	if err == nil {
		j.watch.Response(m)
	}
	j.release()
	return err
}
