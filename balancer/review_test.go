package balancer

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

var policies = []resource.Policy{
	resource.PeakEWMA, resource.RoundRobin, resource.LeastRequest, resource.RingHash, resource.WeightedRoundRobin,
}

// One of three endpoints fails every call at once.
func TestAnEndpointThatFailsGetsProbesOnly(t *testing.T) {
	for _, policy := range policies {
		t.Run(string(policy), func(t *testing.T) {
			inLab(t, 3, func(l *lab) {
				l.config.Policy = policy
				l.config.PeakEWMA.FailurePenalty = 0 // the breaker is to do it alone
				l.open()
				for _, e := range l.endpoints {
					e.takes = around(5 * time.Millisecond)
				}
				l.endpoints[1].takes, l.endpoints[1].code = nil, codes.Unavailable
				failed := failures(l.work(1000, 10*time.Second))
				t.Logf("%d of 10,000 calls failed", failed)
				if failed > 100 || failed < 7 {
					t.Errorf("%d of 10,000 calls failed, want at most 100", failed)
				}
				if n := l.logs.count("endpoint fails"); n != 1 {
					t.Errorf("it was said %d times", n)
				}
				l.endpoints[1].code = codes.OK
				time.Sleep(2 * time.Minute) // longer than any wait
				l.work(1000, time.Second)
				if got := l.share(l.work(1000, 5*time.Second), 1); got < .2 {
					t.Errorf("after it got well it gets %.3f of the calls", got)
				}
				if n := l.logs.count("endpoint is well again"); n != 1 {
					t.Errorf("that it is well was said %d times", n)
				}
			})
		})
	}
}

// trip opens the breakers of some endpoints.
func (l *lab) trip(which ...int) {
	for _, i := range which {
		for range 7 {
			l.endpoints[i].node.breaker.Load().Done(breaker.Now(), false, uint32(codes.Unavailable), true)
		}
	}
}

// answered returns who gets calls now, of many.
func (l *lab) answered() string {
	got := make(map[string]bool)
	for range 200 {
		rpc := l.call()
		rpc.Begin(1) // no probe
		done, e := l.pick(rpc)
		done(balancer.DoneInfo{})
		got[e.address] = true
	}
	s := ""
	for i, e := range l.endpoints {
		if got[e.address] {
			s += fmt.Sprint(i)
		}
	}
	return s
}

func TestNeverMoreThanTheShareIsOut(t *testing.T) {
	for _, tt := range []struct {
		name    string
		n       int
		percent uint32
		fail    func(l *lab)
		want    int // how many get calls
		panics  bool
	}{
		{"one of one stays", 1, 50, func(l *lab) { l.trip(0) }, 1, true},
		{"one of two may go, whatever the share", 2, 10, func(l *lab) { l.trip(0) }, 1, false},
		{"the other may not", 2, 50, func(l *lab) { l.trip(0, 1) }, 1, true},
		{"half of five is two", 5, 50, func(l *lab) { l.trip(0, 1, 2) }, 3, true},
		{"two of five may go", 5, 50, func(l *lab) { l.trip(0, 1) }, 3, false},
		{"breakers and outliers count together", 5, 50, func(l *lab) {
			l.trip(0, 1)
			l.endpoints[2].node.Eject(true)
		}, 3, true},
		{"outliers may go", 5, 50, func(l *lab) { l.endpoints[2].node.Eject(true) }, 4, false},
		{"where all may go and do, all are used", 4, 100, func(l *lab) { l.trip(0, 1, 2, 3) }, 4, true},
		{"where none may go none does", 4, 0, func(l *lab) { l.trip(0, 1) }, 4, true},
	} {
		for _, policy := range policies {
			t.Run(tt.name+" by "+string(policy), func(t *testing.T) {
				inLab(t, tt.n, func(l *lab) {
					l.config.Policy = policy
					l.config.MaxEjectedPercent = tt.percent
					l.open()
					tt.fail(l)
					if got := l.answered(); len(got) != tt.want {
						t.Errorf("calls go to %s, want to %d", got, tt.want)
					}
					want := 0
					if tt.panics {
						want = 1
					}
					if got := l.logs.count("so many endpoints fail"); got != want {
						t.Errorf("panic was said %d times, want %d", got, want)
					}
					if all := tt.percent == 100; all != (l.pool.Panics() > 0) {
						t.Errorf("%d calls are counted that went to one that was out", l.pool.Panics())
					}
				})
			})
		}
	}
}

func TestThoseThatAreOutStayOut(t *testing.T) {
	inLab(t, 4, func(l *lab) {
		l.trip(2, 3)
		if got := l.answered(); got != "01" {
			l.t.Fatalf("calls go to %s, want 01", got)
		}
		l.trip(0)
		if got := l.answered(); got != "01" {
			t.Errorf("calls go to %s, want as before", got)
		}
		time.Sleep(2 * time.Second)
		// One gets well: the one that was left in use goes.
		b := l.endpoints[3].node.breaker.Load()
		b.Admit(breaker.Now())
		b.Done(breaker.Now(), true, 0, true)
		if got := l.answered(); got != "13" {
			t.Errorf("after one got well calls go to %s, want 13", got)
		}
	})
}

func TestOneCallAtATimeIsAProbe(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		exact := *l.config.Breaker
		exact.Jitter = 0
		l.config.Breaker = &exact
		l.open()
		l.trip(1)
		l.answered()
		time.Sleep(time.Second)
		retry := l.call()
		retry.Begin(1)
		if done, e := l.pick(retry); e == l.endpoints[1] {
			t.Error("a call that failed before was the probe")
		} else {
			done(balancer.DoneInfo{BytesSent: true})
		}
		time.Sleep(2 * time.Millisecond)
		done, e := l.pick(l.call())
		if e != l.endpoints[1] {
			l.t.Fatalf("the probe went to %s", e.address)
		}
		for range 100 {
			if _, e := l.pick(l.call()); e == l.endpoints[1] {
				l.t.Fatal("a call beside the probe went there")
			}
		}
		done(balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Unavailable, "still")})
		if got := l.endpoints[1].node.breaker.Load().RetryIn(breaker.Now()); got != 2*time.Second {
			t.Errorf("after the probe failed the next is in %v, want 2 s", got)
		}
	})
}

func TestAProbeThatDoesNotEndIsConcluded(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stream bool
		want   breaker.State
	}{
		{"a stream that lasts is a success", true, breaker.Closed},
		{"a call that is not answered makes place for another", false, breaker.HalfOpen},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, 2, func(l *lab) {
				l.trip(1)
				l.answered()
				time.Sleep(2 * time.Second)
				rpc := l.call()
				rpc.Stream = tt.stream
				if _, e := l.pick(rpc); e != l.endpoints[1] {
					l.t.Fatal("the call was no probe")
				}
				time.Sleep(patience + time.Second)
				for range 3 {
					l.pick(l.call())
				}
				if got := l.endpoints[1].node.breaker.Load().State(); got != tt.want {
					t.Errorf("the breaker is %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestABreakersConfigurationChangesInPlace(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		l.trip(1)
		if got := l.answered(); got != "02" {
			l.t.Fatalf("calls go to %s", got)
		}
		l.open() // an endpoint came or went: nothing is forgotten
		if got := l.answered(); got != "02" {
			t.Errorf("after a change of endpoints calls go to %s", got)
		}
		l.config.Breaker = nil
		l.open()
		if got := l.answered(); got != "012" {
			t.Errorf("without a breaker calls go to %s", got)
		}
	})
}

// The race detector is this test's judge.
func TestPicksAndChangesAtOneTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, config: resource.DefaultBalancing()}
		l.config.Breaker.MinPenalty = 10 * time.Millisecond
		l.config.MaxRequestsPerEndpoint = 5
		l.add(6)
		for i, e := range l.endpoints {
			e.local = i < 3
			e.takes = around(5 * time.Millisecond)
			if i%3 == 0 {
				e.code = codes.Unavailable
			}
		}
		l.open()
		var callers sync.WaitGroup
		for range 8 {
			pool := l.pool
			callers.Go(func() {
				for range 500 {
					rpc := l.call()
					if result, err := pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc); err == nil {
						e := l.at(rpc.Endpoint())
						time.Sleep(e.takes())
						result.Done(balancer.DoneInfo{BytesSent: true, Err: status.Error(e.code, "x")})
					}
				}
			})
		}
		callers.Go(func() {
			for i := range 500 {
				l.endpoints[i%6].node.Eject(i%4 == 0)
				l.pool.Status()
				time.Sleep(time.Millisecond)
			}
		})
		callers.Wait()
		for _, s := range l.pool.Status() {
			if s.Open != 0 {
				t.Errorf("%d calls to %s are open in the end", s.Open, s.Address)
			}
		}
	})
}
