package tap

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func calls(set *Set, n int) {
	for range n {
		set.Match(Call{Peer: "voting"}).End(Facts{})
	}
}

func TestEventsAreReportedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps, x := newTaps(), &xdsserver{}
		running(t, taps, x)
		set := open(taps, resource.Tap{MaxRPS: 100})
		time.Sleep(time.Second)
		calls(set, 3)
		time.Sleep(gather)
		synctest.Wait()
		x.mu.Lock()
		reports := len(x.reports)
		x.mu.Unlock()
		if got, _ := x.taken(); len(got) != 3 || reports != 1 {
			t.Errorf("%d events in %d reports, want 3 in 1", len(got), reports)
		}
		time.Sleep(time.Minute)
		if got, _ := x.taken(); len(got) != 0 {
			t.Errorf("%d more", len(got))
		}
		calls(set, 150)
		time.Sleep(2 * time.Second)
		if got, dropped := x.taken(); len(got) != 100 || dropped != 50 {
			t.Errorf("%d events and %d dropped, want 100 and 50", len(got), dropped)
		}
	})
}

func TestReportsAreOfABoundedSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps, x := newTaps(), &xdsserver{}
		set := open(taps, resource.Tap{MaxRPS: 1000, Payload: true})
		large := orderOf(t, `{"id":"`+strings.Repeat("x", 12<<10)+`"}`)
		for range 1000 {
			w := set.Match(Call{})
			w.Request(large)
			w.End(Facts{})
		}
		running(t, taps, x)
		time.Sleep(3 * time.Second)
		x.mu.Lock()
		for _, r := range x.reports {
			if size := proto.Size(r); size > 1<<20 || len(r.GetEvents()) > maxReport {
				t.Errorf("a report of %d events and %d bytes", len(r.GetEvents()), size)
			}
		}
		x.mu.Unlock()
		if got, dropped := x.taken(); len(got)*len(large.(interface{ String() string }).String()) > maxQueuedBytes || len(got)+int(dropped) != 1000 || len(got) < 300 {
			t.Errorf("%d events and %d dropped", len(got), dropped)
		}
	})
}

func TestNobodyIsTappedWhileXDSServerTakesNoReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps, x := newTaps(), &xdsserver{err: errors.New("away")}
		running(t, taps, x)
		set := open(taps, resource.Tap{MaxRPS: 100, Until: time.Now().Add(time.Hour)})
		calls(set, 10)
		time.Sleep(gather)
		synctest.Wait()
		if taps.Active() != nil {
			t.Fatal("a report failed, and calls are tapped on")
		}
		calls(set, 5) // those in progress
		// An order that comes meanwhile does not make it try more often.
		taps.Set([]resource.Tap{*set.open[0].spec})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if taps.Active() != nil {
			t.Fatal("calls are tapped")
		}
		x.set(func() { x.err = nil })
		time.Sleep(retryAtMost + time.Second)
		synctest.Wait()
		if taps.Active() == nil {
			t.Fatal("reports are taken, and nobody is tapped")
		}
		if got, dropped := x.taken(); len(got) != 0 || dropped != 15 {
			t.Errorf("%d events and %d dropped, want none and 15", len(got), dropped)
		}
		calls(taps.Active(), 1)
		time.Sleep(gather)
		synctest.Wait()
		if got, _ := x.taken(); len(got) != 1 {
			t.Errorf("%d events", len(got))
		}
	})
}

func TestASlowXDSServerCostsACallNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps, x := newTaps(), &xdsserver{hang: true}
		running(t, taps, x)
		set := open(taps, resource.Tap{MaxRPS: 1000})
		began := time.Now()
		calls(set, 1)
		time.Sleep(gather)
		synctest.Wait() // the report hangs
		for range 5 {
			calls(set, 900)
			time.Sleep(500 * time.Millisecond)
		}
		if took := time.Since(began); took != gather+2500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if n := len(taps.queue.events); n > maxQueued {
			t.Errorf("%d events wait", n)
		}
	})
}

func TestTapsThatXDSServerKnowsNoMoreAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps, x := newTaps(), &xdsserver{over: []string{"a"}}
		running(t, taps, x)
		set := open(taps, resource.Tap{ID: "a"}, resource.Tap{ID: "b"})
		calls(set, 1)
		time.Sleep(gather)
		synctest.Wait()
		if set := taps.Active(); set == nil || len(set.open) != 1 || set.open[0].spec.ID != "b" {
			t.Errorf("open: %+v", set)
		}
	})
}

func TestTheLastEventsAreReportedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps, x := newTaps(), &xdsserver{}
		stop := running(t, taps, x)
		set := open(taps, resource.Tap{})
		time.Sleep(time.Second)
		calls(set, 2)
		stop()
		if got, _ := x.taken(); len(got) != 2 {
			t.Errorf("%d events, want 2", len(got))
		}
		hanging := newTaps()
		stop = running(t, hanging, &xdsserver{hang: true})
		calls(open(hanging, resource.Tap{}), 1)
		began := time.Now()
		stop()
		if took := time.Since(began); took != goodbyeWithin {
			t.Errorf("the end took %v", took)
		}
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	var q queue
	small := &tapv1.Event{Method: "/a.B/C"}
	n := 0
	for q.push(small) {
		n++
	}
	if n != maxQueued {
		t.Errorf("%d small events, want %d", n, maxQueued)
	}
	q.clear()
	large := &tapv1.Event{Message: strings.Repeat("x", 500<<10)}
	for n = 0; q.push(large); n++ {
	}
	if n != maxQueuedBytes/(500<<10) {
		t.Errorf("%d large events", n)
	}
	if q.clear(); q.push(&tapv1.Event{Message: strings.Repeat("x", 1<<20)}) {
		t.Error("an event that no report has room for waits")
	}
}
