package balancertest

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"

	tulle "github.com/tulle-mesh/tulle/balancer"
)

// perEndpoint is how many picks an endpoint gets on average where shares are judged:
// enough that chance stays within a fifth by six standard deviations.
const perEndpoint = 1000

func waitsWithoutEndpoints(t *testing.T, s Suite) {
	for _, none := range [][]tulle.Member{nil, {}} {
		_, err := tulle.NewPool(s.config(), none).Pick(info(), nil)
		if !errors.Is(err, balancer.ErrNoSubConnAvailable) {
			t.Errorf("Pick = %v, want %v", err, balancer.ErrNoSubConnAvailable)
		}
	}
}

func picksEach(t *testing.T, s Suite) {
	for _, n := range []int{1, 2, 3, 10} {
		w := newWorld(t, s.config(), n)
		w.calls(n * perEndpoint)
		for _, e := range w.endpoints {
			if e.picks.Load() == 0 {
				t.Errorf("%s of %d was never picked", e.name, n)
			}
		}
	}
}

func spreadsEvenly(t *testing.T, s Suite) {
	for _, n := range []int{2, 3, 10, 100} {
		w := newWorld(t, s.config(), n)
		w.calls(n * perEndpoint)
		for _, e := range w.endpoints {
			within(t, e, float64(e.picks.Load()), perEndpoint, s.Tolerance)
		}
	}
}

// spreadsByWeight leaves the calls open, since an algorithm that looks at these may
// send all to the heavier of two endpoints that have nothing to do.
func spreadsByWeight(t *testing.T, s Suite) {
	weights := []uint32{1, 2, 3, 4}
	const each = 100 // calls for each unit of weight
	config := s.config()
	w := newWorld(t, config, len(weights))
	if s.Weights == GivenWeights {
		w = newWeighted(t, config, weights)
	}
	begin := func() (*endpoint, func(balancer.DoneInfo)) { return w.begin(nil) }
	if s.Weights == ReportedWeights {
		// What is reported counts once it has come for a while (gRFC A58).
		for wait := config.WeightedRoundRobin.BlackoutPeriod; wait > 0; wait -= time.Second {
			for range each {
				e, done := begin()
				heavy := weights[slices.Index(w.endpoints, e)]
				done(balancer.DoneInfo{BytesSent: true, BytesReceived: true, ServerLoad: report{utilization: 0.5, qps: float64(heavy)}})
			}
			time.Sleep(time.Second)
		}
		time.Sleep(config.WeightedRoundRobin.WeightUpdatePeriod)
	}
	for _, e := range w.endpoints {
		e.picks.Store(0)
	}
	open := make([]func(balancer.DoneInfo), 0, 10*each)
	for range cap(open) {
		_, done := begin()
		open = append(open, done)
	}
	for i, e := range w.endpoints {
		within(t, e, float64(e.picks.Load()), float64(each*weights[i]), s.Tolerance)
	}
	for _, done := range open {
		done(ended(nil))
	}
}

func within(t *testing.T, e *endpoint, got, want, tolerance float64) {
	t.Helper()
	if got < want*(1-tolerance) || got > want*(1+tolerance) {
		t.Errorf("%s got %g picks, want %g", e.name, got, want)
	}
}

func keepsResult(t *testing.T, s Suite) {
	w := newWorld(t, s.config(), 1)
	e := w.endpoints[0]
	ended := 0
	e.done = func(balancer.DoneInfo) { ended++ }
	got, err := w.pool.Pick(info(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.SubConn != e.subConn {
		t.Errorf("SubConn = %v, want the endpoint's", got.SubConn)
	}
	if got.Done == nil {
		t.Fatal("the endpoint's Done is lost")
	}
	got.Done(balancer.DoneInfo{})
	if ended != 1 {
		t.Errorf("the endpoint's Done ran %d times for one call", ended)
	}
}

func keepsError(t *testing.T, s Suite) {
	w := newWorld(t, s.config(), 1)
	w.endpoints[0].err = errors.New("closing")
	if _, err := w.pool.Pick(info(), nil); !errors.Is(err, w.endpoints[0].err) {
		t.Errorf("Pick = %v, want %v", err, w.endpoints[0].err)
	}
	if open := w.members[0].Node.Open(); open != 0 {
		t.Errorf("%d calls are open after a pick that came to nothing", open)
	}
}

func keepsMembers(t *testing.T, s Suite) {
	w := newWorld(t, s.config(), 10)
	before := slices.Clone(w.members)
	w.calls(perEndpoint)
	if !slices.Equal(w.members, before) {
		t.Error("the slice is another than before")
	}
}

func allocatesNothing(t *testing.T, s Suite) {
	for _, n := range []int{1, 2, 10, 100} {
		w := newWorld(t, s.config(), n)
		in, over := info(), ended(nil)
		got := testing.AllocsPerRun(perEndpoint, func() {
			result, err := w.pool.Pick(in, nil)
			if err != nil {
				t.Error(err)
				return
			}
			result.Done(over)
		})
		if got != 0 {
			t.Errorf("%g allocations per pick of %d endpoints", got, n)
		}
	}
}

func isConcurrent(t *testing.T, s Suite) {
	const callers, endpoints = 8, 4
	w := newWorld(t, s.config(), endpoints)
	var callersDone sync.WaitGroup
	for range callers {
		callersDone.Go(func() { w.calls(endpoints * perEndpoint) })
	}
	callersDone.Wait()
	var sum int64
	for i, e := range w.endpoints {
		sum += e.picks.Load()
		if open := w.members[i].Node.Open(); open != 0 {
			t.Errorf("%d calls of %s are open after all have ended", open, e.name)
		}
	}
	if want := int64(callers * endpoints * perEndpoint); sum != want {
		t.Errorf("%d picks reached endpoints, want %d", sum, want)
	}
}
