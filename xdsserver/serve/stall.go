package serve

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ring is called by the alarm.
func (st *stream) ring() {
	st.rung.Store(true)
	st.poke()
}

// expire is called by the expiry timer.
func (st *stream) expire() {
	st.due.Store(true)
	st.poke()
}

// verdict reports whether the stream is over, and with which error. turn must be held.
func (st *stream) verdict() (over bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.server.closing.Load():
		return true, errClosing
	case st.due.Swap(false):
		now := time.Now()
		if err := st.client.check("ads", now); err != nil {
			return true, err
		}
		st.expiry.Reset(st.client.untilExpiry(now))
	}
	if st.rung.Swap(false) {
		return st.stalled()
	}
	return false, nil
}

// stalled looks whether the client owes an answer for too long. The alarm is set
// when something is sent and left alone when it is answered: it then finds
// nothing to do, once a minute at most. Setting and stopping it for every
// response would cost more than the rest of an acknowledgement.
func (st *stream) stalled() (over bool, err error) {
	st.armed = false
	what := ""
	for k := range st.subs {
		if st.subs[k].inflight {
			what = kind(k).String()
		}
	}
	if what == "" {
		return false, nil
	}
	limit := st.server.config.StallTimeout
	quiet := time.Since(st.heard)
	if quiet >= limit {
		return true, status.Errorf(codes.DeadlineExceeded,
			"ads: the client has not answered the last %s response and said nothing for %v; read and acknowledge, or reconnect", what, limit)
	}
	st.alarm.Reset(limit - quiet)
	st.armed = true
	return false, nil
}
