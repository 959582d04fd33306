// Package recovery turns a handler's panic into the end of one call, instead of the
// end of the process.
//
//	defer func() {
//		if v := recover(); v != nil {
//			err = panics.Panicked(method, v, time.Now())
//		}
//	}()
//
// net/http does the same, grpc-go does not: there a nil pointer in one handler ends
// every other call of the process with it. What is left behind may still be in
// disorder; a service that would rather end than go on panics in a goroutine of its
// own, or has a recovery inside of ours that ends it.
//
// The caller learns that the handler panicked and nothing else: panic values and
// stacks hold what is none of its business. They are in the log, once for each place
// in the code and minute.
//
// The package recovers nothing by itself: recover works in the deferred function only.
package recovery

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/call"
)

const (
	// logEvery is how often a panic of the same place is logged.
	logEvery = time.Minute
	// maxPlaces bounds the places that are told apart; all others are one.
	maxPlaces = 100
	// maxValue and maxStack bound what is logged of a panic, in bytes.
	maxValue = 1 << 10
	maxStack = 16 << 10
)

// A Recovery counts panics and logs them. It is made by [New] and safe for concurrent
// use.
type Recovery struct {
	service string
	logger  *slog.Logger
	count   atomic.Uint64

	mu     sync.Mutex // not held while logging
	places map[place]*said
}

// A place is a line of code; the zero place is all that are too many.
type place struct {
	file string
	line int
}

type said struct {
	last time.Time
	// since counts panics that were not told of yet.
	since uint64
}

// New returns a Recovery of the handlers of service.
func New(service string, logger *slog.Logger) *Recovery {
	return &Recovery{service: service, logger: logger, places: map[place]*said{}}
}

// Count returns how many handlers did not return.
func (r *Recovery) Count() uint64 { return r.count.Load() }

// Panicked takes what recover returned in a handler of method, and returns what the
// call ends with: INTERNAL. It is called by the deferred function itself, where the
// stack of the panic is still there.
func (r *Recovery) Panicked(method string, value any, now time.Time) *call.Error {
	r.count.Add(1)
	at := panickedAt()
	if panics, ok := r.due(&at, now); ok {
		r.logger.Error("handler panicked", "service", r.service, "method", method, "panic", short(fmt.Sprint(value), maxValue),
			"at", at.String(), "panics", panics, "stack", short(string(debug.Stack()), maxStack))
	}
	return r.failure(fmt.Sprintf("the handler of %s panicked", method))
}

// Exited is the end of a call whose handler left by runtime.Goexit, as t.FailNow of a
// test does: nothing can be recovered, but its caller need not wait for the deadline.
func (r *Recovery) Exited(method string, now time.Time) *call.Error {
	r.count.Add(1)
	at := place{file: method}
	if exits, ok := r.due(&at, now); ok {
		r.logger.Error("handler ended its goroutine", "service", r.service, "method", method, "exits", exits)
	}
	return r.failure(fmt.Sprintf("the handler of %s ended its goroutine and did not answer", method))
}

func (r *Recovery) failure(detail string) *call.Error {
	return &call.Error{
		Service: r.service,
		Reason:  call.Panicked,
		Code:    codes.Internal,
		Detail:  detail,
		Try:     "the log of " + r.service + ", which has the stack",
	}
}

// due counts a panic and reports whether it may be logged now, and for how many. The
// place becomes that of all others when there are too many.
func (r *Recovery) due(at *place, now time.Time) (panics uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.places[*at]
	if s == nil && len(r.places) >= maxPlaces {
		*at = place{}
		s = r.places[*at]
	}
	if s == nil {
		s = &said{}
		r.places[*at] = s
	}
	s.since++
	if !s.last.IsZero() && now.Sub(s.last) < logEvery {
		return 0, false
	}
	panics = s.since
	s.last, s.since = now, 0
	return panics, true
}

// panickedAt is the line that panicked: the first below the runtime's own, which
// finds out about nil pointers and indices.
func panickedAt() place {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs[:])])
	panicking := false
	for {
		f, more := frames.Next()
		inRuntime := strings.HasPrefix(f.Function, "runtime.")
		if panicking && !inRuntime {
			return place{file: f.File, line: f.Line}
		}
		panicking = panicking || f.Function == "runtime.gopanic"
		if !more {
			return place{}
		}
	}
}

// String is the place as compilers write it.
func (p place) String() string {
	if p == (place{}) {
		return "unknown"
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

func short(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most] + "..."
}
