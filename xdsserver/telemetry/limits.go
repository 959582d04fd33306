package telemetry

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// identityRate bounds the reports of one identity in a second: those of 2,000
	// instances that report every five.
	identityRate  = 400
	identityBurst = 2_000
	// byteRate bounds what one identity sends in a second.
	byteRate  = 4 << 20
	byteBurst = 64 << 20
	// instanceRate bounds the reports of one process: it has one every five seconds,
	// but may have more to say than fits into it.
	instanceRate  = 4
	instanceBurst = 40
	// readers is how many reports are read at a time.
	readers = 4
	// maxKeyed bounds the identities whose rates are kept apart.
	maxKeyed = 20_000
)

// limits says how much may come.
type limits struct {
	reading chan struct{}

	mu    sync.Mutex
	byID  map[string]*quota
	spare *quota // of those who find no room
}

// A quota is what one identity may send.
type quota struct {
	reports, bytes *rate.Limiter
	used           time.Time
}

func newQuota() *quota {
	return &quota{reports: rate.NewLimiter(identityRate, identityBurst), bytes: rate.NewLimiter(byteRate, byteBurst)}
}

func newLimits() limits {
	return limits{reading: make(chan struct{}, readers), byID: make(map[string]*quota), spare: newQuota()}
}

// of returns the quota of an identity.
func (l *limits) of(id string, now time.Time) *quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.byID[id]
	if q == nil {
		if len(l.byID) >= maxKeyed {
			for k, q := range l.byID {
				if now.Sub(q.used) > time.Minute { // it is full again
					delete(l.byID, k)
				}
			}
		}
		if len(l.byID) >= maxKeyed {
			return l.spare
		}
		q = newQuota()
		l.byID[id] = q
	}
	q.used = now
	return q
}

// admit refuses a report that comes too soon, before anybody has looked at it, and says
// when to come back, which OTLP asks for.
func (q *quota) admit(now time.Time) error {
	if q.bytes.TokensAt(now) < 1 {
		return tooSoon("too much reported", time.Second)
	}
	r := q.reports.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return tooSoon("too many reports", wait)
}

// charge takes a report of so many bytes from what is left. Its size is known when it
// is here, so that one may be more than that: then the next has to wait.
func (q *quota) charge(size int, now time.Time) { q.bytes.ReserveN(now, min(size, byteBurst)) }

func tooSoon(why string, wait time.Duration) error {
	wait = min(max(wait, time.Second), time.Minute)
	st := status.Newf(codes.ResourceExhausted, "telemetry: %s: try again in %v", why, wait.Round(time.Second))
	if detailed, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
		st = detailed
	}
	return st.Err()
}
