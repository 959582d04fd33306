package balancer

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestCost(t *testing.T) {
	const decay = 10 * time.Second
	const rate = 1 / float64(decay)
	ms := time.Millisecond
	type step struct {
		after, took time.Duration
		want        float64 // in ms, just after
	}
	e := math.Exp
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"the first call tells more than the guess", []step{{0, 2 * ms, 2}}},
		{"the first call may be slower than the guess", []step{{time.Second, 200 * ms, 200}}},
		{"a slower call is believed at once", []step{{0, 2 * ms, 2}, {10 * ms, 50 * ms, 50}}},
		{"a quicker one is believed as much as time has passed", []step{
			{0, 50 * ms, 50}, {100 * ms, 10 * ms, 50*e(-.01) + 10*(1-e(-.01))},
		}},
		{"one that is no quicker than what is left is a peak", []step{{0, 50 * ms, 50}, {10 * time.Second, 20 * ms, 20}}},
		{"a rare quick one takes off three quarters", []step{{0, 200 * ms, 200}, {time.Second, ms, 200 * e(-.1) / 4}}},
		{"a rare one takes off no more than it tells", []step{{0, 200 * ms, 200}, {time.Second, 80 * ms, 80}}},
		{"a rare one that is about as slow is one like others", []step{
			{0, 200 * ms, 200}, {time.Second, 150 * ms, 200*e(-.1) + 150*(1-e(-.1))},
		}},
		{"four rare ones bring a slow endpoint back", []step{
			{0, 200 * ms, 200},
			{time.Second, ms, 200 * e(-.1) / 4},
			{250 * ms, ms, 200 * e(-.125) / 16},
			{250 * ms, ms, 200 * e(-.150) / 64},
			{250 * ms, ms, 1},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c cost
				c.seed(30*ms, breaker.Now())
				for i, s := range tt.steps {
					time.Sleep(s.after)
					c.observe(s.took, breaker.Now(), rate)
					estimate, _ := c.at(breaker.Now(), rate)
					got := estimate / float64(ms)
					// A tick is a quarter of a millisecond, of a decay of 10 s.
					if math.Abs(got-s.want) > s.want*0.001 {
						t.Errorf("after step %d the estimate is %.3f ms, want %.3f", i, got, s.want)
					}
				}
			})
		})
	}
	t.Run("what is not called is forgotten", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var c cost
			c.seed(30*ms, breaker.Now())
			c.observe(100*ms, breaker.Now(), rate)
			for _, s := range []struct {
				after time.Duration
				want  float64
			}{{10 * time.Second, 100 * e(-1)}, {20 * time.Second, 100 * e(-3)}, {24 * time.Hour, 0}} {
				time.Sleep(s.after)
				if got, _ := c.at(breaker.Now(), rate); math.Abs(got/float64(ms)-s.want) > 0.01 {
					t.Errorf("%v later it is %.3f ms, want %.3f", s.after, got/float64(ms), s.want)
				}
			}
		})
	})
	t.Run("a call that was given up lifts and never lowers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var c cost
			c.seed(30*ms, breaker.Now())
			c.observe(10*ms, breaker.Now(), rate)
			for _, s := range []struct{ took, want time.Duration }{{ms, 10 * ms}, {100 * ms, 100 * ms}} {
				c.atLeast(s.took, breaker.Now(), rate)
				if got, _ := c.at(breaker.Now(), rate); math.Abs(got-float64(s.want)) > float64(s.want)/1000 {
					t.Errorf("after %v it is %v, want %v", s.took, time.Duration(got), s.want)
				}
			}
		})
	})
}

// Linkerd's scenario: one of five is slow, and later well again.
func TestASlowEndpointIsAvoidedAndComesBack(t *testing.T) {
	for _, perSecond := range []float64{100, 300, 3000} {
		t.Run(fmt.Sprintf("at %g calls a second", perSecond), func(t *testing.T) {
			inLab(t, 5, func(l *lab) {
				for _, e := range l.endpoints {
					e.takes = around(10 * time.Millisecond)
				}
				l.work(perSecond, 10*time.Second)
				l.endpoints[2].takes = always(200 * time.Millisecond)
				l.work(perSecond, time.Second) // it is found out
				slow := l.share(l.work(perSecond, 30*time.Second), 2)
				l.endpoints[2].takes = around(10 * time.Millisecond)
				l.work(perSecond, 5*time.Second)
				back := l.share(l.work(perSecond, 5*time.Second), 2)
				t.Logf("it gets %.2f %% while it is slow, %.1f %% from 5 s after", 100*slow, 100*back)
				if slow > .0105 {
					t.Errorf("it gets %.2f %% of the calls, want at most the 1 %% that remind of it", 100*slow)
				}
				if back < .1 {
					t.Errorf("5 s after it gets %.1f %% of the calls, want at least half of its 20 %%", 100*back)
				}
			})
		})
	}
}

func TestThePriceOfRemindersIsOneCallInTwoHundred(t *testing.T) {
	inLab(t, 20, func(l *lab) {
		for i, e := range l.endpoints {
			e.takes = around(5 * time.Millisecond)
			if i%2 == 0 {
				e.takes = always(time.Second)
			}
		}
		l.work(200, 5*time.Second)
		all := l.work(200, 60*time.Second)
		slow := 0.0
		for i := 0; i < len(l.endpoints); i += 2 {
			slow += l.share(all, i)
		}
		t.Logf("the slow ten get %.2f %%", 100*slow)
		if slow > .0065 || slow < .003 {
			t.Errorf("the slow ten get %.2f %% of the calls, want at most half of one", 100*slow)
		}
	})
}

// An endpoint that fails at once is the quickest there is.
func TestFailuresCountAsSlow(t *testing.T) {
	for _, tt := range []struct {
		name    string
		penalty time.Duration
		trailer metadata.MD
		code    codes.Code
		most    float64
	}{
		{"with the penalty", 5 * time.Second, nil, codes.Unavailable, .011},
		{"without they attract calls", 0, nil, codes.Unavailable, 1},
		{"without, by its own word", 0, metadata.Pairs("grpc-retry-pushback-ms", "60000"), codes.Unavailable, .011},
		{"a server that has enough to do", 5 * time.Second, nil, codes.ResourceExhausted, .011},
		{"an answer that is no failure is none", 5 * time.Second, nil, codes.NotFound, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, 3, func(l *lab) {
				l.config.Breaker = nil
				l.config.PeakEWMA.FailurePenalty = tt.penalty
				l.open()
				for _, e := range l.endpoints {
					e.takes = around(5 * time.Millisecond)
				}
				l.endpoints[0].takes, l.endpoints[0].code, l.endpoints[0].trailer = nil, tt.code, tt.trailer
				calls := l.work(500, 20*time.Second)
				got := float64(failures(calls)) / float64(len(calls))
				if got > tt.most || tt.most == 1 && got < .5 {
					t.Errorf("%.2f %% of the calls failed, want at most %g", 100*got, 100*tt.most)
				}
			})
		})
	}
}

func TestShares(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(l *lab)
		want    []float64
		within  float64
	}{
		{"endpoints alike get like shares, one call after the other", func(*lab) {}, []float64{.25, .25, .25, .25}, .02},
		{"one that takes twice as long gets less", func(l *lab) {
			for i, e := range l.endpoints {
				e.takes = always(20 * time.Millisecond)
				if i == 0 {
					e.takes = always(40 * time.Millisecond)
				}
			}
		}, []float64{.1, .3, .3, .3}, .06},
		{"a heavier one gets more", func(l *lab) {
			for i, e := range l.endpoints {
				e.takes = always(20 * time.Millisecond)
				e.weight = 100
				if i == 0 {
					e.weight = 300
				}
			}
			l.open()
		}, []float64{.5, .167, .167, .167}, .06},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, 4, func(l *lab) {
				tt.prepare(l)
				l.work(400, 5*time.Second)
				all := l.work(400, 20*time.Second)
				for i := range l.endpoints {
					if got := l.share(all, i); math.Abs(got-tt.want[i]) > tt.within {
						t.Errorf("endpoint %d got %.3f, want %.3f", i, got, tt.want[i])
					}
				}
			})
		})
	}
}

func TestANewEndpointIsCalledSoon(t *testing.T) {
	inLab(t, 4, func(l *lab) {
		for _, e := range l.endpoints {
			e.takes = around(2 * time.Millisecond) // far below what a new one is taken to need
		}
		l.work(200, 10*time.Second)
		l.add(1)
		l.endpoints[4].takes = around(2 * time.Millisecond)
		l.open()
		l.work(200, 3*time.Second)
		if got := l.share(l.work(200, 10*time.Second), 4); got < .1 {
			t.Errorf("3 s after it came it gets %.1f %%, want about 20", 100*got)
		}
	})
}

func TestSlowStart(t *testing.T) {
	for _, policy := range []resource.Policy{resource.PeakEWMA, resource.RoundRobin, resource.LeastRequest} {
		t.Run(string(policy), func(t *testing.T) {
			inLab(t, 4, func(l *lab) {
				l.config.Policy = policy
				l.config.SlowStart.Window = 30 * time.Second
				l.open()
				for _, e := range l.endpoints {
					e.takes = always(20 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				l.work(400, 2*time.Second)
				l.endpoints[0].node.ready(breaker.Now())
				var got []float64
				for range 4 {
					got = append(got, l.share(l.work(400, 10*time.Second), 0))
				}
				t.Logf("shares of ten seconds: %.3f", got)
				if got[0] > .6*got[3] || got[1] > got[3]+.02 || math.Abs(got[3]-.25) > .04 {
					t.Errorf("its shares are %.3f, want them to grow to 0.25", got)
				}
			})
		})
	}
	for _, tt := range []struct {
		age        time.Duration
		aggression float64
		want       float64
	}{
		{0, 1, .1},
		{15 * time.Second, 1, .5},
		{15 * time.Second, 2, math.Sqrt(.5)},
		{30 * time.Second, 1, 1},
	} {
		inLab(t, 1, func(l *lab) {
			l.config.SlowStart = resource.SlowStart{Window: 30 * time.Second, Aggression: tt.aggression, MinWeightPercent: 10}
			l.open()
			l.endpoints[0].node.ready(breaker.Now())
			time.Sleep(tt.age)
			c := Choice{Now: breaker.Now(), pool: l.pool}
			if got := c.Share(0); math.Abs(got-tt.want) > 1e-6 {
				t.Errorf("after %v with aggression %g the share is %g, want %g", tt.age, tt.aggression, got, tt.want)
			}
		})
	}
}
