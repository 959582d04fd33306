package telemetry

import (
	"time"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

const (
	// minWindow is the shortest window of a query: three reports of each process.
	minWindow = 15 * time.Second
	// defaultWindow is that of a query that names none.
	defaultWindow = time.Minute
)

// A frame is the time of a query: the slots from and to, both included, which so many
// seconds belong to.
type frame struct {
	from, to int64
	window   time.Duration
	seconds  float64
}

// frame fits a window that ends now into slots. The last slot is not over: rates are
// over the time that has passed of it.
func (s *Server) frame(window time.Duration, now time.Time) frame {
	if window == 0 {
		window = defaultWindow
	}
	window = min(max(window, minWindow), Window)
	slots := int64((window + slotTime - 1) / slotTime)
	to := max(slotOf(now), s.window.now)
	f := frame{from: to - slots + 1, to: to, window: window}
	begin := slotEnd(f.from - 1)
	if s.since.After(begin) {
		begin = s.since
	}
	f.seconds = min(max(now.Sub(begin).Seconds(), 1), window.Seconds())
	return f
}

// golden are the golden metrics of a record in so many seconds; nil where there were
// no calls.
func golden(r *record, seconds float64) *adminv1.Golden {
	g := &adminv1.Golden{}
	for i, n := range r.counts {
		g.Calls = sum(g.GetCalls(), n)
		if failed(i) {
			g.Failures = sum(g.GetFailures(), n)
		}
	}
	if g.GetCalls() == 0 {
		return nil
	}
	g.Rps = float64(g.GetCalls()) / seconds
	if len(r.times) > 0 {
		g.Timed = true
		g.P50Ms = 1000 * r.times.percentile(0.50)
		g.P95Ms = 1000 * r.times.percentile(0.95)
		g.P99Ms = 1000 * r.times.percentile(0.99)
	}
	return g
}

// views copies what lines hold in a frame, of those that are wanted.
func (s *Server) views(f frame, wanted func(*def) bool) []view {
	var out []view
	for _, l := range s.window.lines {
		if !wanted(&l.def) {
			continue
		}
		if v := l.view(f.from, f.to); !v.empty() {
			out = append(out, v)
		}
	}
	return out
}

// sumUp is all of a view in a frame.
func (v *view) sumUp(f frame, one *record) record {
	var all record
	v.each(f.from, f.to, true, one, func(_ int64, r *record) bool {
		all.add(r)
		return true
	})
	return all
}
