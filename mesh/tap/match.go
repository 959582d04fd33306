package tap

import (
	"time"

	"google.golang.org/grpc/metadata"
)

// A Set are taps that are open at one moment. It is immutable but for its counters.
type Set struct {
	taps      *Taps
	open      []*opened
	redaction *redaction
}

// A Call is what is known of a call before it is made or served.
type Call struct {
	Side Side
	// Peer is the service on the other side, as it is named in the mesh: the one that is
	// called, or, on the server's side, the one that the caller's certificate names;
	// empty where that is not known.
	Peer string
	// Method is the full method, "/pkg.Service/Method".
	Method string
	// Metadata is the request's. It is read until the watch ends, and must not change.
	Metadata metadata.MD
	// Deadline is the call's; zero where there is none.
	Deadline time.Time
	Stream   bool
}

// Match returns a watch of a call if any of the taps asks for it and may have one more
// in this second, otherwise nil. All its attempts have what it was matched by.
func (s *Set) Match(c Call) *Watch {
	now := time.Now()
	var open []*opened
	capture := false
	for _, o := range s.open {
		if !o.wants(&c, now) {
			continue
		}
		if !o.spec.Failures && !o.admit(now) {
			continue
		}
		open = append(open, o)
		if o.spec.Payload && (!o.spec.Failures || o.tally.captures.take(now)) {
			capture = true
		}
	}
	if open == nil {
		return nil
	}
	return &Watch{set: s, open: open, id: s.taps.calls.Add(1), call: c, began: now, capture: capture}
}
