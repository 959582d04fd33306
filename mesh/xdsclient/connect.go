package xdsclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// avoidFor is how long a server that takes connections, but no stream, is
	// tried after all others.
	avoidFor = 10 * time.Second
	// steady is how long a stream must have lived to count as a success.
	steady = 10 * time.Second
)

// connect keeps a stream open until ctx ends.
func (c *Client) connect(ctx context.Context) error {
	n := len(c.servers.targets)
	k := &connector{client: c, avoid: make([]time.Time, n), failing: make([]bool, n)}
	failures := 0
	for {
		server, conn, err := k.search(ctx)
		if err != nil {
			return err
		}
		c.use(server)
		opened := time.Now()
		live, err := c.serve(ctx, server, conn)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if live {
			k.answered = true
			clear(k.failing)
		}
		if to := new(switchTo); errors.As(err, &to) {
			c.use(to.server)
			continue
		}
		if !live {
			k.avoid[server] = time.Now().Add(avoidFor)
			k.note(attempt{server: server, err: err})
		}
		failures++
		if live && time.Since(opened) >= steady {
			failures = 0
		}
		if err := pause(ctx, restartDelay(failures)); err != nil {
			return err
		}
	}
}

// restartDelay is how long to wait before another stream is opened on a server
// that ended the last one: full jitter up to 250 ms that doubles up to maxDelay.
func restartDelay(failures int) time.Duration {
	ceiling := maxDelay
	if failures < 4 {
		ceiling = 250 * time.Millisecond << failures
	}
	return rand.N(ceiling)
}

// pause waits, and returns an error only when ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// use makes a server the current one.
func (c *Client) use(server int) {
	before := c.servers.use(server)
	if before == server {
		return
	}
	c.mu.Lock()
	c.switched = time.Now()
	c.mu.Unlock()
	c.logger.Info("xds server changed", "from", c.servers.targets[before], "to", c.servers.targets[server])
}
