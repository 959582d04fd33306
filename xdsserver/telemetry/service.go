package telemetry

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

const (
	// maxSteps is how many points a query has at most.
	maxSteps = 360
	// boundShift makes the buckets of points half an octave wide: those of the window
	// are finer than a heat map's rows can be.
	boundShift = scale - 1
	// breakerHalfOpen and breakerOpen are values of tulle.client.endpoint.breaker.
	breakerHalfOpen = 1
	breakerOpen     = 2
)

// Service is one service in a window as that of [Server.Graph]; what is not known of
// it is empty. Of single instances only the last ten minutes are known. The message
// is the caller's.
func (s *Server) Service(name string, window time.Duration, now time.Time) *adminv1.GetServiceStatsResponse {
	s.mu.Lock()
	f := s.frame(window, now)
	var w workspace
	views := s.views(&w, f, func(d *def) bool { return d.source == name || d.destination == name })
	states := s.states(now)
	answer := &adminv1.GetServiceStatsResponse{
		At: timestamppb.New(now), Window: durationpb.New(f.window),
		Instances: s.instances(name, f, now),
		Endpoints: s.endpoints(name, now),
	}
	s.mu.Unlock()

	g := newGraph(&w, f, views, states)
	answer.Service = g.service(name, states[name])
	answer.Callers = g.list(func(k edgeKey) bool { return k.destination == name })
	answer.Callees = g.list(func(k edgeKey) bool { return k.source == name })
	answer.Points, answer.BoundsMs = points(g, views, name)
	answer.Methods = methods(g, views, name)
	answer.Routes = routes(g, views, name)
	return answer
}

// inbound reports whether a line is of what a service takes, by who knows best.
func (g *graph) inbound(d *def, name string) bool {
	if d.destination != name {
		return false
	}
	if !g.node(name).served.empty() {
		return d.family == familyServed
	}
	e := g.edges[edgeKey{d.source, name}]
	return e != nil && d.family == e.best()
}

// points is what a service took over time, evenly spaced.
func points(g *graph, views []view, name string) ([]*adminv1.StatPoint, []float64) {
	f := g.frame
	step := (f.to - f.from + maxSteps) / maxSteps
	steps := make([]record, (f.to-f.from)/step+1)
	var one record
	for i := range views {
		if !g.inbound(views[i].def, name) {
			continue
		}
		views[i].each(f.from, f.to, false, &one, func(slot int64, r *record) bool {
			// From the end, so that the last point is as long as the others.
			steps[int64(len(steps))-1-(f.to-slot)/step].add(r)
			return true
		})
	}
	low, high := int32(maxIndex), int32(zeroIndex)
	for i := range steps {
		if t := steps[i].times; len(t) > 0 {
			low, high = min(low, t[0].index), max(high, t[len(t)-1].index)
		}
	}
	var bounds []float64
	if low <= high {
		low, high = low>>boundShift, high>>boundShift
		for row := low; row <= high; row++ {
			bounds = append(bounds, 1000*upper((row+1)<<boundShift-1))
		}
	}
	out := make([]*adminv1.StatPoint, len(steps))
	seconds := (time.Duration(step) * slotTime).Seconds()
	for i := range steps {
		p := &adminv1.StatPoint{At: timestamppb.New(slotEnd(f.to - step*int64(len(steps)-1-i))), Golden: golden(&steps[i], seconds)}
		if bounds != nil {
			p.Buckets = make([]uint64, len(bounds))
			for _, b := range steps[i].times {
				p.Buckets[b.index>>boundShift-low] += b.count
			}
		}
		out[i] = p
	}
	return out, bounds
}

// methods are those that a service was called by.
func methods(g *graph, views []view, name string) []*adminv1.MethodStat {
	f := g.frame
	by := map[string]*record{}
	var one, all record
	for i := range views {
		if d := views[i].def; g.inbound(d, name) && d.method != "" {
			if views[i].sumUp(f, &one, &all); !all.empty() {
				g.addTo(by, d.method, &all)
			}
		}
	}
	out := make([]*adminv1.MethodStat, 0, len(by))
	for _, m := range slices.Sorted(maps.Keys(by)) {
		out = append(out, &adminv1.MethodStat{Method: m, Golden: g.golden(g.node(name).by(name), by[m])})
	}
	return out
}

// A level is a route, with what is below it.
type level struct {
	calls    record
	backends map[string]*record
	callers  map[string]bool
}

// who counted that: nobody, where several did.
func (l *level) who() string {
	if len(l.callers) == 1 {
		for caller := range l.callers {
			return caller
		}
	}
	return nobody
}

// routes are those to a service: what callers get above, what backends give below.
func routes(g *graph, views []view, name string) []*adminv1.RouteStat {
	f := g.frame
	by := map[string]*level{}
	var one, all record
	for i := range views {
		d := views[i].def
		if d.destination != name || d.family != familyCall && d.family != familyAttempt {
			continue
		}
		if views[i].sumUp(f, &one, &all); all.empty() {
			continue
		}
		l := by[d.route]
		if l == nil {
			l = &level{backends: map[string]*record{}, callers: map[string]bool{}}
			by[d.route] = l
		}
		l.callers[d.source] = true
		if d.family == familyCall {
			l.calls.add(&all)
		} else {
			g.addTo(l.backends, d.cluster, &all)
		}
	}
	out := make([]*adminv1.RouteStat, 0, len(by))
	for _, route := range slices.Sorted(maps.Keys(by)) {
		l := by[route]
		stat := &adminv1.RouteStat{Route: route, Calls: g.golden(l.who(), &l.calls), Timeouts: timeouts(&l.calls)}
		var attempts uint64
		for _, cluster := range slices.Sorted(maps.Keys(l.backends)) {
			r := l.backends[cluster]
			attempts += r.calls()
			stat.Backends = append(stat.Backends, &adminv1.BackendStat{
				Cluster: cluster, Version: version(cluster), Attempts: g.golden(l.who(), r), Timeouts: timeouts(r),
			})
		}
		if calls := l.calls.calls(); calls > 0 && attempts > calls {
			stat.Retries = float64(attempts-calls) / float64(calls)
		}
		out = append(out, stat)
	}
	return out
}

// timeouts is the share of calls whose time ran out.
func timeouts(r *record) float64 {
	n := r.calls()
	if n == 0 {
		return 0
	}
	return float64(r.counts[codes.DeadlineExceeded]) / float64(n)
}

// instances are the processes of a service; mu is held.
func (s *Server) instances(name string, f frame, now time.Time) []*adminv1.InstanceStat {
	var out []*adminv1.InstanceStat
	f.from = max(f.from, f.to-int64(shortWindow/slotTime)+1)
	var w workspace
	var one, taken, calls record
	for _, r := range s.reporters {
		if r.service != name || now.Sub(r.seen) > shortWindow {
			continue
		}
		in, made := r.in.view(&w, f.from, f.to), r.out.view(&w, f.from, f.to)
		in.sumUp(f, &one, &taken)
		made.sumUp(f, &one, &calls)
		seconds := min(f.seconds, shortWindow.Seconds())
		if whole := (time.Duration(f.to-f.from) * slotTime).Seconds(); !f.young && slotOf(r.seen) == f.to {
			seconds = whole + slotTime.Seconds()
		} else if !f.young {
			seconds = whole
		}
		stat := &adminv1.InstanceStat{
			Instance: r.key.instance, Version: r.version, Zone: r.zone, Library: r.library,
			Inbound: golden(&taken, seconds), Outbound: golden(&calls, seconds),
			Reported:    timestamppb.New(r.seen),
			Connections: r.connections[sideServer],
			Denied:      r.denied, Limited: r.limited, Shed: r.shed, Panics: r.panicking,
			Current: r.stale == 0 && r.library != "",
		}
		if r.expiry > 0 {
			stat.CertificateExpires = timestamppb.New(time.Unix(int64(r.expiry), 0))
		}
		if r.stale > 0 {
			stat.Configured = timestamppb.New(r.seen.Add(-time.Duration(min(r.stale, Window.Seconds()*1000) * float64(time.Second))))
		}
		out = append(out, stat)
	}
	slices.SortFunc(out, func(a, b *adminv1.InstanceStat) int { return cmp.Compare(a.GetInstance(), b.GetInstance()) })
	return out
}

// endpoints are those of a service, as the processes that call it see them; mu is held.
func (s *Server) endpoints(name string, now time.Time) []*adminv1.EndpointStat {
	var out []*adminv1.EndpointStat
	for _, r := range s.reporters {
		if !r.here(now) {
			continue
		}
		for k, e := range r.endpoints {
			if k.destination != name {
				continue
			}
			out = append(out, &adminv1.EndpointStat{
				Source: r.service, SourceInstance: r.key.instance, Cluster: k.cluster, Address: k.address,
				LatencyMs: 1000 * e.latency, Guess: e.guess, Open: e.open, Breaker: breaker(e.breaker),
				Ejected: e.ejected, Local: e.local, InUse: e.inUse,
			})
		}
	}
	slices.SortFunc(out, func(a, b *adminv1.EndpointStat) int {
		return cmp.Or(cmp.Compare(a.GetCluster(), b.GetCluster()), cmp.Compare(a.GetAddress(), b.GetAddress()),
			cmp.Compare(a.GetSource(), b.GetSource()), cmp.Compare(a.GetSourceInstance(), b.GetSourceInstance()))
	})
	return out
}

func breaker(value int32) string {
	switch value {
	case breakerHalfOpen:
		return "half-open"
	case breakerOpen:
		return "open"
	}
	return "closed"
}
