package telemetry

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// crowded is a server that so many services reported to for so many slots, each in
// thirteen lines.
func crowded(services, slots int, now time.Time) *Server {
	s := New(Config{Identify: identify, Logger: quiet})
	s.since = now.Add(-time.Hour)
	random := rand.New(rand.NewPCG(1, 2))
	begin := slotOf(now) - int64(slots) + 1
	for i := range services {
		name := func(n int) string { return fmt.Sprintf("s%03d", (i+n)%services) }
		defs := []def{{family: familyHeard, source: name(0)}}
		for callee := 1; callee <= 2; callee++ {
			for method := range 2 {
				d := def{source: name(0), destination: name(callee), method: fmt.Sprintf("/v/M%d", method)}
				for _, d.family = range []family{familyCall, familyAttempt, familyServed} {
					if d.family == familyAttempt {
						d.cluster = d.destination + "/v1"
					}
					defs = append(defs, d)
				}
			}
		}
		for _, d := range defs {
			l := s.window.line(d)
			for slot := range slots {
				var r record
				for range 30 {
					r.counts[0]++
					r.times.add(histogram{{index: bucketOf(0.005 * random.ExpFloat64()), count: 1}})
				}
				s.window.record(l, begin+int64(slot), &r)
			}
		}
	}
	s.window.advance(now)
	return s
}

// fresh is the graph of a server that has no memory of the last.
func fresh(s *Server, window time.Duration, now time.Time) *adminv1.GetGraphResponse {
	s.spare.Store(nil)
	return s.Graph(window, now)
}

func TestAGraphInTheMemoryOfAnotherIsTheSame(t *testing.T) {
	now := time.Now()
	s := crowded(20, 80, now)
	minute, long := fresh(s, time.Minute, now), fresh(s, 7*time.Minute, now)
	if len(minute.GetEdges()) != 40 || minute.GetEdges()[0].GetCalls().GetCalls() != 2*12*30 {
		t.Fatalf("the mesh under test is another: %v", minute.GetEdges()[0])
	}
	for i := range 4 {
		for window, want := range map[time.Duration]*adminv1.GetGraphResponse{time.Minute: minute, 7 * time.Minute: long} {
			if diff := cmp.Diff(want, s.Graph(window, now), protocmp.Transform()); diff != "" {
				t.Fatalf("graph %d of %v differs (-want +got):\n%s", i, window, diff)
			}
		}
	}
	// Several at once each have their own.
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 5 {
				if diff := cmp.Diff(minute, s.Graph(time.Minute, now), protocmp.Transform()); diff != "" {
					t.Errorf("a graph beside others differs (-want +got):\n%s", diff)
				}
			}
		})
	}
	wait.Wait()
}

func TestAnOldGraphIsNotKeptInMind(t *testing.T) {
	now := time.Now()
	s := crowded(3, 12, now)
	s.Graph(time.Minute, now)
	if w := s.spare.Load(); w == nil {
		t.Fatal("the memory of a graph is not kept for the next")
	} else {
		for _, v := range w.views[:cap(w.views)] {
			if v.def != nil || v.chunks != nil || v.tail.times != nil {
				t.Fatal("the memory of a graph refers to what the window may have let go of")
			}
		}
	}
	s.sweep(now.Add(2 * sweepEvery))
	if s.spare.Load() != nil {
		t.Error("memory is kept for graphs that nobody asks for")
	}
}

// A graph of 500 services with thirteen lines each, as a page asks for it every two
// seconds.
func BenchmarkGraph(b *testing.B) {
	now := time.Now()
	s := crowded(500, 60, now)
	b.ReportAllocs()
	for b.Loop() {
		s.Graph(time.Minute, now)
	}
}
