package identity

import (
	"strings"
	"sync"
	"time"
)

// A limiter lets one log line through in a while, and counts those it holds back.
type limiter struct {
	every time.Duration

	mu     sync.Mutex
	next   time.Time
	missed int
}

// allow reports whether a line may be logged, and how many were not before it.
func (l *limiter) allow(now time.Time) (missed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.missed++
		return 0, false
	}
	missed, l.missed = l.missed, 0
	l.next = now.Add(l.every)
	return missed, true
}

// A news remembers the last error, so that one that stays is logged once. It is
// owned by one goroutine.
type news struct{ last string }

// differ reports whether err is another than the last. Numbers do not count: the
// same error says how long ago something was, or from which port.
func (n *news) differ(err error) bool {
	if err == nil {
		n.last = ""
		return false
	}
	text := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
	if text == n.last {
		return false
	}
	n.last = text
	return true
}
