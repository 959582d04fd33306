package mesh

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// longestLog is how long a process logs as it is told, whatever it is told of the end.
const longestLog = 24*time.Hour + time.Minute

// commands are what an operator tells the process to do for a while: to be tapped, and
// to log other than it was started to. Each ends by itself, whether xdsserver is there
// or not.
type commands struct {
	// Immutable.
	service, instance string
	taps              *tap.Taps
	level             *level
	// access is told the share of calls to log; usual is that of the start.
	access interface{ Sample(share float64) }
	usual  float64
	logger *slog.Logger

	// Owned by run.
	current *resource.Commands
	log     *resource.LogCommand // what is in force, nil for nothing
	until   time.Time            // its end
}

// run follows the service's Commands until ctx ends, and then undoes them.
func (c *commands) run(ctx context.Context, xds *xdsclient.Client) error {
	wake := make(chan struct{}, 1)
	sub := xds.Subscribe(resource.CommandsType, resource.CommandsName(c.service), func() {
		select {
		case wake <- struct{}{}:
		default: // it is awake
		}
	})
	defer sub.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.take(sub.State(), time.Now())
		if left, ok := c.expire(time.Now()); ok {
			timer.Reset(left)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			c.taps.Set(nil)
			c.obey(nil, time.Now())
			return nil
		case <-wake:
		case <-timer.C:
		}
	}
}

// take takes in what is known of the resource. One that is gone commands nothing, also
// where its last form is still held.
func (c *commands) take(state xdsclient.State, now time.Time) {
	next, _ := state.Value.(*resource.Commands)
	if gone := (*xdsclient.NotFoundError)(nil); errors.As(state.Ambient, &gone) {
		next = nil
	}
	if next == c.current {
		return
	}
	c.current = next
	if next == nil {
		c.taps.Set(nil)
		c.obey(nil, now)
		return
	}
	c.taps.Set(next.Taps)
	c.obey(next.Log, now)
}

// expire ends a log command that is over, and returns how long one that is not has
// left.
func (c *commands) expire(now time.Time) (left time.Duration, ok bool) {
	if c.log == nil {
		return 0, false
	}
	if left = c.until.Sub(now); left > 0 {
		return left, true
	}
	c.obey(nil, now)
	return 0, false
}

// obey logs as it is told; nil is as ever.
func (c *commands) obey(l *resource.LogCommand, now time.Time) {
	if l != nil && (l.Instance != "" && l.Instance != c.instance || !now.Before(l.Until)) {
		l = nil
	}
	switch {
	case l == nil && c.log == nil:
		return
	case l == nil:
		c.level.set(nil)
		c.access.Sample(c.usual)
		c.logger.Info("logs as before, what an operator asked for is over")
	case c.log == nil || *l != *c.log:
		c.level.set(l)
		c.access.Sample(l.Access)
		c.until = l.Until
		if bound := now.Add(longestLog); c.until.After(bound) {
			c.until = bound
		}
		c.logger.Info("logs as an operator asks", "level", levelText(l), "access", l.Access, "until", c.until.UTC())
	}
	c.log = l
}

func levelText(l *resource.LogCommand) string {
	if !l.HasLevel {
		return "as before"
	}
	return l.Level.String()
}
