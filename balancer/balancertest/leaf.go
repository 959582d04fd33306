// Package balancertest holds what every leaf policy of the balancer must do, as
// a test suite.
//
// A leaf policy is a few lines on the hottest path there is, and a new one is
// easily right alone and wrong under load. The suite runs any of them against
// fake endpoints:
//
//	func TestRoundRobin(t *testing.T) { balancertest.Leaf(t, balancer.RoundRobin) }
//
// Run it with -race, too. It does not test what a policy is chosen for, such as
// where it sends load when endpoints differ: that is the policy's own test.
package balancertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/balancer"

	tulle "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Leaf runs the suite on a policy as subtests of t. It starts goroutines and
// waits for them.
func Leaf(t *testing.T, leaf tulle.Leaf) {
	t.Helper()
	t.Run("without an endpoint a call waits for the next picker", func(t *testing.T) {
		for _, none := range [][]tulle.Ready{nil, {}} {
			if _, err := leaf(none).Pick(info()); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
				t.Errorf("Pick = %v, want %v", err, balancer.ErrNoSubConnAvailable)
			}
		}
	})
	t.Run("every endpoint given is picked and no other", func(t *testing.T) {
		for _, n := range []int{1, 2, 3, 10} {
			given := newEndpoints(n)
			pickAll(t, leaf(ready(given)), n*perEndpoint)
			for _, e := range given {
				if e.picks.Load() == 0 {
					t.Errorf("%s of %d was never picked", e.name, n)
				}
			}
		}
	})
	t.Run("endpoints alike get like shares", func(t *testing.T) { evenSpread(t, leaf) })
	t.Run("what an endpoint's picker returns is the pick's result", func(t *testing.T) { resultIntact(t, leaf) })
	t.Run("an endpoint's error is the pick's", func(t *testing.T) {
		given := newEndpoints(1)
		given[0].err = errors.New("closing")
		if _, err := leaf(ready(given)).Pick(info()); !errors.Is(err, given[0].err) {
			t.Errorf("Pick = %v, want %v", err, given[0].err)
		}
	})
	t.Run("the endpoints given are not changed", func(t *testing.T) {
		given := ready(newEndpoints(10))
		before := slices.Clone(given)
		pickAll(t, leaf(given), perEndpoint)
		if !slices.Equal(given, before) {
			t.Error("the slice is another than before")
		}
	})
	t.Run("a pick does not allocate", func(t *testing.T) {
		for _, n := range []int{1, 2, 10} {
			p := leaf(ready(newEndpoints(n)))
			in := info()
			if got := testing.AllocsPerRun(perEndpoint, func() { end(p.Pick(in)) }); got != 0 {
				t.Errorf("%g allocations per pick of %d endpoints", got, n)
			}
		}
	})
	t.Run("picks at one time are as good as one by one", func(t *testing.T) { concurrent(t, leaf) })
}

// perEndpoint is how many picks an endpoint gets on average where shares are
// judged: enough that chance stays within tolerance by six standard deviations.
const (
	perEndpoint = 1000
	tolerance   = 0.2
)

func evenSpread(t *testing.T, leaf tulle.Leaf) {
	t.Helper()
	for _, n := range []int{2, 3, 10, 100} {
		given := newEndpoints(n)
		pickAll(t, leaf(ready(given)), n*perEndpoint)
		for _, e := range given {
			if got := float64(e.picks.Load()); got < perEndpoint*(1-tolerance) || got > perEndpoint*(1+tolerance) {
				t.Errorf("%s of %d got %g picks of %d, want %d", e.name, n, got, n*perEndpoint, perEndpoint)
			}
		}
	}
}

func resultIntact(t *testing.T, leaf tulle.Leaf) {
	t.Helper()
	given := newEndpoints(1)
	ended := 0
	given[0].done = func(balancer.DoneInfo) { ended++ }
	got, err := leaf(ready(given)).Pick(info())
	if err != nil {
		t.Fatal(err)
	}
	if got.SubConn != given[0].subConn {
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

func concurrent(t *testing.T, leaf tulle.Leaf) {
	t.Helper()
	const callers, endpoints = 8, 4
	given := newEndpoints(endpoints)
	p := leaf(ready(given))
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() { pickAll(t, p, endpoints*perEndpoint) })
	}
	wg.Wait()
	var sum int64
	for _, e := range given {
		sum += e.picks.Load()
	}
	if want := int64(callers * endpoints * perEndpoint); sum != want {
		t.Errorf("%d picks reached endpoints, want %d", sum, want)
	}
}

func pickAll(t *testing.T, p balancer.Picker, n int) {
	t.Helper()
	in := info()
	for range n {
		result, err := p.Pick(in)
		if err != nil {
			t.Errorf("Pick: %v", err)
			return
		}
		end(result, err)
	}
}

// end does what grpc-go does when the call is over.
func end(result balancer.PickResult, err error) {
	if err == nil && result.Done != nil {
		result.Done(balancer.DoneInfo{})
	}
}

func info() balancer.PickInfo {
	return balancer.PickInfo{FullMethodName: "/test.Service/Method", Ctx: context.Background()}
}

// An endpoint is a fake with a picker that counts.
type endpoint struct {
	name    string
	subConn *subConn
	done    func(balancer.DoneInfo)
	err     error
	picks   atomic.Int64
}

type subConn struct{ balancer.SubConn }

// Pick implements grpc-go's balancer.Picker.
func (e *endpoint) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	e.picks.Add(1)
	return balancer.PickResult{SubConn: e.subConn, Done: e.done}, e.err
}

func newEndpoints(n int) []*endpoint {
	all := make([]*endpoint, n)
	for i := range all {
		all[i] = &endpoint{name: fmt.Sprintf("10.0.0.%d:8080", i), subConn: &subConn{}}
	}
	return all
}

func ready(all []*endpoint) []tulle.Ready {
	r := make([]tulle.Ready, len(all))
	for i, e := range all {
		r[i] = tulle.Ready{
			Endpoint: &resource.Endpoint{Addresses: []string{e.name}, Weight: 1, Instance: e.name},
			Picker:   e,
		}
	}
	return r
}
