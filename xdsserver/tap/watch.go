package tap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// Bounds of the events that wait for a reader, and how long he may leave them.
const (
	maxWaiting      = 2_000
	maxWaitingBytes = 4 << 20
	stalled         = 30 * time.Second
)

// A Watch is an open tap and what waits for its reader, who is one: [Watch.Next] is not
// for several at once. The rest is safe for concurrent use.
type Watch struct {
	// Immutable.
	hub           *Hub
	id            string
	service       model.ServiceName
	request       Request
	opened, until time.Time
	generation    uint64
	wake          chan struct{} // has room for one: that there is something to read

	// per is the rate of each process. Guarded by Hub.mu.
	per float64

	mu       sync.Mutex // held for bookkeeping only; taken after Hub.mu
	events   []waiting
	bytes    int
	limit    limit
	read     time.Time // when the reader last took something, or had all
	have, of int
	news     bool // that have or of changed
	told     uint64
	dropped  uint64
	ended    error // nil while it is open
}

type waiting struct {
	event *tapv1.Event
	size  int
}

// An Update is one event or how the tap stands.
type Update struct {
	// Event is nil where only the rest is news.
	Event *tapv1.Event
	// Tapping processes are those that know of the tap, of all those that take commands.
	Tapping, Of int
	// Dropped counts the calls that matched and were too many to be told.
	Dropped uint64
	Until   time.Time
}

// Open opens a tap; the caller closes it. The error is a *[RequestError] or wraps
// [ErrFull].
func (h *Hub) Open(r Request) (*Watch, error) {
	r, err := r.withDefaults()
	if err != nil {
		return nil, err
	}
	_, of := h.config.Processes(r.Service.String(), r.Instance, math.MaxUint64)
	h.mu.Lock()
	defer h.mu.Unlock()
	same := 0
	for _, w := range h.taps {
		if w.service == r.Service {
			same++
		}
	}
	switch {
	case len(h.taps) >= MaxTaps:
		return nil, fmt.Errorf("%w: %d, which is the most; 'xdsserver log' says whose", ErrFull, len(h.taps))
	case same >= MaxPerService:
		return nil, fmt.Errorf("%w: %d of %s, which is the most; 'xdsserver log' says whose", ErrFull, same, r.Service)
	}
	if err := h.room(r.Service); err != nil {
		return nil, err
	}
	now := time.Now()
	w := &Watch{
		hub: h, id: newID(), service: r.Service, request: r, opened: now, until: now.Add(r.Duration), generation: h.generation + 1,
		wake: make(chan struct{}, 1), limit: newLimit(r.MaxRPS, now), read: now, of: of, news: true,
	}
	w.share(of)
	h.taps[w.id] = w
	h.compose(w.service)
	return w, nil
}

// Close ends the tap, and returns how many events were told, and how many calls were
// not. It is idempotent.
func (w *Watch) Close() (told, dropped uint64) {
	w.leave()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finish(errOver)
	return w.told, w.dropped
}

// leave takes the tap off the hub.
func (w *Watch) leave() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if w.hub.taps[w.id] == w {
		delete(w.hub.taps, w.id)
		w.hub.compose(w.service)
	}
}

// String says which calls are watched.
func (w *Watch) String() string { return w.request.String() }

// Until is when the tap ends by itself.
func (w *Watch) Until() time.Time { return w.until }

// share divides the rate among processes, and reports whether each has another now.
// Hub.mu is held.
func (w *Watch) share(processes int) bool {
	per := w.request.MaxRPS / float64(max(1, processes))
	changed := per != w.per
	w.per = per
	return changed
}

// command is what processes are told. Hub.mu is held.
func (w *Watch) command() model.Tap {
	r := w.request
	return model.Tap{
		ID: w.id, Instance: r.Instance, To: r.To, From: r.From, Method: r.Method, Metadata: r.Metadata,
		Failures: r.Failures, MaxRPS: w.per, Payload: r.Payload, Until: w.until,
	}
}

// count takes in how many processes there are, and ends the watch of a reader who has
// gone.
func (w *Watch) count(have, of int, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.have != have || w.of != of {
		w.have, w.of, w.news = have, of, true
		w.poke()
	}
	if len(w.events) > 0 && now.Sub(w.read) > stalled {
		w.finish(errSlow)
	}
}

// lacks reports whether there are processes that do not know of the tap.
func (w *Watch) lacks() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.have < w.of
}

func (w *Watch) isOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended != nil
}

// take takes an event, if there is room for it.
func (w *Watch) take(e *tapv1.Event, now time.Time) {
	size := proto.Size(e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended != nil {
		return
	}
	if len(w.events) >= maxWaiting || w.bytes+size > maxWaitingBytes || !w.limit.admit(e.GetAttempt(), now) {
		w.drop(1)
		return
	}
	if len(w.events) == 0 {
		w.read = now
	}
	w.events = append(w.events, waiting{e, size})
	w.bytes += size
	w.poke()
}

// lost counts calls that processes did not tell.
func (w *Watch) lost(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(n)
}

// drop counts calls that are not told. mu is held.
func (w *Watch) drop(n uint64) {
	if w.dropped += n; w.dropped < n {
		w.dropped = math.MaxUint64
	}
}

// Next waits for the next update, at most 5 seconds: then it tells how the tap stands,
// as it does at first. Its error says why the tap is over, see [IsOver]; it is ctx's own
// where that ends before.
func (w *Watch) Next(ctx context.Context) (Update, error) {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for late := false; ; {
		if u, ok, err := w.next(late); ok || err != nil {
			return u, err
		}
		select {
		case <-ctx.Done():
			return Update{}, context.Cause(ctx)
		case <-w.wake:
		case <-timer.C:
			late = true
		}
	}
}

// next returns what there is at once; late is to return something.
func (w *Watch) next(late bool) (u Update, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u = Update{Tapping: w.have, Of: w.of, Dropped: w.dropped, Until: w.until}
	switch {
	case w.news:
		w.news = false
		return u, true, nil
	case len(w.events) > 0:
		first := w.events[0]
		w.events[0] = waiting{}
		w.events, w.bytes = w.events[1:], w.bytes-first.size
		if len(w.events) == 0 {
			w.events = nil // not held on to
		}
		w.read = time.Now()
		w.told++
		u.Event = first.event
		return u, true, nil
	}
	return u, late, w.ended
}

// stop ends the watch; what waits may still be read.
func (w *Watch) stop(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finish(why)
}

// finish is stop with mu held. What a reader left who has gone is not kept for him.
func (w *Watch) finish(why error) {
	if w.ended != nil {
		return
	}
	w.ended = why
	if errors.Is(why, errSlow) {
		w.drop(uint64(len(w.events)))
		w.events, w.bytes = nil, 0
	}
	w.poke()
}

// poke wakes the reader. It never blocks.
func (w *Watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
