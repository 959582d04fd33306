package balancer

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A tally counts how an endpoint's calls ended. It only grows: who wants to know about
// an interval remembers where it was.
type tally struct{ succeeded, failed atomic.Uint64 }

// count counts the end of a call. What the process made itself is not counted.
func (t *tally) count(failed bool) {
	if failed {
		t.failed.Add(1)
	} else {
		t.succeeded.Add(1)
	}
}

// A detector ejects the endpoints of a cluster that do worse than the others (gRFC
// A50). It outlives pickers and configurations; nil detects nothing.
//
// It differs from gRFC A50 in three points. It needs no timer: the first pick after an
// interval does what a timer would have done, as of then, so that what happened before
// a client fell silent is judged as it would have been. Calls fail by the codes that
// the breaker counts, not by any error. And the share of endpoints that may be out,
// those with an open breaker among them, is never passed; gRFC A50 ejects one more.
type detector struct {
	due atomic.Int64 // when the interval ends

	mu         sync.Mutex
	config     resource.OutlierDetection
	maxPercent uint32
	hosts      []*host
}

// A host is an endpoint as the detector sees it.
type host struct {
	node *Node
	// seen is the node's tally at the end of the last interval.
	seen struct{ succeeded, failed uint64 }
	// calls is how many ended in the interval, rate the share that succeeded.
	calls, rate float64

	until int64 // when the ejection ends; zero is not ejected
	times int64 // ejections, less the intervals without
}

// newDetector returns a detector for a cluster's configuration and nodes: old, which may be
// nil, with what it knows of those that stay; nil where the cluster asks for none.
func newDetector(old *detector, config *resource.Balancing, nodes []*Node, now int64) *detector {
	if config.Outlier == nil {
		old.stop()
		return nil
	}
	if old == nil {
		old = &detector{}
	}
	old.follow(config, nodes, now)
	return old
}

func (d *detector) follow(config *resource.Balancing, nodes []*Node, now int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if config.Outlier.Interval != d.config.Interval {
		d.due.Store(now + int64(config.Outlier.Interval))
	}
	d.config, d.maxPercent = *config.Outlier, config.MaxEjectedPercent
	known := make(map[*Node]*host, len(d.hosts))
	for _, h := range d.hosts {
		known[h.node] = h
	}
	d.hosts = make([]*host, len(nodes))
	for i, n := range nodes {
		h := known[n]
		if h == nil {
			h = &host{node: n}
			h.read()
		}
		d.hosts[i] = h
	}
}

// stop ends all ejections.
func (d *detector) stop() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.hosts {
		h.node.Eject(false)
	}
	d.hosts = nil
}

// tick does what is due. Each pick may call it: before the interval ends it costs one
// load.
func (d *detector) tick(now int64) {
	if d == nil || now < d.due.Load() || !d.mu.TryLock() {
		return
	}
	defer d.mu.Unlock()
	due := d.due.Load()
	if now < due {
		return // another was quicker
	}
	interval := max(int64(d.config.Interval), int64(time.Millisecond))
	d.judge(due)
	last := now - (now-due)%interval // the end of the last of the intervals without a pick
	for _, h := range d.hosts {
		h.relent(due, last, interval)
	}
	d.due.Store(last + interval)
}

// judge decides by the calls of the interval that ended at a time. Caller holds mu.
func (d *detector) judge(at int64) {
	for _, h := range d.hosts {
		h.read()
	}
	if c := d.config.SuccessRate; c != nil {
		asked := d.busy(c.RequestVolume)
		if len(asked) > 0 && len(asked) >= int(c.MinimumHosts) {
			mean, deviation := spread(asked)
			least := mean - deviation*float64(c.StdevFactor)/1000
			d.eject(asked, at, func(h *host) bool { return h.rate < least })
		}
	}
	if c := d.config.FailurePercentage; c != nil {
		asked := d.busy(c.RequestVolume)
		if len(asked) >= int(c.MinimumHosts) {
			d.eject(asked, at, func(h *host) bool { return (1-h.rate)*100 > float64(c.Threshold) })
		}
	}
}

// busy returns the hosts with as many calls in the interval as tell something.
func (d *detector) busy(calls uint32) []*host {
	var busy []*host
	for _, h := range d.hosts {
		if h.calls > 0 && h.calls >= float64(calls) {
			busy = append(busy, h)
		}
	}
	return busy
}

// spread returns the mean of the hosts' success rates and their standard deviation.
func spread(hosts []*host) (mean, deviation float64) {
	for _, h := range hosts {
		mean += h.rate / float64(len(hosts))
	}
	for _, h := range hosts {
		deviation += (h.rate - mean) * (h.rate - mean) / float64(len(hosts))
	}
	return mean, math.Sqrt(deviation)
}

// eject ejects those of the asked that are outliers, as long as enough are left.
func (d *detector) eject(asked []*host, at int64, outlier func(*host) bool) {
	out := 0
	for _, h := range d.hosts {
		if h.until != 0 || h.node.out.Load() {
			out++
		}
	}
	for _, h := range asked {
		if h.until != 0 || !outlier(h) {
			continue
		}
		if !h.node.out.Load() {
			if (out+1)*100 > int(d.maxPercent)*len(d.hosts) {
				continue
			}
			out++
		}
		h.times++
		ejection := min(d.config.BaseEjectionTime*time.Duration(h.times), max(d.config.BaseEjectionTime, d.config.MaxEjectionTime))
		h.until = at + int64(ejection)
		h.node.Eject(true)
	}
}

// read takes the calls since it was last called.
func (h *host) read() {
	now := &h.node.tally
	succeeded, failed := now.succeeded.Load(), now.failed.Load()
	good, bad := float64(succeeded-h.seen.succeeded), float64(failed-h.seen.failed)
	h.seen.succeeded, h.seen.failed = succeeded, failed
	h.calls, h.rate = good+bad, 0
	if h.calls > 0 {
		h.rate = good / h.calls
	}
}

// relent does what is due at the ends of intervals, from the first to the last: an
// ejection ends, and each interval without one makes the next shorter.
func (h *host) relent(first, last, interval int64) {
	if h.until != 0 {
		if h.until > last {
			return
		}
		if late := h.until - first; late > 0 {
			first += (late + interval - 1) / interval * interval
		}
		if first > last {
			return
		}
		h.until = 0
		h.node.Eject(false)
		first += interval
	}
	if first <= last {
		h.times = max(h.times-(last-first)/interval-1, 0)
	}
}
