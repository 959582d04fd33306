package tap

import (
	"sync"
	"time"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
)

// maxMessages is how many messages of each direction are shown: the first.
const maxMessages = 10

// A Watch is what one attempt of a call, or one call on the server's side, is seen by.
// Its methods are safe for concurrent use, and do nothing on a nil Watch.
type Watch struct {
	// Immutable.
	set     *Set
	open    []*opened
	id      uint64
	call    Call
	began   time.Time
	capture bool

	mu             sync.Mutex // held while a message is counted
	ended          bool
	sent, received uint32
	messages       []*tapv1.Message
}

// Again returns a watch of another attempt of the same call, which may run at the same
// time.
func (w *Watch) Again() *Watch {
	if w == nil {
		return nil
	}
	return &Watch{set: w.set, open: w.open, id: w.id, call: w.call, began: time.Now(), capture: w.capture}
}

// Payload reports whether messages are asked for: where they are not, they are counted.
func (w *Watch) Payload() bool { return w != nil && w.capture }

// Request takes a message from the client to the server. It is read before Request
// returns, and never after.
func (w *Watch) Request(msg any) { w.take(msg, true) }

// Response takes a message from the server to the client, as Request does.
func (w *Watch) Response(msg any) { w.take(msg, false) }

func (w *Watch) take(msg any, request bool) {
	if w == nil || !w.count(request) {
		return
	}
	m := w.set.redaction.show(msg)
	m.Request = request
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.messages = append(w.messages, m)
	}
}

// count counts a message, and reports whether it is to be shown.
func (w *Watch) count(request bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := &w.received
	if request == (w.call.Side == Client) {
		n = &w.sent
	}
	*n++
	return w.capture && !w.ended && *n <= maxMessages
}

// End says how the attempt ended. Only the first call of it counts; it never waits.
func (w *Watch) End(f Facts) {
	if w == nil {
		return
	}
	w.mu.Lock()
	ended := w.ended
	w.ended = true
	sent, received, messages := w.sent, w.received, w.messages
	w.mu.Unlock()
	if ended {
		return
	}
	var seen *tapv1.Event // made when the first tap takes it
	for _, o := range w.open {
		if o.spec.Failures && (f.ok() || !o.admit(time.Now())) {
			continue
		}
		if seen == nil {
			seen = w.event(&f)
			seen.MessagesSent, seen.MessagesReceived = sent, received
		}
		e := copyOf(seen)
		e.Tap = o.spec.ID
		if o.spec.Payload {
			e.Messages = messages
		}
		if !w.set.taps.queue.push(e) {
			o.tally.dropped.Add(1)
		}
		w.set.taps.poke()
	}
}
