package load

import (
	"context"
	"sync"
	"time"
)

// A crew are the workers of an open loop. The one that had a call last is the first to
// have another: its stack has grown and its caches are warm, and those that only a burst
// needed are left alone. In turn, all of them would work a little: each garbage collection
// halves the stack of who is idle and its next call doubles it again, so that after one
// burst all collections in the process that is measured would cost more.
type crew struct {
	ctx  context.Context //nolint:containedctx // that of the calls
	plan Plan
	all  []*worker // of the goroutine that has calls to give alone
	wait sync.WaitGroup

	mu   sync.Mutex
	idle []*worker
}

// next returns a worker that has nothing to do, nil where there are none and may be no
// more.
func (c *crew) next() *worker {
	c.mu.Lock()
	if last := len(c.idle) - 1; last >= 0 {
		w := c.idle[last]
		c.idle = c.idle[:last]
		c.mu.Unlock()
		return w
	}
	c.mu.Unlock()
	if len(c.all) == maxOpen {
		return nil
	}
	w := newWorker(nil, c.plan)
	w.due = make(chan time.Time, 1)
	c.all = append(c.all, w)
	c.wait.Go(func() {
		for at := range w.due {
			w.unary(c.ctx, at)
			c.mu.Lock()
			c.idle = append(c.idle, w)
			c.mu.Unlock()
		}
	})
	return w
}

// leave waits for all calls to end, and returns the workers.
func (c *crew) leave() []*worker {
	for _, w := range c.all {
		close(w.due)
	}
	c.wait.Wait()
	return c.all
}
