package shed

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	// lookEvery is how long the unloaded latency is believed without being seen,
	// give or take a quarter, or the servers of a service would halve their limits
	// at once. BBR has ten seconds, too.
	lookEvery = 10 * time.Second
	// lookAgain is when it is looked for again where it turned out to be lower than
	// was believed: the limit it was seen at was too high as well.
	lookAgain = 500 * time.Millisecond
	// lookSooner is how long it is believed when calls are too slow in so many windows
	// on end as doubts says: it may be the service that became slower.
	lookSooner = 2 * time.Second
	doubts     = 3
	// smoothing is how much of the way to another limit is gone at once.
	smoothing = 0.5
	// rush is how fast the limit grows until the first sign of a queue. A server
	// that starts into a running service gets its share of the calls at once.
	rush = 1.5
)

// Differences of latencies, as logarithms.
var (
	same = math.Log(1.1) // is no difference
	half = math.Log(0.5) // bounds what the limit shrinks by at once
)

// A search looks for the limit of a server. It is guarded by the Limiter's mu.
type search struct {
	limit float64
	// unloaded is the latency while nothing waits, as a logarithm; zero is not known.
	unloaded float64
	// lookAt is when unloaded is to be looked for, believed since when it was known.
	lookAt, believed time.Time
	// looking is whether the limit is lowered to see it, and sure whether it was much
	// the same when that was done last.
	looking, sure bool
	// before is the latency of the window before the limit was lowered.
	before float64
	// slow counts the windows on end in which calls were too slow.
	slow int
	// starting is whether there were no two of those yet, or it turned out that there
	// was no queue.
	starting bool
}

// bound is the limit now.
func (s *search) bound(c *resource.Concurrency) int64 {
	s.limit = min(float64(c.Max), max(float64(c.Min), s.limit))
	limit := s.limit
	switch {
	case s.looking && s.sure:
		limit /= 2
	case s.looking:
		limit /= 4
	}
	return int64(max(1, float64(c.Min), math.Round(limit)))
}

// learn takes what a window came to.
func (s *search) learn(c *resource.Concurrency, v view, now time.Time) {
	if s.looking {
		s.looked(v, now)
		return
	}
	crowded := v.refused || float64(v.peak)*2 > s.limit
	switch {
	case s.unloaded == 0:
		s.unloaded = v.mean
		s.lookAt = now // that it is not loaded is only a guess
	case v.mean < s.unloaded:
		s.unloaded += (v.mean - s.unloaded) / 4
	case !crowded:
		// The service itself became slower.
		s.unloaded += (v.mean - s.unloaded) / 10
	}
	if !crowded {
		s.believe(now)
		return // what a limit would do that nobody reaches is not known
	}
	over := v.mean - s.unloaded - math.Log(c.Tolerance)
	s.slow++
	if over <= 0 {
		s.slow = 0
	}
	due := !s.lookAt.After(now) || s.slow >= doubts && now.Sub(s.believed) >= lookSooner
	if due && s.limit > float64(c.Min) {
		s.looking, s.before = true, v.mean
		return
	}
	if v.mean-s.unloaded < same {
		s.believe(now)
	}
	s.move(over, c.Tolerance)
}

// move moves the limit by how much slower calls are than they may be, as a logarithm.
func (s *search) move(over, tolerance float64) {
	target := s.limit
	switch {
	case over > 0:
		s.starting = s.starting && s.slow < 2
		target *= math.Exp(max(half, -over))
	case s.starting:
		s.limit *= rush
		return
	default:
		// The nearer to too much, the smaller the steps.
		target += math.Sqrt(s.limit) * min(1, -over/math.Log(tolerance))
	}
	s.limit += smoothing * (target - s.limit)
}

// looked takes what was seen with a low limit.
func (s *search) looked(v view, now time.Time) {
	s.looking, s.slow = false, 0
	fell := s.unloaded - v.mean
	first := s.believed.IsZero()
	s.unloaded = v.mean
	s.believe(now)
	if s.sure = fell < same; !s.sure {
		s.lookAt = now.Add(lookAgain)
	}
	if s.before-v.mean < same {
		s.starting = true // the limit is not what makes calls slow
	}
	if !first && fell < 0 {
		// By as much the limit was held too low.
		s.limit *= math.Exp(min(-half, -fell))
	}
}

// believe puts off the next look.
func (s *search) believe(now time.Time) {
	s.believed = now
	s.lookAt = now.Add(lookEvery*3/4 + rand.N(lookEvery/2))
}
