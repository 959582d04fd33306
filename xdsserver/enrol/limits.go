package enrol

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// enrolments per second and source, and how many at once: a machine that
	// starts ten processes is not an attack.
	enrolRate, enrolBurst = 1, 10
	// signRate is per core and second: a signature is 30 µs, what surrounds it more.
	signRate = 50
	// maxSources bounds the sources whose rate is known.
	maxSources = 10_000
	// noteRate is how many refusals a second are written down.
	noteRate, noteBurst = 5, 50
)

// limits bounds what can be asked for.
type limits struct {
	all, notes *rate.Limiter
	enrols     keyed
	renewals   keyed
}

func newLimits(leafTTL time.Duration) *limits {
	each := min(10*time.Second, leafTTL/10)
	cores := runtime.GOMAXPROCS(0)
	return &limits{
		all:      rate.NewLimiter(rate.Limit(signRate*cores), 2*signRate*cores),
		notes:    rate.NewLimiter(noteRate, noteBurst),
		enrols:   keyed{limit: enrolRate, burst: enrolBurst},
		renewals: keyed{limit: rate.Every(each), burst: 3},
	}
}

func (l *limits) enrol(source string) error {
	return allow(l.enrols.of(source), "this source has tried to join too often")
}

func (l *limits) renew(holder string) error {
	return allow(l.renewals.of(holder), "this instance renews its certificate too often")
}

func (l *limits) sign() error { return allow(l.all, "too many certificates are asked for at once") }

func (l *limits) note() bool { return l.notes.Allow() }

// allow takes a turn, or says when to come back.
func allow(l *rate.Limiter, why string) error {
	r := l.Reserve()
	wait := r.Delay()
	if wait == 0 {
		return nil
	}
	r.Cancel()
	st := status.New(codes.ResourceExhausted, "enrol: "+why+": try again in "+max(wait, time.Millisecond).Round(time.Millisecond).String())
	if detailed, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
		st = detailed
	}
	return st.Err()
}

// keyed is a rate for each of many keys, bounded: where there are too many, those
// that are at rest are forgotten, and if none is, all.
type keyed struct {
	limit rate.Limit
	burst int

	mu    sync.Mutex
	byKey map[string]*rate.Limiter
}

func (k *keyed) of(key string) *rate.Limiter {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byKey == nil {
		k.byKey = make(map[string]*rate.Limiter)
	}
	l := k.byKey[key]
	if l == nil {
		if len(k.byKey) >= maxSources {
			k.forget()
		}
		l = rate.NewLimiter(k.limit, k.burst)
		k.byKey[key] = l
	}
	return l
}

func (k *keyed) forget() {
	for key, l := range k.byKey {
		if l.Tokens() >= float64(k.burst) {
			delete(k.byKey, key)
		}
	}
	if len(k.byKey) >= maxSources {
		clear(k.byKey)
	}
}
