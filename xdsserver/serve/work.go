package serve

import (
	"context"
	"runtime"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A work is the streams that somebody is to look at, in order, each once. As many
// goroutines as processors do so while there are any: a change that matters to all
// streams wakes two goroutines, not five thousand.
type work struct {
	mu      sync.Mutex
	streams []*stream // those from next on
	next    int
	workers int
	// free is signalled when the last worker ends.
	free sync.Cond
}

// add puts streams in line, which must not be in it.
func (w *work) add(streams ...*stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams = append(w.streams, streams...)
	for range min(runtime.GOMAXPROCS(0)-w.workers, len(streams)) {
		w.workers++
		go w.run() // Server.Close waits for it, in wait
	}
}

func (w *work) run() {
	for st := w.take(); st != nil; st = w.take() {
		st.look()
	}
}

// take returns who is next; nil ends the worker.
func (w *work) take() *stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == len(w.streams) {
		w.streams, w.next = w.streams[:0], 0
		if w.workers--; w.workers == 0 {
			w.free.Broadcast()
		}
		return nil
	}
	st := w.streams[w.next]
	w.streams[w.next] = nil
	w.next++
	return st
}

// wait returns when there is no worker.
func (w *work) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.workers > 0 {
		w.free.Wait()
	}
}

// The states of a stream in [work].
const (
	resting int32 = iota
	waiting       // in line
	looking       // somebody looks
	again         // the same, and there is more to see since
)

// poke has somebody look at the stream. It never blocks.
func (st *stream) poke() {
	if st.rouse() {
		st.server.work.add(st)
	}
}

// rouse reports whether the stream is to be put in line; it counts as being there then.
func (st *stream) rouse() bool {
	for {
		switch st.state.Load() {
		case resting:
			if st.state.CompareAndSwap(resting, waiting) {
				return true
			}
		case looking:
			if st.state.CompareAndSwap(looking, again) {
				return false
			}
		default:
			return false
		}
	}
}

// pokeAll is poke for many.
func (s *Server) pokeAll(streams []*stream) {
	roused := streams[:0]
	for _, st := range streams {
		if st.rouse() {
			roused = append(roused, st)
		}
	}
	s.work.add(roused...)
}

// look sends what the client lacks, and ends the stream if it is over.
func (st *stream) look() {
	st.state.Store(looking)
	st.turn.Lock()
	if !st.finished {
		if over, err := st.step(); over {
			st.conclude(err)
			_ = st.ender.WriteStatus(status.Convert(err)) // no error that the client could be told of
		}
	}
	st.turn.Unlock()
	if !st.state.CompareAndSwap(looking, resting) {
		st.state.Store(waiting)
		st.server.work.add(st)
	}
}

// finish ends the stream, if no worker has, and returns what it ended with, and whether
// the client had gone by then.
func (st *stream) finish(err error) (gone bool, result error) {
	st.turn.Lock()
	defer st.turn.Unlock()
	if !st.finished {
		st.conclude(err)
	}
	return st.gone, st.result
}

// conclude notes that nothing is sent any more. turn must be held.
func (st *stream) conclude(err error) {
	st.finished, st.result, st.gone = true, err, st.grpc.Context().Err() != nil
}

// An ender ends a call while its handler waits for a request: the client gets the status,
// and the wait an error. It is grpc's own stream, which does so with what a handler
// returns, and with the failures of sends; by its public interface, a handler alone ends
// a call, and must be where it can, in a goroutine beside the one that reads.
type ender interface {
	WriteStatus(s *status.Status) error
}

func enderOf(ctx context.Context) (ender, error) {
	e, ok := grpc.ServerTransportStreamFromContext(ctx).(ender)
	if !ok {
		return nil, status.Error(codes.Internal, "ads: this transport has no way to end a stream: serve from a grpc.Server")
	}
	return e, nil
}
