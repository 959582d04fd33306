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

// A frame is the time of a query: the slots from and to, both included, of which so many
// seconds have passed.
type frame struct {
	from, to int64
	window   time.Duration
	seconds  float64
	// young says that not all of the frame was listened to.
	young bool
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
		begin, f.young = s.since, true
	}
	f.seconds = min(max(now.Sub(begin).Seconds(), 1), window.Seconds())
	return f
}

// over is the time that calls in a frame took place in, in seconds, whose processes
// were heard of for so many milliseconds together. Each speaks for the five seconds
// before its report, and these are not the slots.
func (f frame) over(heard uint64, processes int32) float64 {
	if heard == 0 || processes == 0 || f.young {
		return f.seconds
	}
	slots := float64(f.to-f.from+1) * slotTime.Seconds()
	return min(max(float64(heard)/1000/float64(processes), slots-slotTime.Seconds()), slots+slotTime.Seconds())
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

// views copies what lines hold in a frame, of those that are wanted, into a workspace
// that has been reset. mu is held.
func (s *Server) views(w *workspace, f frame, wanted func(*def) bool) []view {
	for _, l := range s.window.lines {
		if !wanted(&l.def) {
			continue
		}
		if v := l.view(w, f.from, f.to); !v.empty() {
			w.views = append(w.views, v)
		}
	}
	return w.views
}

// sumUp makes all what a view has in a frame.
func (v *view) sumUp(f frame, one, all *record) {
	all.reset()
	v.each(f.from, f.to, true, one, func(_ int64, r *record) bool {
		all.add(r)
		return true
	})
}
