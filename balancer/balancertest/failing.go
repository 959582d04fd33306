package balancertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// errDown is how an endpoint fails that answers.
var errDown = status.Error(codes.Unavailable, "down")

// config of a breaker whose times are exact.
func (s Suite) exact() *resource.Balancing {
	c := s.config()
	c.Breaker = resource.DefaultBreaker()
	c.Breaker.Jitter = 0
	return c
}

// trip opens the breaker of an endpoint.
func (w *world) trip(e *endpoint) bool {
	return w.fail(e, int(w.config.Breaker.ConsecutiveFailures), errDown)
}

func keepsOut(t *testing.T, s Suite) {
	w := newWorld(t, s.config(), 10)
	for i := range 5 { // as many as may be out
		w.members[i].Node.Eject(true)
	}
	got := w.calls(10 * perEndpoint)
	for i, e := range w.endpoints {
		if out := i < 5; out != (got[e] == 0) {
			t.Errorf("%s got %d calls; it is kept out: %t", e.name, got[e], out)
		}
	}
	for i := range 5 {
		w.members[i].Node.Eject(false)
	}
	got = w.calls(10 * perEndpoint)
	for _, e := range w.endpoints {
		if got[e] == 0 {
			t.Errorf("%s got no calls after it was let in again", e.name)
		}
	}
}

func avoidsTried(t *testing.T, s Suite) {
	w := newWorld(t, s.config(), 2)
	for range perEndpoint {
		rpc := &call.Call{Context: context.Background()}
		rpc.Begin(0)
		first, done := w.begin(rpc)
		done(ended(nil))
		rpc.Begin(1)
		second, done := w.begin(rpc)
		done(ended(nil))
		if first == second {
			t.Fatalf("both attempts went to %s", first.name)
		}
	}
}

func triesAgain(t *testing.T, s Suite) {
	w := newWorld(t, s.config(), 2)
	rpc := &call.Call{Context: context.Background()}
	for attempt := range uint32(5) {
		rpc.Begin(attempt)
		_, done := w.begin(rpc)
		done(ended(nil))
	}
}

func keepsToBreaker(t *testing.T, s Suite) {
	w := newWorld(t, s.exact(), 3)
	bad := w.endpoints[1]
	if !w.trip(bad) {
		return
	}
	if got := w.calls(3 * perEndpoint); got[bad] != 0 {
		t.Errorf("%s got %d calls while its breaker was open", bad.name, got[bad])
	}
	time.Sleep(w.config.Breaker.MinPenalty - time.Millisecond)
	if got := w.calls(3 * perEndpoint); got[bad] != 0 {
		t.Errorf("%s got %d calls a millisecond before its time was over", bad.name, got[bad])
	}
}

// probe makes calls until one goes to e, and leaves that one open. The others end.
func (w *world) probe(e *endpoint) func(balancer.DoneInfo) {
	for range perEndpoint {
		got, done := w.begin(nil)
		if got == e {
			return done
		}
		done(ended(nil))
	}
	w.t.Errorf("%s is not probed", e.name)
	return func(balancer.DoneInfo) {}
}

func probesAlone(t *testing.T, s Suite) {
	w := newWorld(t, s.exact(), 3)
	bad := w.endpoints[1]
	if !w.trip(bad) {
		return
	}
	time.Sleep(w.config.Breaker.MinPenalty + time.Millisecond)
	done := w.probe(bad)

	before := bad.picks.Load()
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() { w.calls(perEndpoint) })
	}
	callers.Wait()
	if got := bad.picks.Load() - before; got != 0 {
		t.Errorf("%d calls went to %s beside its probe", got, bad.name)
	}

	done(ended(errDown)) // and it waits twice as long
	time.Sleep(2*w.config.Breaker.MinPenalty - time.Millisecond)
	if got := w.calls(3 * perEndpoint); got[bad] != 0 {
		t.Errorf("%s got %d calls before its second time was over", bad.name, got[bad])
	}
	time.Sleep(2 * time.Millisecond)
	w.probe(bad)(ended(errDown))
}

func comesBack(t *testing.T, s Suite) {
	w := newWorld(t, s.exact(), 4)
	bad := w.endpoints[1]
	if !w.trip(bad) {
		return
	}
	time.Sleep(w.config.Breaker.MinPenalty + time.Millisecond)
	w.probe(bad)(ended(nil))
	// An algorithm may remember for a while that it failed.
	for range 60 {
		w.calls(4)
		time.Sleep(time.Second)
	}
	if got := w.calls(4 * perEndpoint)[bad]; float64(got) < perEndpoint*(1-s.Tolerance) {
		t.Errorf("%s got %d calls of %d", bad.name, got, 4*perEndpoint)
	}
}

func goesOnInPanic(t *testing.T, s Suite) {
	w := newWorld(t, s.exact(), 4)
	for range 40 * w.config.Breaker.ConsecutiveFailures {
		w.one(errDown)
	}
	got := w.calls(perEndpoint)
	sum := 0
	for _, n := range got {
		sum += n
	}
	if sum != perEndpoint {
		t.Errorf("%d of %d calls were made", sum, perEndpoint)
	}
}

func keepsLimit(t *testing.T, s Suite) {
	const limit, endpoints, callers = 5, 4, 8
	config := s.config()
	config.MaxRequestsPerEndpoint = limit
	w := newWorld(t, config, endpoints)

	// All places are taken, none twice, whoever comes first.
	var mu sync.Mutex
	var open []func(balancer.DoneInfo)
	var callersDone sync.WaitGroup
	for range callers {
		callersDone.Go(func() {
			for range limit * endpoints {
				rpc := &call.Call{Context: context.Background()}
				result, err := w.pool.Pick(info(), rpc)
				if err != nil {
					if rpc.Failure == nil || rpc.Failure.Reason != call.MaxRequestsPerEndpoint {
						t.Errorf("Pick: %v, and the call's failure is %v", err, rpc.Failure)
					}
					continue
				}
				mu.Lock()
				open = append(open, result.Done)
				mu.Unlock()
			}
		})
	}
	callersDone.Wait()
	for i, e := range w.endpoints {
		if n := w.members[i].Node.Open(); n != limit {
			t.Errorf("%s has %d calls open, want %d", e.name, n, limit)
		}
	}
	for _, done := range open {
		done(ended(nil))
	}
	w.calls(2 * limit * endpoints) // a call that ends gives its place back
}
