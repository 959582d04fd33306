// Package breaker stops calls to what fails, and lets one through now and then to
// see whether it still does.
//
// The balancer has one for each endpoint, the interceptors one for each service
// whose route asks for it. Both ask before a call and tell after it:
//
//	b := breaker.New(config, nil)
//	admission := b.Admit(breaker.Now())
//	if admission == breaker.Refused {
//		return fmt.Errorf("open for %v", b.RetryIn(breaker.Now()))
//	}
//	err := send()
//	b.Done(breaker.Now(), admission == breaker.Probe, uint32(status.Code(err)), !local(err))
//
// The states and the counting of calls are gobreaker's. This package adds what it
// lacks: a wait that doubles while nothing gets better, a probe whose slot comes back
// when it ends without a verdict, and a closed breaker that takes no lock. It starts
// no goroutine, sets no timer, and does not know what a call is made to.
package breaker

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// State is what a breaker does with calls.
type State = gobreaker.State

// The states: Closed lets calls through, Open none, HalfOpen waits for the one that
// was let through to see.
const (
	Closed   = gobreaker.StateClosed
	HalfOpen = gobreaker.StateHalfOpen
	Open     = gobreaker.StateOpen
)

// An Admission is the answer to whether a call may be made.
type Admission uint8

// The admissions.
const (
	// Admitted is a call like any other.
	Admitted Admission = iota
	// Probe is the one call that is to show whether things got better. Its end must
	// be told to Done as that of a probe, whatever it is, or there is no other.
	Probe
	// Refused is a call that must not be made.
	Refused
)

// resourceExhausted is the code of a server that is well and has enough to do.
const resourceExhausted = 8

var (
	errFailure   = errors.New("failure")
	errNoVerdict = errors.New("no verdict")
)

// A Breaker is one circuit breaker. It is safe for concurrent use. While it is closed
// and no call fails it neither locks nor writes, unless the configuration asks for a
// success rate: then each call is counted under a lock.
type Breaker struct {
	config   resource.Breaker
	off      bool
	onChange func(from, to State)

	state atomic.Int32 // State
	// retryAt is when an open breaker lets a probe through.
	retryAt atomic.Int64
	// failing is whether failures are counted that a success would end.
	failing atomic.Bool

	// mu guards what follows, and the order of changes of state.
	mu      sync.Mutex
	machine *gobreaker.TwoStepCircuitBreaker[struct{}]
	// streak is how many calls failed in a row. gobreaker's own count forgets with
	// its window and counts calls that are to count for the rate only.
	streak uint32
	trips  uint32 // since the last success, to double the wait by
	now    int64  // of the call that is being counted
	probe  func(error)
}

// New returns a closed breaker; config nil is one that always is. It calls onChange,
// which may be nil, after each change of state, in the goroutine of the call that made
// it and without a lock: changes of one breaker may then be told out of order.
func New(config *resource.Breaker, onChange func(from, to State)) *Breaker {
	if config == nil {
		return &Breaker{off: true}
	}
	b := &Breaker{config: *config, onChange: onChange}
	settings := gobreaker.Settings{
		// gobreaker's wait is always the same. So it gets the shortest there is,
		// and is not asked before retryAt.
		Timeout:       1,
		ReadyToTrip:   b.trip,
		OnStateChange: b.changed,
		IsExcluded:    func(err error) bool { return errors.Is(err, errNoVerdict) },
	}
	if b.config.SuccessRate > 0 {
		settings.Interval = b.config.Window
		settings.BucketPeriod = max(b.config.Window/buckets, 1)
	}
	b.machine = gobreaker.NewTwoStepCircuitBreaker[struct{}](settings)
	return b
}

// buckets is how finely the window of the success rate moves on: Linkerd's.
const buckets = 10

// epoch is so long ago that Now is above zero in a synctest bubble, too, where it is
// the year 2000.
var epoch = time.Now().Add(-100 * 365 * 24 * time.Hour)

// Now returns the time in nanoseconds, as Admit and Done take it: of the process's
// monotonic clock or, in a synctest bubble, of the bubble's. It is above zero.
func Now() int64 { return int64(time.Since(epoch)) }

// Admit reports whether a call may be made now.
func (b *Breaker) Admit(now int64) Admission {
	if b.State() == Closed {
		return Admitted
	}
	if b.State() == HalfOpen || now < b.retryAt.Load() {
		return Refused
	}
	if !b.halfOpen(now) {
		return Refused
	}
	if b.onChange != nil {
		b.onChange(Open, HalfOpen)
	}
	return Probe
}

// halfOpen takes the place of the probe and reports whether it was free.
func (b *Breaker) halfOpen(now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.State() != Open || now < b.retryAt.Load() {
		return false // another was quicker
	}
	done, err := b.machine.Allow()
	if err != nil {
		return false
	}
	b.probe = done
	b.state.Store(int32(HalfOpen))
	return true
}

// Done tells how a call ended: its code, and whether that counts. What the process
// made itself, such as a call that was cancelled, does not; a probe that ends so
// leaves its place to another.
func (b *Breaker) Done(now int64, probe bool, code uint32, counts bool) {
	if b.off || !probe && (!counts || b.idle(code)) {
		return
	}
	before, after := b.record(now, probe, code, counts)
	if before != after && b.onChange != nil {
		b.onChange(before, after)
	}
}

// idle reports whether there is nothing to learn from a code.
func (b *Breaker) idle(code uint32) bool {
	if b.State() != Closed {
		return true // the call was made before the breaker opened, or in spite of it
	}
	return b.config.SuccessRate == 0 && !b.config.Codes.Has(code) && !b.failing.Load()
}

func (b *Breaker) record(now int64, probe bool, code uint32, counts bool) (before, after State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before = b.State()
	b.now = now
	switch {
	case probe && b.probe != nil:
		done := b.probe
		b.probe = nil
		if !counts {
			done(errNoVerdict)
			b.state.Store(int32(Open))
			break
		}
		done(b.verdict(code))
	case !probe && before == Closed:
		// gobreaker counts a call where it begins. One that ends is all this
		// package sees of most, so that it begins and ends here.
		if done, err := b.machine.Allow(); err == nil {
			done(b.verdict(code))
		}
	default: // another was quicker to open it
	}
	return before, b.State()
}

// verdict counts a code and says what gobreaker is to take it for.
func (b *Breaker) verdict(code uint32) error {
	switch {
	case b.config.Codes.Has(code):
		b.streak++
		b.failing.Store(true)
		return errFailure
	case code == resourceExhausted && b.config.SuccessRate > 0:
		// Linkerd: it counts for the rate. An endpoint that refuses some calls in
		// a row does as it was told.
		return errFailure
	default:
		b.streak = 0
		b.failing.Store(false)
		return nil
	}
}

// trip is gobreaker's question after a failure. Caller holds mu.
func (b *Breaker) trip(counts gobreaker.Counts) bool {
	if b.config.ConsecutiveFailures > 0 && b.streak >= b.config.ConsecutiveFailures {
		return true
	}
	n := counts.TotalSuccesses + counts.TotalFailures
	return b.config.SuccessRate > 0 && n >= b.config.MinRequests &&
		float64(counts.TotalSuccesses) < b.config.SuccessRate*float64(n)
}

// changed is gobreaker's word of its state. Caller holds mu.
func (b *Breaker) changed(_ string, _, to State) {
	switch to {
	case Open:
		b.retryAt.Store(b.now + int64(b.penalty()))
		b.trips++
	case Closed:
		b.trips = 0
	default: // half-open is said by Admit
		return
	}
	b.streak = 0
	b.failing.Store(false)
	b.state.Store(int32(to))
}

// penalty is how long the breaker stays open now: twice as long each time, and up to
// Jitter of it longer, so that clients do not come back together.
func (b *Breaker) penalty() time.Duration {
	d := float64(b.config.MinPenalty) * math.Pow(2, float64(min(b.trips, 62)))
	d = min(d, float64(b.config.MaxPenalty))
	d *= 1 + b.config.Jitter*rand.Float64()
	return time.Duration(min(d, math.MaxInt64/2))
}

// State returns what the breaker does with calls now. One that is open stays so until
// a call is let through to see.
func (b *Breaker) State() State { return State(b.state.Load()) }

// RetryAt returns when a breaker that is open lets a call through to see, by the clock
// of Now; it is in the past where one may be made at once, and zero before the breaker
// was ever open.
func (b *Breaker) RetryAt() int64 { return b.retryAt.Load() }

// RetryIn returns how long an open breaker refuses calls yet, at least zero.
func (b *Breaker) RetryIn(now int64) time.Duration {
	return time.Duration(max(b.retryAt.Load()-now, 0))
}
