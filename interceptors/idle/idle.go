// Package idle ends streams on which no message passes any more, either way.
//
//	watch := idle.Start(traffic.IdleTimeout, cancel)
//	defer watch.Stop()
//	...
//	watch.Touch() // a message passed
//
// A peer that is gone is found out by keepalive pings; a peer that is there and says
// nothing is not. A Watch is a timer and a number: no goroutine waits beside the
// stream, and a message costs one store.
package idle

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// A Watch watches one stream. Nil watches none. It is safe for concurrent use.
type Watch struct {
	// Immutable after construction.
	timeout time.Duration
	start   time.Time
	expire  func()

	last    atomic.Int64 // when a message passed, since start
	expired atomic.Bool

	mu      sync.Mutex // not held while expire runs
	timer   *time.Timer
	stopped bool
}

// Start begins to watch a stream that was just opened; nil where timeout is not above
// zero. expire is called, once and in a goroutine of its own, when the stream has been
// idle for timeout.
func Start(timeout time.Duration, expire func()) *Watch {
	if timeout <= 0 {
		return nil
	}
	w := &Watch{timeout: timeout, start: time.Now(), expire: expire}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(timeout, w.look)
	return w
}

// Touch notes that a message passed.
func (w *Watch) Touch() {
	if w != nil {
		w.last.Store(int64(time.Since(w.start)))
	}
}

// look is where the timer goes off. Moving the timer with each message would cost each
// message a lock of the runtime's.
func (w *Watch) look() {
	left := w.timeout - (time.Since(w.start) - time.Duration(w.last.Load()))
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	if left > 0 {
		w.timer.Reset(left)
		w.mu.Unlock()
		return
	}
	w.stopped = true
	w.mu.Unlock()
	w.expired.Store(true)
	w.expire()
}

// Stop ends the watch. It may be called more than once.
func (w *Watch) Stop() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}

// Failure is why the stream of a method was ended, nil while it was not by w.
//
// It is DEADLINE_EXCEEDED, as for every other limit of time that the operator sets:
// CANCELLED would say that the application gave up, and UNAVAILABLE would ask to try
// again what a peer may have done already.
func (w *Watch) Failure(service, method string) *call.Error {
	if w == nil || !w.expired.Load() {
		return nil
	}
	return &call.Error{
		Service: service,
		Reason:  call.StreamIdle,
		Code:    codes.DeadlineExceeded,
		Detail:  fmt.Sprintf("no message passed on the stream %s of %q for %v, the idle timeout of its route", method, service, w.timeout),
		Try:     "a message now and then, or a longer idleTimeout in the route: xdsserver routes " + service,
	}
}
