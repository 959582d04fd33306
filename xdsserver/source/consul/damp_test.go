package consul

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// flap has b go and come back n times, each time 2 s away and 2 s there, beside a.
func flap(s *service, now time.Time, n int) time.Time {
	for range n {
		now = now.Add(2 * time.Second)
		s.take(reading{entries: entries("a b!")}, now)
		now = now.Add(2 * time.Second)
		s.take(reading{entries: entries("a b")}, now)
	}
	return now
}

func TestAnInstanceThatFlapsComesBackLater(t *testing.T) {
	for _, tt := range []struct {
		flaps int
		after time.Duration // until it is back
	}{
		{1, 0},
		{3, 0},
		{4, 5 * time.Second},
		{5, 10 * time.Second},
		{6, 20 * time.Second},
		{7, 40 * time.Second},
		{8, time.Minute},
		{12, time.Minute},
	} {
		t.Run(fmt.Sprint(tt.flaps, " times"), func(t *testing.T) {
			s := newService("voting", "r1")
			now := time.Now()
			s.take(reading{entries: entries("a b")}, now)
			now = flap(s, now, tt.flaps)
			if tt.after > 0 {
				v := s.view(now.Add(tt.after - 1))
				if got := shown(v); got != "a b!" {
					t.Errorf("just before: got %q", got)
				}
				wantProblems(t, v.problems, "default/voting endpoints[b@n]: went from Consul, or turned critical, more than 3 times in 1m0s: "+
					"it takes calls again when it has stayed for "+tt.after.String())
				if got := s.next(now); !got.Equal(now.Add(tt.after)) {
					t.Errorf("it is to be looked at after %v, want %v", got.Sub(now), tt.after)
				}
			}
			v := s.view(now.Add(tt.after))
			if got := shown(v); got != "a b" || len(v.problems) > 0 {
				t.Errorf("just after: got %q, %v", got, v.problems)
			}
		})
	}
}

func TestAnInstanceThatFlapsGoesAtOnce(t *testing.T) {
	s := newService("voting", "r1")
	now := time.Now()
	s.take(reading{entries: entries("a b")}, now)
	now = flap(s, now, 3)
	s.take(reading{entries: entries("a")}, now.Add(time.Second))
	if got := shown(s.view(now.Add(time.Second))); got != "a" {
		t.Errorf("got %q", got)
	}
	s.take(reading{entries: entries("a b")}, now.Add(2*time.Second))
	if got := shown(s.view(now.Add(2 * time.Second))); got != "a b!" {
		t.Errorf("back: got %q, want it damped, though it was away meanwhile", got)
	}
}

func TestAnInstanceThatIsCalmForAMinuteIsForgotten(t *testing.T) {
	s := newService("voting", "r1")
	now := time.Now()
	s.take(reading{entries: entries("a b")}, now)
	now = flap(s, now, 6).Add(flapWindow)
	s.take(reading{entries: entries("a b!")}, now)
	s.take(reading{entries: entries("a b")}, now)
	if got := shown(s.view(now)); got != "a b" {
		t.Errorf("got %q", got)
	}
	s.take(reading{entries: entries("a b")}, now.Add(flapWindow))
	if len(s.flaps) > 0 {
		t.Errorf("%d are remembered, want none", len(s.flaps))
	}
}

func TestTheLastUsableInstanceIsNotDamped(t *testing.T) {
	s := newService("voting", "r1")
	now := time.Now()
	s.take(reading{entries: entries("a b")}, now)
	now = flap(s, now, 5)
	if got := shown(s.view(now)); got != "a b!" {
		t.Fatalf("got %q", got)
	}
	s.take(reading{entries: entries("a! b")}, now)
	if got := shown(s.view(now)); got != "a! b" {
		t.Errorf("the other is critical: got %q", got)
	}
	s.take(reading{entries: entries("a b")}, now)
	if v := s.view(now); shown(v) != "a b" || strings.Contains(fmt.Sprint(v.problems), "stayed for") {
		t.Errorf("the other is back: got %q, %v", shown(v), v.problems)
	}
}
