package xdsclient

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// The deadlines of the protocol and of ours.
const (
	// rememberAfter is how long a name waits for a server before what is
	// remembered is used. Lower makes a slow server look dead, higher makes the
	// first call after a restart wait when it is dead.
	rememberAfter = 500 * time.Millisecond
	// answerAfter is how long a name waits before its State says that nobody
	// answers (gRFC A27, resource timer; Envoy's initial_fetch_timeout).
	answerAfter = 15 * time.Second
	// settleAfter is how long a server may be silent on a new stream before
	// its silence is taken for consent to the versions offered: the protocol
	// has no other way to say that nothing has changed. It is a part of a move to
	// another server (failoverAfter); an answer that comes later still counts.
	settleAfter = time.Second
	// staleAfter is how long no server may be there before what is held counts
	// as stale. It is longer than a reconnect takes, so that the restart of a
	// server wakes nobody up.
	staleAfter = 5 * time.Second
	// keepGap is the least time between two looks at the deadlines.
	keepGap = 20 * time.Millisecond
)

// keep watches the deadlines until ctx ends.
func (c *Client) keep(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var after effects
		now := time.Now()
		next := c.tend(now, &after)
		after.run(c.logger)
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(next.Sub(now), keepGap))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wakeKeeper:
			// What wakes us comes in bursts; no deadline is as near as this.
			if err := pause(ctx, keepGap); err != nil {
				return err
			}
		case <-timer.C:
		}
	}
}

// tend does what is due and returns when to look again; zero means not before
// something else happens.
func (c *Client) tend(now time.Time, after *effects) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var next time.Time
	due := func(at time.Time) bool {
		if !at.After(now) {
			return true
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
		return false
	}
	for r := range c.waiting {
		switch {
		case r.good != nil && due(r.asked.Add(rememberAfter)):
			c.goWithout(r, nil, after)
		case r.good == nil && due(r.asked.Add(answerAfter)):
			c.goWithout(r, fmt.Errorf("no answer for %v", answerAfter), after)
		}
	}
	if s := c.session; s != nil && !s.settled && due(s.opened.Add(settleAfter)) {
		c.settle(s, after)
	}
	if !c.live() && c.answered && due(c.since.Add(staleAfter)) {
		c.goStale(after)
	}
	c.review(after)
	return next
}

// live reports whether a server answers at the moment. c.mu is held.
func (c *Client) live() bool { return c.session != nil && c.session.live }

// settle takes the silence of a server for consent. c.mu is held.
func (c *Client) settle(s *session, after *effects) {
	s.settled = true
	c.goLive(s, after)
	for typ := range c.tables {
		c.confirmType(s, typ, after)
	}
}

// goStale marks everything in use as stale: no server confirms it. c.mu is held.
func (c *Client) goStale(after *effects) {
	for _, table := range c.tables {
		for _, r := range table {
			st := *r.state.Load()
			if st.Value == nil || st.Stale {
				continue
			}
			if c.staleSince.IsZero() {
				c.staleSince = c.since
			}
			st.Stale = true
			c.publish(r, st, true, after)
		}
	}
}

// failed notes an attempt that failed while there is another server to try.
func (c *Client) failed(err error) {
	c.mu.Lock()
	c.lastErr = err
	c.mu.Unlock()
}

// unreachable notes that no server can be reached: nobody waits any longer.
func (c *Client) unreachable(err error) {
	var after effects
	c.mu.Lock()
	c.down, c.lastErr = err, err
	for r := range c.waiting {
		c.goWithout(r, err, &after)
	}
	if c.loaded {
		c.setReady()
	}
	if !c.downSaid && c.stale == 0 && !c.answered {
		c.downSaid = true
		after.log = append(after.log, func(l *slog.Logger) {
			l.Warn("no xds server answers, trying on", "error", err)
		})
	}
	c.review(&after)
	c.mu.Unlock()
	after.run(c.logger)
}

// review says once when configuration has become stale and once when it is
// current again. c.mu is held.
func (c *Client) review(after *effects) {
	since := c.staleSince
	switch {
	case c.stale > 0 && !c.staleSaid:
		c.staleSaid = true
		count, err := c.stale, c.lastErr
		after.log = append(after.log, func(l *slog.Logger) {
			l.Warn("configuration is stale, no xds server confirms it", "since", since, "resources", count, "error", err)
		})
	case c.stale == 0 && c.live():
		c.staleSince = time.Time{}
		if !c.staleSaid {
			return
		}
		c.staleSaid = false
		server := c.session.target
		after.log = append(after.log, func(l *slog.Logger) {
			l.Info("configuration is current again", "server", server, "stale_since", since)
		})
	}
}
