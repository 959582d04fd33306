package shed_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/shed"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A server runs calls, so many at once; the others wait for their turn.
type server struct {
	limiter *shed.Limiter // nil takes all
	workers chan struct{}
	takes   func() time.Duration

	mu   sync.Mutex
	took []time.Duration // of the calls that were taken, since the last look
}

func newServer(workers int, takes func() time.Duration, c *resource.Concurrency) *server {
	s := &server{workers: make(chan struct{}, workers), takes: takes}
	if c != nil {
		s.limiter = shed.New(*c, time.Now())
	}
	return s
}

// call makes one call and reports whether it was taken.
func (s *server) call(c shed.Criticality) bool {
	began := time.Now()
	var ticket shed.Ticket
	if s.limiter != nil {
		var ok bool
		if ticket, ok = s.limiter.Acquire(c, began); !ok {
			return false
		}
	}
	s.workers <- struct{}{}
	<-time.After(s.takes())
	<-s.workers
	ticket.Release(time.Now(), true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, time.Since(began))
	return true
}

// offer makes calls at random times, perSecond of them, for a while, whatever becomes
// of them. It returns the p99 of those that were taken, and how many ended each second.
func (s *server) offer(perSecond float64, d time.Duration) (p99 time.Duration, goodput float64) {
	s.mu.Lock()
	s.took = nil
	s.mu.Unlock()
	var calls sync.WaitGroup
	for end := time.Now().Add(d); time.Now().Before(end); {
		<-time.After(time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second)))
		calls.Go(func() { s.call(shed.Default) })
	}
	s.mu.Lock()
	took := slices.Clone(s.took) // those that are still there would be more than fit in the time
	s.mu.Unlock()
	calls.Wait()
	slices.Sort(took)
	if len(took) == 0 {
		return 0, 0
	}
	return took[len(took)*99/100], float64(len(took)) / d.Seconds()
}

func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// around is exponential around d.
func around(d time.Duration) func() time.Duration {
	return func() time.Duration { return time.Duration(rand.ExpFloat64() * float64(d)) }
}

// mixed are methods of which one in ten takes a hundred times as long.
func mixed(d time.Duration) func() time.Duration {
	return func() time.Duration {
		if rand.IntN(10) == 0 {
			return 100 * d
		}
		return d
	}
}

func adaptive() *resource.Concurrency {
	c := resource.DefaultConcurrency()
	return &c
}

// The promise: at three times the capacity the calls that are taken are at most twice
// as slow as those of an unloaded server, and nine tenths of what it can do get done.
func TestAnOverloadedServerDoesWhatItCan(t *testing.T) {
	for _, tt := range []struct {
		name    string
		workers int
		takes   func() time.Duration
		mean    time.Duration
		cold    bool // starts overloaded
	}{
		{"calls that take the same", 8, always(10 * time.Millisecond), 10 * time.Millisecond, false},
		{"calls that take the same, from a cold start", 8, always(10 * time.Millisecond), 10 * time.Millisecond, true},
		{"two workers", 2, always(5 * time.Millisecond), 5 * time.Millisecond, true},
		{"a hundred workers", 100, always(50 * time.Millisecond), 50 * time.Millisecond, true},
		{"calls that differ", 8, around(10 * time.Millisecond), 10 * time.Millisecond, true},
		{"calls that differ, of many workers", 64, around(20 * time.Millisecond), 20 * time.Millisecond, false},
		{"calls that differ by far", 32, mixed(2 * time.Millisecond), 21800 * time.Microsecond, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				capacity := float64(tt.workers) / tt.mean.Seconds()
				unloaded, _ := newServer(tt.workers, tt.takes, nil).offer(capacity/4, 20*time.Second)
				s := newServer(tt.workers, tt.takes, adaptive())
				if !tt.cold {
					s.offer(capacity/4, 10*time.Second)
				}
				s.offer(3*capacity, 5*time.Second) // finds its limit
				p99, goodput := s.offer(3*capacity, 30*time.Second)
				t.Logf("p99 %v is %.2f times the unloaded one; goodput %.3f of the capacity; limit %d for %d workers",
					p99, float64(p99)/float64(unloaded), goodput/capacity, s.limiter.Limit(), tt.workers)
				if p99 > 2*unloaded {
					t.Errorf("p99 is %v, want at most twice the unloaded server's %v", p99, unloaded)
				}
				if goodput < .9*capacity {
					t.Errorf("%.0f calls were done a second, want nine tenths of %.0f", goodput, capacity)
				}
			})
		})
	}
}

// What a limit must not do is refuse calls that the server could have run.
func TestAServerWithRoomRefusesNobodyForLong(t *testing.T) {
	const workers = 100
	for _, tt := range []struct {
		name  string
		takes func(since time.Duration) time.Duration
		load  float64 // of the capacity at first
	}{
		{"at half its load", func(time.Duration) time.Duration { return 50 * time.Millisecond }, .5},
		{"near its load, with calls that differ", func(time.Duration) time.Duration { return around(50 * time.Millisecond)() }, .8},
		{"when the service becomes twice as slow", func(since time.Duration) time.Duration {
			if since > 10*time.Second {
				return 100 * time.Millisecond
			}
			return 50 * time.Millisecond
		}, .4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := newServer(workers, func() time.Duration { return tt.takes(time.Since(began)) }, adaptive())
				refused := make([]int, 60) // by second
				var mu sync.Mutex
				var calls sync.WaitGroup
				perSecond := tt.load * workers / 0.05
				for time.Since(began) < time.Duration(len(refused))*time.Second {
					time.Sleep(time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second)))
					calls.Go(func() {
						at := int(time.Since(began).Seconds())
						if !s.call(shed.Default) && at < len(refused) {
							mu.Lock()
							defer mu.Unlock()
							refused[at]++
						}
					})
				}
				calls.Wait()
				t.Logf("refused each second %v; limit %d", refused, s.limiter.Limit())
				for second, n := range refused {
					// It starts at 20, and has learned by the third second; the change
					// comes in the tenth.
					if second >= 3 && second < 10 && n > 0 || second >= 30 && n > 0 {
						t.Errorf("%d calls were refused in second %d", n, second)
					}
				}
			})
		})
	}
}

func TestTheLimitFollowsTheCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 20 * time.Millisecond
		s := newServer(40, always(each), adaptive())
		offered := 3 * 40 / each.Seconds()
		s.offer(offered, 10*time.Second)
		for range 30 {
			s.workers <- struct{}{} // a quarter is left
		}
		s.offer(offered, 20*time.Second)
		if _, goodput := s.offer(offered, 10*time.Second); goodput < .9*10/each.Seconds() || s.limiter.Limit() > 20 {
			t.Errorf("with a quarter of the workers the limit is %d and %.0f calls are done a second", s.limiter.Limit(), goodput)
		}
		for range 30 {
			<-s.workers
		}
		s.offer(offered, 10*time.Second)
		if _, goodput := s.offer(offered, 10*time.Second); goodput < .9*40/each.Seconds() {
			t.Errorf("with all workers again the limit is %d and %.0f calls are done a second", s.limiter.Limit(), goodput)
		}
	})
}

func TestCriticalCallsAreServedUnderOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 10 * time.Millisecond
		s := newServer(16, always(each), adaptive())
		capacity := 16 / each.Seconds()
		var made, taken [3]int
		var mu sync.Mutex
		var calls sync.WaitGroup
		for end, began := time.Now().Add(20*time.Second), time.Now(); time.Now().Before(end); {
			time.Sleep(time.Duration(rand.ExpFloat64() / (3 * capacity) * float64(time.Second)))
			c := shed.Default
			switch rand.IntN(100) {
			case 0:
				c = shed.Critical // three percent of the capacity
			case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
				c = shed.Sheddable
			}
			counts := time.Since(began) > 5*time.Second
			calls.Go(func() {
				ok := s.call(c)
				mu.Lock()
				defer mu.Unlock()
				if counts {
					made[c]++
				}
				if counts && ok {
					taken[c]++
				}
			})
		}
		calls.Wait()
		share := func(c shed.Criticality) float64 { return float64(taken[c]) / float64(made[c]) }
		t.Logf("taken: %.3f of the critical, %.3f of the default, %.3f of the sheddable",
			share(shed.Critical), share(shed.Default), share(shed.Sheddable))
		if share(shed.Critical) < .97 || share(shed.Sheddable) > .05 {
			t.Errorf("taken: %.3f of the critical, %.3f of the sheddable calls", share(shed.Critical), share(shed.Sheddable))
		}
	})
}
