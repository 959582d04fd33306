package balancer

import (
	"sync"
	"testing"

	"google.golang.org/grpc/balancer"

	"github.com/tulle-mesh/tulle/mesh/call"
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
					calls.done(balancer.DoneInfo{})
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

// A leaf that learns from the end of calls must hear of it, beside the count.
func TestTheLeafsDoneRuns(t *testing.T) {
	heard := 0
	leaf := pickerFunc(func(balancer.PickInfo) (balancer.PickResult, error) {
		return balancer.PickResult{Done: func(balancer.DoneInfo) { heard++ }}, nil
	})
	p := &groupPicker{open: newOpenCalls(), limit: 1, localities: localityPicker{leaves: []balancer.Picker{leaf}}}
	result, err := p.pick(balancer.PickInfo{Ctx: t.Context()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if open := p.open.count.Load(); open != 1 {
		t.Errorf("%d calls are open", open)
	}
	result.Done(balancer.DoneInfo{})
	if open := p.open.count.Load(); open != 0 || heard != 1 {
		t.Errorf("after the end %d calls are open, the leaf heard of %d", open, heard)
	}
}

// What a leaf refuses is not an open call, and its words are the call's.
func TestTheLeafsErrorIsThePicks(t *testing.T) {
	want := &call.Error{Detail: "of the leaf"}
	leaf := pickerFunc(func(balancer.PickInfo) (balancer.PickResult, error) { return balancer.PickResult{}, want })
	p := &groupPicker{open: newOpenCalls(), limit: 1, localities: localityPicker{leaves: []balancer.Picker{leaf}}}
	for range 3 {
		if _, err := p.pick(balancer.PickInfo{Ctx: t.Context()}, nil); call.AsError(err) != want {
			t.Errorf("pick = %v, want %v", err, want)
		}
	}
}

type pickerFunc func(balancer.PickInfo) (balancer.PickResult, error)

func (f pickerFunc) Pick(info balancer.PickInfo) (balancer.PickResult, error) { return f(info) }
