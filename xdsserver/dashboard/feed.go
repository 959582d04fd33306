package dashboard

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// The events of a stream, in the order in which those of one tick are sent.
const (
	eventGraph = iota
	eventStatus
	eventService
	eventObjects
	events // how many there are
)

// A topic is what a stream can be about.
type topic struct {
	event   int
	window  time.Duration // none of status
	service string        // of a service alone
}

// A feed asks the API once for all who want to know the same, every two seconds, and
// writes the answer once. One goroutine does, so that nothing is asked twice at a time.
type feed struct {
	api    adminv1connect.AdminServiceHandler
	logger *slog.Logger
	wake   chan struct{} // cap 1: a topic is new

	done chan struct{} // closed when run has ended

	mu     sync.Mutex
	topics map[topic]*subject
}

// A subject is a topic that somebody wants to know of.
type subject struct {
	readers map[*reader]bool
	// frame is the event as it was last sent, nil before the first; was is what it was
	// compared by.
	frame []byte
	was   []byte
	// revision is that of the store, of status alone.
	revision int64
}

// A reader is one stream: of each event it has yet to get the last.
type reader struct {
	wake chan struct{} // cap 1: something is pending

	mu      sync.Mutex
	pending [events][]byte
}

// put makes a frame pending in place of one that was not read.
func (r *reader) put(event int, frame []byte) {
	r.mu.Lock()
	r.pending[event] = frame
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns what is pending.
func (r *reader) take() [events][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.pending
	r.pending = [events][]byte{}
	return taken
}

func newFeed(api adminv1connect.AdminServiceHandler, logger *slog.Logger) *feed {
	return &feed{api: api, logger: logger, wake: make(chan struct{}, 1), topics: map[topic]*subject{}, done: make(chan struct{})}
}

// join makes a reader of topics, who gets what is known of them at once; ok is false
// when there are too many topics. The caller calls leave at the end.
func (f *feed) join(topics ...topic) (r *reader, leave func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	more := 0
	for _, t := range topics {
		if f.topics[t] == nil {
			more++
		}
	}
	if len(f.topics)+more > maxTopics {
		return nil, nil, false
	}
	r = &reader{wake: make(chan struct{}, 1)}
	for _, t := range topics {
		s := f.topics[t]
		if s == nil {
			s = &subject{readers: map[*reader]bool{}}
			f.topics[t] = s
		}
		s.readers[r] = true
		if s.frame != nil {
			r.put(t.event, s.frame)
		}
	}
	if more > 0 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	return r, sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, t := range topics {
			s := f.topics[t]
			if delete(s.readers, r); len(s.readers) == 0 {
				delete(f.topics, t)
			}
		}
	}), true
}

// run asks until ctx ends.
func (f *feed) run(ctx context.Context) error {
	defer close(f.done)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		case <-ticker.C:
			all = true
		}
		for t, s := range f.subjects() {
			if all || s.frame == nil {
				f.refresh(ctx, t, s)
			}
		}
	}
}

func (f *feed) subjects() map[topic]*subject {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.topics)
}

// refresh asks for one topic, and tells its readers what has changed. Only run calls it, so
// that it may read what it alone writes without the lock.
func (f *feed) refresh(ctx context.Context, t topic, s *subject) {
	message, err := f.ask(ctx, t)
	if err != nil {
		if ctx.Err() == nil {
			f.logger.Debug("dashboard not told", "service", t.service, "error", err)
		}
		return
	}
	was := timeless(message)
	if s.frame != nil && bytes.Equal(was, s.was) {
		return
	}
	text, err := protojson.Marshal(message)
	if err != nil {
		f.logger.Warn("dashboard event not written", "service", t.service, "error", err)
		return
	}
	frame := newFrame([]string{"graph", "status", "service"}[t.event], text)
	var moved []byte
	if status, ok := message.(*adminv1.GetStatusResponse); ok {
		if now := status.GetStoreRevision(); s.frame != nil && now != s.revision {
			moved = newFrame("objects", fmt.Appendf(nil, `{"revision":"%d"}`, now))
		}
		s.revision = status.GetStoreRevision()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.frame, s.was = frame, was
	for r := range s.readers {
		r.put(t.event, frame)
		if moved != nil {
			r.put(eventObjects, moved)
		}
	}
}

// ask asks the API, as one who may only look.
func (f *feed) ask(ctx context.Context, t topic) (message proto.Message, err error) {
	defer func() {
		if p := recover(); p != nil { // one bad answer must not end the server
			err = errPanicked
			f.logger.Error("admin API panicked", "panic", p)
		}
	}()
	ctx, cancel := context.WithTimeout(admin.WithCaller(ctx, admin.Caller{Name: "dashboard", May: []admin.Right{admin.MayView}}), askWithin)
	defer cancel()
	switch t.event {
	case eventGraph:
		return f.api.GetGraph(ctx, &adminv1.GetGraphRequest{Window: durationpb.New(t.window)})
	case eventStatus:
		return f.api.GetStatus(ctx, &adminv1.GetStatusRequest{})
	case eventService:
		return f.api.GetServiceStats(ctx, &adminv1.GetServiceStatsRequest{Service: t.service, Window: durationpb.New(t.window)})
	}
	return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("dashboard: event %d is none", t.event))
}

// timeless is a message without the moment at which it was made, for comparison.
func timeless(m proto.Message) []byte {
	switch m := m.(type) {
	case *adminv1.GetGraphResponse:
		at := m.GetAt()
		m.At = nil
		defer func() { m.At = at }()
	case *adminv1.GetServiceStatsResponse:
		at := m.GetAt()
		m.At = nil
		defer func() { m.At = at }()
	}
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m) // what cannot be written is found out when it is
	return b
}

// newFrame is a server-sent event (HTML Living Standard, section 9.2); text has no line
// ends, as JSON on one line.
func newFrame(event string, text []byte) []byte {
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", event, text)
}
