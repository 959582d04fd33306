package consul_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

// settle waits d and until everything has come to rest.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func wantTold(t *testing.T, w *witness, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, w.take()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestFollowTellsChangesAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w, _ := follow(t, connect(t, f, consul.Config{}))
		settle(time.Hour)
		wantTold(t, w, "v10")
		if got := len(f.queries()); got < 55 || got > 62 {
			t.Errorf("%d queries in an hour without a change, want one a minute", got)
		}
		f.set(11, "v11")
		synctest.Wait()
		wantTold(t, w, "v11")
		f.become(ways{filtered: true}) // the token may see less, at the same index
		synctest.Wait()
		wantTold(t, w, "v11 filtered")
	})
}

func TestAnIndexThatGoesBackReadsAllAgainFromTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w, _ := follow(t, connect(t, f, consul.Config{}))
		synctest.Wait()
		f.take(t, w, "v10")
		f.set(3, "v3")
		synctest.Wait()
		wantTold(t, w, "v3")
		got := f.queries()
		want := []string{
			"GET /v1/kv/tulle/x?index=10&stale=&wait=60000ms", // it was waiting
			"GET /v1/kv/tulle/x",
			"GET /v1/kv/tulle/x?index=3&stale=&wait=60000ms",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("queries (-want +got):\n%s", diff)
		}
		f.set(4, "v4")
		synctest.Wait()
		wantTold(t, w, "v4")
	})
}

// take is wantTold, and forgets the query that does not wait.
func (f *fake) take(t *testing.T, w *witness, want string) {
	t.Helper()
	wantTold(t, w, want)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = f.asked[1:]
}

func TestAServerThatHeardNothingOfTheLeaderIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w, _ := follow(t, connect(t, f, consul.Config{}))
		synctest.Wait()
		wantTold(t, w, "v10")
		f.become(ways{stale: 9 * time.Second})
		synctest.Wait()
		wantTold(t, w, "v10") // what returns early is asked of the leader
		f.set(11, "v11")
		synctest.Wait()
		wantTold(t, w, "old")
		f.become(ways{stale: 11 * time.Second})
		f.set(12, "v12")
		synctest.Wait()
		wantTold(t, w, "v12")
		settle(time.Hour)
		wantTold(t, w)
	})
}

func TestAServerThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.become(ways{hangs: true})
		w, _ := follow(t, connect(t, f, consul.Config{}))
		settle(consul.AnswerWithin - time.Millisecond)
		wantTold(t, w)
		settle(time.Hour)
		const want = "key x: consul at http://127.0.0.1:8500 did not answer in time"
		wantTold(t, w, want)
		f.become(ways{})
		settle(consul.AnswerWithin + 5*time.Second) // the query that hangs may just have begun
		wantTold(t, w, "v10")

		f.become(ways{hangs: true})
		synctest.Wait()
		settle(consul.WaitFor + consul.WaitFor/16 + consul.AnswerWithin)
		wantTold(t, w, want)
	})
}

func TestOneFailureIsToldOnceHoweverItIsWorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w, _ := follow(t, connect(t, f, consul.Config{}))
		synctest.Wait()
		wantTold(t, w, "v10")
		for port := range 100 {
			f.become(ways{status: http.StatusInternalServerError, body: fmt.Sprintf("rpc error: read tcp 127.0.0.1:%d->127.0.0.1:8300:\n EOF", 40000+port)})
			settle(5 * time.Second)
		}
		wantTold(t, w, "key x: consul at http://127.0.0.1:8500 answers with status 500: rpc error: read tcp 127.0.0.1:40000->127.0.0.1:8300: EOF")
		f.become(ways{status: http.StatusInternalServerError, body: "No cluster leader"})
		settle(time.Minute)
		wantTold(t, w, "key x: consul at http://127.0.0.1:8500 has no leader now: No cluster leader")
		if got := len(f.queries()); got > 700 {
			t.Errorf("%d queries in nine minutes of failures", got)
		}
		f.become(ways{})
		settle(4 * time.Second)
		wantTold(t, w, "v10")
	})
}

func TestWhatChangesOftenIsToldAtAPaceAndToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w, _ := follow(t, connect(t, f, consul.Config{}))
		synctest.Wait()
		w.take()
		settle(time.Minute)
		const changes, gap = 1000, 10 * time.Millisecond
		for i := range changes {
			f.set(uint64(11+i), fmt.Sprint("v", 11+i))
			settle(gap)
		}
		settle(consul.ChangeGap)
		got := w.take()
		if most := consul.ChangeBurst + int(changes*gap/consul.ChangeGap) + 1; len(got) > most || len(got) < most/2 {
			t.Errorf("told %d of %d changes, want at most %d", len(got), changes, most)
		}
		if last := got[len(got)-1]; last != fmt.Sprint("v", 10+changes) {
			t.Errorf("told %s last, want the last state", last)
		}
	})
}

func TestACrowdTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd, connections = 30, 5
		f, log := newFake(), &journal{}
		c := connect(t, f, consul.Config{Connections: connections, Logger: log.logger()})
		var all []*witness
		var leave []func()
		for range crowd {
			w, gone := follow(t, c)
			all, leave = append(all, w), append(leave, gone)
		}
		settle(30 * time.Second)
		for _, w := range all {
			wantTold(t, w, "v10")
		}
		if watched, n := c.Crowd(); watched != crowd || n != connections {
			t.Errorf("crowd is %d over %d, want %d over %d", watched, n, crowd, connections)
		}
		began := time.Now()
		f.set(11, "v11")
		settle(20 * time.Second)
		for _, w := range all {
			if took := w.since().Sub(began); took < 0 || took > 7*time.Second {
				t.Errorf("seen after %v, want some seconds", took)
			}
			wantTold(t, w, "v11")
		}
		if _, most := f.crowd(); most != connections {
			t.Errorf("%d queries waited at one time, want %d", most, connections)
		}
		log.wantCount(t, "more is watched in Consul", 1)

		for _, gone := range leave[connections:] {
			gone()
		}
		settle(10 * time.Second)
		f.queries()
		settle(10 * time.Minute)
		if got := len(f.queries()); got > 60 {
			t.Errorf("%d queries in ten minutes once the crowd was gone, want one a minute of each of %d", got, connections)
		}
	})
}

func TestAnAnswerThatIsTooLongIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set(10, strings.Repeat("x", 1<<20))
		c := connect(t, f, consul.Config{})
		c.Bound(1 << 20)
		w, _ := follow(t, c)
		settle(time.Minute)
		wantTold(t, w, "key x: consul at http://127.0.0.1:8500 does not answer: consul: answer is longer than 1 MiB")
		f.set(11, "v11")
		settle(5 * time.Second)
		wantTold(t, w, "v11")
	})
}
