package balancer

import (
	"sync"
	"testing"

	"google.golang.org/grpc/balancer"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestOpenCallsNeverPassTheLimit(t *testing.T) {
	const limit, callers, rounds = 3, 8, 2000
	calls := newOpenCalls()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range rounds {
				if calls.acquire(limit) {
					if open := calls.count.Load(); open > limit+callers {
						t.Errorf("%d open calls are counted", open)
					}
					calls.release()
				}
			}
		})
	}
	wg.Wait()
	if open := calls.count.Load(); open != 0 {
		t.Errorf("%d calls are open in the end", open)
	}

	for i := range limit + 2 {
		if got, want := calls.acquire(limit), i < limit; got != want {
			t.Errorf("acquire with %d open = %v", i, got)
		}
	}
}

func TestSharedForgetsWhatNobodyUses(t *testing.T) {
	s := NewShared()
	voting, web := clusterKey{cluster: "voting"}, clusterKey{cluster: "web"}
	first, second := s.use(voting), s.use(voting)
	if first != second {
		t.Error("two users of a cluster have two counts")
	}
	if s.use(web) == first {
		t.Error("two clusters have one count")
	}

	s.leave(first)
	if s.use(voting) != second {
		t.Error("a count in use was forgotten")
	}
	s.leave(second)
	second.acquire(1)
	s.leave(second)
	if again := s.use(voting); again != second {
		t.Error("a count with an open call was forgotten")
	} else {
		again.release()
		s.leave(again)
	}
	if len(s.open) != 1 || s.open[web] == nil {
		t.Errorf("counts of %v are kept, want of web", s.open)
	}
}

// The end of a call reaches the endpoint's picker, where it asked for it, beside the
// count.
func TestThePickersDoneRuns(t *testing.T) {
	heard := 0
	p := groupOf(pickerFunc(func(balancer.PickInfo) (balancer.PickResult, error) {
		return balancer.PickResult{Done: func(balancer.DoneInfo) { heard++ }}, nil
	}))
	result, err := p.pick(balancer.PickInfo{Ctx: t.Context()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if open := p.open.count.Load(); open != 1 {
		t.Errorf("%d calls are open", open)
	}
	result.Done(balancer.DoneInfo{})
	if open := p.open.count.Load(); open != 0 || heard != 1 {
		t.Errorf("after the end %d calls are open, the picker heard of %d", open, heard)
	}
}

// What an endpoint's picker refuses is not an open call, and its words are the call's.
func TestThePickersErrorIsThePicks(t *testing.T) {
	want := &call.Error{Detail: "of the picker"}
	p := groupOf(pickerFunc(func(balancer.PickInfo) (balancer.PickResult, error) { return balancer.PickResult{}, want }))
	for range 3 {
		if _, err := p.pick(balancer.PickInfo{Ctx: t.Context()}, nil); call.AsError(err) != want {
			t.Errorf("pick = %v, want %v", err, want)
		}
	}
}

// groupOf picks among one endpoint that has one place.
func groupOf(endpoint balancer.Picker) *groupPicker {
	config := resource.DefaultBalancing()
	pool := NewPool(&config, []Member{{Endpoint: &resource.Endpoint{Weight: 1}, Picker: endpoint, Node: NewNode("10.0.0.7:8080")}})
	return &groupPicker{group: newGroup("", ""), open: newOpenCalls(), limit: 1, localities: localityPicker{pools: []*Pool{pool}}}
}

type pickerFunc func(balancer.PickInfo) (balancer.PickResult, error)

func (f pickerFunc) Pick(info balancer.PickInfo) (balancer.PickResult, error) { return f(info) }
