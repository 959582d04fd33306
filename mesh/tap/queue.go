package tap

import (
	"sync"

	"google.golang.org/protobuf/proto"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
)

// Bounds of the events that wait to be reported, and of one report; the second are
// those of tulle.tap.v1.ReportRequest, with room for the rest of it.
const (
	maxQueued      = 2_000
	maxQueuedBytes = 4 << 20
	maxReport      = 500
	maxReportBytes = 768 << 10
)

// A queue holds events until they are reported. It is safe for concurrent use.
type queue struct {
	mu     sync.Mutex // held for bookkeeping only
	events []queued
	bytes  int
}

type queued struct {
	event *tapv1.Event
	size  int
}

// push adds an event, and reports whether there was room.
func (q *queue) push(e *tapv1.Event) bool {
	size := proto.Size(e) + 8
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) >= maxQueued || q.bytes+size > maxQueuedBytes || size > maxReportBytes {
		return false
	}
	q.events = append(q.events, queued{e, size})
	q.bytes += size
	return true
}

// take takes what fits into one report, the oldest first, and reports whether there is
// more.
func (q *queue) take() (events []*tapv1.Event, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes := 0
	n := 0
	for n < len(q.events) && n < maxReport && bytes+q.events[n].size <= maxReportBytes {
		bytes += q.events[n].size
		events = append(events, q.events[n].event)
		n++
	}
	q.events, q.bytes = q.events[n:], q.bytes-bytes
	if len(q.events) == 0 {
		q.events = nil // not held on to
	}
	return events, len(q.events) > 0
}

// clear drops everything.
func (q *queue) clear() (events []*tapv1.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.events {
		events = append(events, e.event)
	}
	q.events, q.bytes = nil, 0
	return events
}
