package access

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// logEvery is how often calls that are alike are logged.
	logEvery = time.Second
	// maxLines bounds the kinds of calls that are told apart in one logEvery.
	maxLines = 100
)

// A Log tells of denied calls, and of those that would be, once a second for each
// caller, method and policy. It is made by [NewLog] and safe for concurrent use.
type Log struct {
	logger  *slog.Logger
	service string

	mu    sync.Mutex // not held while logging
	lines map[line]*said
}

type line struct {
	key

	policy string
	denied bool
}

type said struct {
	last time.Time
	// since counts calls that were not told of yet.
	since uint64
}

// NewLog returns a Log of the calls to service.
func NewLog(service string, logger *slog.Logger) *Log {
	return &Log{logger: logger, service: service, lines: map[line]*said{}}
}

// Tell logs a call with what became of it, unless it is allowed by all rules or
// one like it was logged a moment ago: that one's successor says how many there were.
func (l *Log) Tell(c *Caller, method string, v *Verdict, now time.Time) {
	at := line{key: key{caller: c.id(), method: short(method)}, policy: v.Policy, denied: !v.Allowed}
	if c.Peer == nil {
		at.host = c.host()
	}
	if v.Allowed {
		if !v.WouldDeny {
			return
		}
		at.policy = v.WouldPolicy
	}
	calls, ok := l.due(&at, now)
	if !ok {
		return
	}
	caller := at.caller
	if caller == "" {
		caller = at.host
	}
	if at.denied {
		l.logger.Warn("call denied", "service", l.service, "caller", caller, "method", at.method, "policy", at.policy,
			"cause", v.Cause, "calls", calls)
		return
	}
	l.logger.Warn("call would be denied", "service", l.service, "caller", caller, "method", at.method, "policy", at.policy, "calls", calls)
}

// due counts a call and reports whether its line may be written now, and for how
// many calls. The line becomes that of all others when there are too many.
func (l *Log) due(at *line, now time.Time) (calls uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.lines[*at]
	if s == nil && len(l.lines) >= maxLines {
		l.prune(now)
	}
	if s == nil && len(l.lines) >= maxLines {
		*at = line{key: key{caller: Other, method: Other}, denied: at.denied}
		s = l.lines[*at]
	}
	if s == nil {
		s = &said{}
		l.lines[*at] = s
	}
	s.since++
	if !s.last.IsZero() && now.Sub(s.last) < logEvery {
		return 0, false
	}
	calls = s.since
	s.last, s.since = now, 0
	return calls, true
}

// prune forgets lines that could be written again anyway.
func (l *Log) prune(now time.Time) {
	for at, s := range l.lines {
		if now.Sub(s.last) >= logEvery {
			delete(l.lines, at)
		}
	}
}

// String is the cause in a log.
func (c Cause) String() string {
	switch c {
	case Rules:
		return "rules"
	case Expired:
		return "certificate expired"
	case Plaintext:
		return "no identity"
	}
	return "unknown"
}
