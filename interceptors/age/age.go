// Package age ends streams that are old where their endpoint has more than its part.
//
//	watch := age.Start(balancing.MaxStreamAge, rpc.Crowded, cancel)
//	defer watch.Stop()
//
// A stream stays with the endpoint it was opened at, however many come later: after a
// deployment the first instance has them all. It cannot be moved without the
// application, but ended, so that the application opens another, which goes where there
// is room. Nothing is ended while streams are spread evenly, however old they are.
package age

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// jitter is the part of an age by which looks are spread: streams that were opened
// together would otherwise all see the same crowd, and all leave it.
const jitter = 0.5

// A Watch watches one stream. Nil watches none. It is safe for concurrent use.
type Watch struct {
	// Immutable after construction.
	age     time.Duration
	crowded func() bool
	expire  func()

	expired atomic.Bool

	mu      sync.Mutex // not held while crowded or expire runs
	timer   *time.Timer
	stopped bool
}

// Start begins to watch a stream that was just opened; nil where age is not above zero.
// From age on, and up to half as much later, crowded is asked about once each age, in a
// goroutine of its own, and the first time that it says so expire is called.
func Start(age time.Duration, crowded func() bool, expire func()) *Watch {
	if age <= 0 {
		return nil
	}
	w := &Watch{age: age, crowded: crowded, expire: expire}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.next(), w.look)
	return w
}

func (w *Watch) next() time.Duration {
	return w.age + time.Duration(jitter*rand.Float64()*float64(w.age))
}

func (w *Watch) look() {
	if w.crowded() {
		if w.expired.CompareAndSwap(false, true) {
			w.expire()
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(w.next())
	}
}

// Stop ends the watch. It is idempotent.
func (w *Watch) Stop() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}

// Failure returns why the stream ended, nil where its age was not why. It is
// UNAVAILABLE, by which applications know that they should open another.
func (w *Watch) Failure(service, endpoint string) *call.Error {
	if w == nil || !w.expired.Load() {
		return nil
	}
	return &call.Error{
		Service: service,
		Reason:  call.StreamAge,
		Code:    codes.Unavailable,
		Detail: fmt.Sprintf("the stream to %s of %q is older than %v, and the endpoint has more streams than its part",
			endpoint, service, w.age),
		Try: "open the stream again: it goes to an endpoint that has fewer",
	}
}
