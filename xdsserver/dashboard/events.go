package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// A pusher writes server-sent events to one stream. Who leaves a part of them unread is
// cut.
type pusher struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// push begins a stream.
func push(w http.ResponseWriter) *pusher {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy in between must not gather it
	return &pusher{w: w, control: http.NewResponseController(w)}
}

// send writes a frame, and what was written before it.
func (p *pusher) send(frame []byte) error {
	if err := p.control.SetWriteDeadline(time.Now().Add(readWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := p.w.Write(frame); err != nil {
		return err
	}
	return p.control.Flush()
}

var alive = []byte(": keepalive\n\n")

// serveEvents is the stream that the pages live on.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request, in *session) {
	if !in.can(admin.MayView) {
		fail(w, http.StatusForbidden, "permission_denied", in.name+" may not view")
		return
	}
	query := r.URL.Query()
	window, err := parseWindow(query.Get("window"))
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid_argument", err.Error())
		return
	}
	topics := []topic{{event: eventGraph, window: window}, {event: eventStatus}}
	if service := query.Get("service"); service != "" {
		topics = append(topics, topic{event: eventService, window: window, service: service})
	}
	release, err := s.sessions.stream(in)
	if err != nil {
		fail(w, http.StatusTooManyRequests, "resource_exhausted", err.Error())
		return
	}
	defer release()
	reader, leave, ok := s.feed.join(topics...)
	if !ok {
		fail(w, http.StatusTooManyRequests, "resource_exhausted", "too many services and windows are watched at a time: close some pages of the dashboard")
		return
	}
	defer leave()

	expires := time.NewTimer(time.Until(in.expires))
	defer expires.Stop()
	silent := time.NewTimer(keepAlive)
	defer silent.Stop()
	out := push(w)
	err = out.send(alive) // the page is connected
	for err == nil {
		select {
		case <-reader.wake:
			for _, frame := range reader.take() {
				if frame != nil && err == nil {
					err = out.send(frame)
				}
			}
		case <-silent.C:
			err = out.send(alive)
		case <-r.Context().Done():
			return
		case <-in.done:
			return
		case <-expires.C:
			return
		case <-s.feed.done:
			return
		}
		silent.Reset(keepAlive)
	}
}

func parseWindow(text string) (time.Duration, error) {
	if text == "" {
		return defaultWindow, nil
	}
	window, err := time.ParseDuration(text)
	if err != nil || window < minWindow || window > maxWindow {
		return 0, fmt.Errorf("%.20q is no window, want %v to %v", text, minWindow, maxWindow)
	}
	return window.Round(time.Second), nil
}
