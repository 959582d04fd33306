package load

import (
	"context"
	"math/rand/v2"
	"sync"
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
	due := make(chan time.Time, maxOpen)
	var wait sync.WaitGroup
	var waiting tally
	end := began.Add(p.For)
	next := began.Add(gap(random, p.Rate))
	for next.Before(end) {
		if pause := time.Until(next); pause > 0 {
			if err = sleep(pause); err != nil {
				break
			}
		}
		for now := time.Now(); !next.After(now) && next.Before(end); next = next.Add(gap(random, p.Rate)) {
			switch {
			case waiting.idle():
			case len(workers) < maxOpen:
				w := newWorker(clients[len(workers)%len(clients)], p)
				workers = append(workers, w)
				wait.Go(func() {
					for at := range due {
						w.unary(ctx, at)
						waiting.free()
					}
				})
			default:
				skipped++
				continue
			}
			due <- next
		}
	}
	close(due)
	wait.Wait()
	return workers, skipped, err
}

func gap(random *rand.Rand, rate float64) time.Duration {
	return time.Duration(random.ExpFloat64() / rate * float64(time.Second))
}
