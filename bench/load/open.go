package load

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tulle-mesh/tulle/bench/benchv1"
)

// open begins calls when they are due, whoever waits. It returns how many were due while
// too many waited.
//
// What is due is looked up each time the clock wakes us, a tenth of a millisecond late or
// so, and latencies count from when calls were due: what the generator adds is in them,
// and is the same for all.
func open(
	ctx context.Context, clients []benchv1.EchoServiceClient, p Plan, began time.Time, sleep func(time.Duration) error,
) (workers []*worker, skipped int64, err error) {
	random := rand.New(rand.NewPCG(p.Seed, 1))
	c := crew{ctx: ctx, plan: p}
	end := began.Add(p.For)
	next := began.Add(gap(random, p.Rate))
	for turn := 0; next.Before(end); {
		if pause := time.Until(next); pause > 0 {
			if err = sleep(pause); err != nil {
				break
			}
		}
		for now := time.Now(); !next.After(now) && next.Before(end); next = next.Add(gap(random, p.Rate)) {
			w := c.next()
			if w == nil {
				skipped++
				continue
			}
			w.client = clients[turn%len(clients)]
			turn++
			w.due <- next
		}
	}
	return c.leave(), skipped, err
}

func gap(random *rand.Rand, rate float64) time.Duration {
	return time.Duration(random.ExpFloat64() / rate * float64(time.Second))
}
