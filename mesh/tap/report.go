package tap

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
)

const (
	// gather is how long events wait for others. Lower shows them sooner and costs more
	// reports.
	gather = 100 * time.Millisecond
	// reportWithin bounds the wait for an answer, goodbyeWithin the last one's.
	reportWithin  = 3 * time.Second
	goodbyeWithin = 500 * time.Millisecond
	// countEvery is how often what was dropped is told where nothing else is.
	countEvery = time.Second
	// retryAtMost bounds the wait, with jitter, before reports are tried again.
	retryAtMost = 15 * time.Second
)

// Run reports what taps see to xdsserver over conn, and ends taps that are over, until
// ctx ends; then it returns nil. While reports fail, nobody is tapped.
func (t *Taps) Run(ctx context.Context, conn grpc.ClientConnInterface) error {
	r := reporter{taps: t, client: tapv1.NewTapServiceClient(conn)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.goodbye(ctx)
			return nil
		case <-timer.C:
		case <-t.wake:
			// Events come in bursts, and to look at each costs more than to wait.
			if pause(ctx, gather) != nil {
				r.goodbye(ctx)
				return nil
			}
		}
		if wait, ok := r.look(ctx); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// A reporter is what Run knows. It is owned by its goroutine.
type reporter struct {
	taps     *Taps
	client   tapv1.TapServiceClient
	failures int       // in a row
	last, at time.Time // when the last report was made, and the next may be
}

// look does what is due, and returns when to look again; false is when there is
// something new.
func (r *reporter) look(ctx context.Context) (time.Duration, bool) {
	now := time.Now()
	next := r.taps.expire(now)
	if next.IsZero() {
		r.taps.queue.clear() // of taps that are over
		r.recovered()
		return 0, false
	}
	if now.Before(r.at) {
		return min(r.at.Sub(now), next.Sub(now)), true
	}
	more, err := r.report(ctx, r.failures > 0 || now.Sub(r.last) >= countEvery)
	switch {
	case err == nil:
		r.recovered()
		if more {
			return 0, true
		}
		return min(countEvery, time.Until(next)), true
	case ctx.Err() != nil:
		return countEvery, true // Run sees it next
	}
	r.failed(err)
	return min(time.Until(r.at), time.Until(next)), true
}

// report makes one report of what there is; where it is to count, also of what was
// dropped alone, and while reports fail of nothing.
func (r *reporter) report(ctx context.Context, count bool) (more bool, err error) {
	t := r.taps
	events, more := t.queue.take()
	dropped := t.takeDropped()
	if len(events) == 0 && r.failures == 0 && (!count || len(dropped) == 0) {
		t.giveBack(dropped)
		return more, nil
	}
	r.last = time.Now()
	ctx, cancel := context.WithTimeout(ctx, reportWithin)
	defer cancel()
	answer, err := r.client.Report(ctx, &tapv1.ReportRequest{Events: events, Instance: t.config.Instance, Dropped: dropped})
	if err != nil {
		t.giveBack(dropped)
		t.lost(events)
		return false, err
	}
	if over := answer.GetOver(); len(over) > 0 {
		t.end(over)
	}
	return more, nil
}

// goodbye reports what is there when the process ends: a short life is worth seeing.
func (r *reporter) goodbye(ctx context.Context) {
	if r.taps.Active() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeWithin)
	defer cancel()
	for more := true; more; {
		var err error
		if more, err = r.report(ctx, true); err != nil {
			return // nobody is left to tell
		}
	}
}

// failed pauses all taps: what nobody takes is not gathered.
func (r *reporter) failed(err error) {
	if r.failures == 0 {
		r.taps.config.Logger.Info("taps pause, xdsserver does not take reports", "error", err)
	}
	wait := min(retryAtMost, time.Second<<min(r.failures, 5))
	r.at = time.Now().Add(wait/2 + rand.N(wait/2+1))
	r.failures++
	r.taps.pause(true)
	r.taps.lost(r.taps.queue.clear())
}

// recovered lets taps go on after failures.
func (r *reporter) recovered() {
	if r.failures > 0 {
		r.taps.config.Logger.Info("taps go on, xdsserver takes reports")
		r.failures, r.at = 0, time.Time{}
		r.taps.pause(false)
	}
}

// expire ends taps that are over, and returns when the next one is.
func (t *Taps) expire(now time.Time) (next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := len(t.open)
	if count == 0 {
		return time.Time{}
	}
	for _, o := range t.open {
		if next.IsZero() || o.until.Before(next) {
			next = o.until
		}
	}
	if now.Before(next) {
		return next
	}
	return t.publish(now)
}

func (t *Taps) pause(paused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paused != paused {
		t.paused = paused
		t.publish(time.Now())
	}
}

// end ends taps that xdsserver knows no more.
func (t *Taps) end(ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = slices.DeleteFunc(t.open, func(o *opened) bool { return slices.Contains(ids, o.spec.ID) })
	t.publish(time.Now())
}

// takeDropped takes the counts of calls that were not told; nil without any.
func (t *Taps) takeDropped() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var counts map[string]uint64
	for _, o := range t.open {
		if n := o.tally.dropped.Swap(0); n > 0 {
			if counts == nil {
				counts = make(map[string]uint64)
			}
			counts[o.spec.ID] = n
		}
	}
	return counts
}

// giveBack adds counts that were not told either.
func (t *Taps) giveBack(counts map[string]uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.open {
		o.tally.dropped.Add(counts[o.spec.ID])
	}
}

// lost counts events that never arrived.
func (t *Taps) lost(events []*tapv1.Event) {
	counts := map[string]uint64{}
	for _, e := range events {
		counts[e.GetTap()]++
	}
	t.giveBack(counts)
}

// pause waits, as long as ctx lives.
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
