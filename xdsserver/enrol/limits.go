package enrol

import (
	"runtime"
	"sync"
	"sync/atomic"
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
	// An instance renews at half of its certificate's life; these are for clocks that
	// jump, and for rotations, which ask for a renewal between.
	renewEvery, renewBurst = 10 * time.Second, 3
	// maxSources bounds the sources whose rate is known.
	maxSources = 10_000
	// noteRate is how many refusals a second are written down: at this rate the
	// audit log holds three days of nothing else.
	noteRate, noteBurst = 1, 50
)

// limits bounds what can be asked for.
type limits struct {
	all, notes *rate.Limiter
	enrols     keyed // by source
	// Renewals by service and instance; and by service, since an instance is called
	// what it says it is.
	renewals, services keyed

	unwritten atomic.Uint64 // refusals since one was written
}

func newLimits(leafTTL time.Duration) *limits {
	cores := runtime.GOMAXPROCS(0)
	all := rate.Limit(signRate * cores)
	return &limits{
		all:      rate.NewLimiter(all, 2*signRate*cores),
		notes:    rate.NewLimiter(noteRate, noteBurst),
		enrols:   keyed{limit: enrolRate, burst: enrolBurst},
		renewals: keyed{limit: rate.Every(min(renewEvery, leafTTL/10)), burst: renewBurst},
		services: keyed{limit: all / 2, burst: signRate * cores},
	}
}

func (l *limits) enrol(source string) error {
	return allow(l.enrols.of(source), "this source has tried to join too often")
}

func (l *limits) renew(service, instance string) error {
	// A service's name has no slash.
	if err := allow(l.renewals.of(service+"/"+instance), "this instance renews its certificate too often"); err != nil {
		return err
	}
	return allow(l.services.of(service), "instances of this service renew too many certificates at once")
}

func (l *limits) sign() error { return allow(l.all, "too many certificates are asked for at once") }

// note reports whether a refusal may be written, and how many before it were not.
func (l *limits) note() (bool, uint64) {
	if !l.notes.Allow() {
		l.unwritten.Add(1)
		return false, 0
	}
	return true, l.unwritten.Swap(0)
}

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

// keyed is a rate for each of many keys, bounded. Where there are too many, those at
// rest are forgotten; keys that find no room even so share one rate: nobody gets a
// fresh one by bringing others along.
type keyed struct {
	limit rate.Limit
	burst int

	mu     sync.Mutex
	byKey  map[string]*rate.Limiter
	shared *rate.Limiter
	looked time.Time // when those at rest were last forgotten
}

func (k *keyed) of(key string) *rate.Limiter {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byKey == nil {
		k.byKey = make(map[string]*rate.Limiter)
		k.shared = rate.NewLimiter(k.limit, k.burst)
	}
	if l := k.byKey[key]; l != nil {
		return l
	}
	if len(k.byKey) >= maxSources && !k.forget(time.Now()) {
		return k.shared
	}
	l := rate.NewLimiter(k.limit, k.burst)
	k.byKey[key] = l
	return l
}

// forget makes room, once a second at most, and reports whether there is some.
func (k *keyed) forget(now time.Time) bool {
	if now.Sub(k.looked) < time.Second {
		return false
	}
	k.looked = now
	for key, l := range k.byKey {
		if l.TokensAt(now) >= float64(k.burst) {
			delete(k.byKey, key)
		}
	}
	return len(k.byKey) < maxSources
}
