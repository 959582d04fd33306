package dashboard

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// until reads a stream for some time, and counts its events by name.
func until(next func() (event, bool), end func(), d time.Duration) (counts map[string]int, last map[string]string) {
	counts, last = map[string]int{}, map[string]string{}
	stop := time.AfterFunc(d, end)
	defer stop.Stop()
	for {
		e, ok := next()
		if !ok {
			return counts, last
		}
		counts[e.name]++
		last[e.name] = e.data
	}
}

func TestAStreamSaysWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t)
		s.enter(t, admin.MayView)
		next, end := s.events(t, "/api/events?window=30s&service=web.shop")
		began := time.Now()
		seen := map[string]string{}
		for len(seen) < 4 {
			e, ok := next()
			if !ok {
				t.Fatal("the stream ended")
			}
			seen[e.name] = e.data
		}
		if time.Since(began) > 0 {
			t.Errorf("what is known came after %v, want at once", time.Since(began))
		}
		want := map[string]string{
			"keepalive": "", "graph": `{"services":[{"service":"voting","inbound":{}}]}`, "status": `{}`, "service": `{"service":{"service":"web.shop"}}`,
		}
		for name, data := range want {
			if got := strings.ReplaceAll(seen[name], " ", ""); got != data {
				t.Errorf("%s: got %s, want %s", name, got, data)
			}
		}
		// What changes is told within a tick, and what does not is not told again.
		defer time.AfterFunc(time.Minute, func() { s.mesh.rps.Store(5) }).Stop()
		defer time.AfterFunc(2*time.Minute, func() { s.mesh.revision.Store(12) }).Stop()
		counts, last := until(next, end, 3*time.Minute)
		if counts["graph"] != 1 || counts["status"] != 1 || counts["service"] != 0 || counts["objects"] != 1 || last["objects"] != `{"revision":"12"}` {
			t.Errorf("got %v, the last %v", counts, last)
		}
		if got := counts["keepalive"]; got < 8 || got > 12 {
			t.Errorf("%d keepalives in 3 minutes, want one each 15 s without others", got)
		}
	})
}

// However many watch, the API is asked once a tick; and who does not watch asks nothing.
func TestTheGraphIsComputedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t)
		var wg sync.WaitGroup
		const crowd, ticks = 100, 10
		ends := make([]func(), 0, crowd)
		for range crowd {
			if len(ends)%maxSessionStreams == 0 {
				s.enter(t)
			}
			next, end := s.events(t, "/api/events")
			ends = append(ends, end)
			wg.Go(func() {
				for ok := true; ok; {
					_, ok = next()
				}
			})
		}
		time.Sleep(tick / 2) // in between two
		before := s.mesh.graphs.Load()
		for range ticks {
			s.mesh.rps.Add(1)
			time.Sleep(tick)
		}
		if got := s.mesh.graphs.Load() - before; got != ticks {
			t.Errorf("%d streams asked %d times in %d ticks", crowd, got, ticks)
		}
		for _, end := range ends {
			end()
		}
		wg.Wait()
		synctest.Wait()
		before = s.mesh.graphs.Load()
		time.Sleep(10 * tick)
		if got := s.mesh.graphs.Load() - before; got != 0 || len(s.feed.subjects()) != 0 {
			t.Errorf("nobody watches, and it was asked %d times about %d", got, len(s.feed.subjects()))
		}
	})
}

func TestAReaderThatStopsReadingIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t)
		s.mesh.padding = strings.Repeat("x", 1<<20)
		s.enter(t)
		next, end := s.events(t, "/api/events")
		defer end()
		next()
		// A pipe holds nothing, and the browser's side a few KiB.
		time.Sleep(readWithin - time.Second)
		if got := s.streams(); got != 1 {
			t.Errorf("%d streams just before, want it open", got)
		}
		time.Sleep(2 * time.Second)
		if got := s.streams(); got != 0 || len(s.feed.subjects()) != 0 {
			t.Errorf("%d streams just after, want none", got)
		}
	})
}

// streams is how many are open.
func (s *site) streams() int {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	return s.sessions.streams
}

func TestStreamsAreBounded(t *testing.T) {
	s := open(t)
	s.enter(t)
	ends := make([]func(), 0, maxSessionStreams)
	for range maxSessionStreams {
		_, end := s.events(t, "/api/events")
		ends = append(ends, end)
	}
	if answer := s.do(t, get(t, s.url+"/api/events")); answer.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one more of the session: got %s, want 429", answer.Status)
	}
	if answer := s.do(t, get(t, s.url+"/api/session")); answer.StatusCode != http.StatusOK {
		t.Errorf("other requests of the session: got %s, want 200", answer.Status)
	}
	s.enter(t) // another session
	next, end := s.events(t, "/api/events")
	if e, ok := next(); !ok {
		t.Errorf("another session: got %v", e)
	}
	end()
	for _, end := range ends {
		end()
	}
	t.Run("of all", func(t *testing.T) {
		var all sessions
		for i := range maxStreams {
			if _, err := all.stream(&session{}); err != nil {
				t.Fatal(i, err)
			}
		}
		if _, err := all.stream(&session{}); err == nil {
			t.Error("one more is let in")
		}
	})
	t.Run("in what they are about", func(t *testing.T) {
		f := newFeed(&mesh{}, nil)
		for i := range maxTopics {
			if _, _, ok := f.join(topic{event: eventService, service: fmt.Sprint(i)}); !ok {
				t.Fatal(i)
			}
		}
		if _, _, ok := f.join(topic{event: eventService, service: "more"}); ok {
			t.Error("one more is asked about")
		}
		if _, _, ok := f.join(topic{event: eventService, service: "7"}); !ok {
			t.Error("what is asked about is not told")
		}
	})
}

func TestWindowsAreBounded(t *testing.T) {
	s := open(t)
	s.enter(t)
	for _, window := range []string{"1s", "2h", "-1m", "x", "9223372036854775807s", "60"} {
		if answer := s.do(t, get(t, s.url+"/api/events?window="+window)); answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %s, want 400", window, answer.Status)
		}
	}
}

func TestAnAnswerThatPanicsEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t)
		s.enter(t)
		next, end := s.events(t, "/api/events?service=panics")
		counts, _ := until(next, end, time.Minute)
		if counts["graph"] != 1 || counts["service"] != 0 {
			t.Errorf("got %v", counts)
		}
		if !strings.Contains(s.log.String(), "admin API panicked") {
			t.Error("nobody is told")
		}
	})
}

func TestStreamsEndWithTheSessionAndTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t)
		s.enter(t)
		began := time.Now()
		next, end := s.events(t, "/api/events")
		defer end()
		for ok := true; ok; {
			_, ok = next()
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("it ended after %v, want with its session, after an hour", took)
		}
	})
}
