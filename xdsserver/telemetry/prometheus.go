package telemetry

import (
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

const (
	// scrapes is how many pages are made at a time, scrapeWithin how long one may take.
	scrapes      = 2
	scrapeWithin = 10 * time.Second
)

// classicBounds are the upper bounds, in seconds, of the buckets of those who do not
// scrape native histograms. Each is a power of two: an edge of the buckets that are
// kept, so that their counts are exact.
var classicBounds = func() []float64 {
	var b []float64
	for e := -11; e <= 6; e++ { // from 0.5 ms to 64 s
		b = append(b, math.Exp2(float64(e)))
	}
	return b
}()

// Metrics serves what is known to Prometheus: the golden metrics of the mesh since
// this server started, by service and by edge, this server's own numbers, and those of
// others. The page says which services there are and who calls whom: let those see it
// who may know.
func (s *Server) Metrics(others ...prometheus.Collector) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.collector())
	registry.MustRegister(others...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapes,
		Timeout:             scrapeWithin,
		EnableOpenMetrics:   true,
	})
}

// A family of metrics that are alike on both sides.
type descs struct{ calls, duration *prometheus.Desc }

// A collector makes a page of what its server knows when it is asked.
type collector struct {
	server   *Server
	families map[family]descs
	counts   map[int]*prometheus.Desc

	reports, points, refused, ignored, limited *prometheus.Desc
	folded, evicted, processes, lines, bytes   *prometheus.Desc
	meshed, connections, breakers, ejected     *prometheus.Desc
	expiry, stale, nacks                       *prometheus.Desc
	forwarded, unforwarded                     *prometheus.Desc
}

var _ prometheus.Collector = (*collector)(nil)

func (s *Server) collector() *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tulle_"+name, help, labels, nil)
	}
	return &collector{
		server: s,
		families: map[family]descs{
			familyCall: {
				desc("client_calls_total", "Calls, retries included, as their callers see them.", "source", "destination", "status"),
				desc("client_call_duration_seconds", "How long calls take their callers, retries included.", "source", "destination"),
			},
			familyAttempt: {
				desc("client_attempts_total", "Single attempts, as their callers see them.", "source", "destination", "security", "status"),
				desc("client_attempt_duration_seconds", "How long single attempts take their callers.", "source", "destination", "security"),
			},
			familyServed: {
				desc("server_calls_total", "Calls, as their servers see them.", "source", "destination", "status"),
				desc("server_call_duration_seconds", "How long calls take their servers.", "source", "destination"),
			},
			familyLoad: {
				calls: desc("stock_calls_total", "Calls of clients that are not of this library, by their load reports.", "source", "destination", "status"),
			},
		},
		counts: map[int]*prometheus.Desc{
			countRetries:       desc("client_retries_total", "Attempts after the first.", "source", "destination"),
			countHedges:        desc("client_hedges_total", "Attempts beside one that was slow.", "source", "destination"),
			countDenied:        desc("client_budget_denied_total", "Retries and hedges that the budget refused.", "source", "destination"),
			countRefused:       desc("client_refused_total", "Calls that the mesh itself refused.", "source", "destination"),
			countEjections:     desc("client_ejections_total", "Ejections of endpoints as outliers.", "source", "destination"),
			countOpened:        desc("client_breaker_opened_total", "How often the breaker of an endpoint opened.", "source", "destination"),
			countMirrored:      desc("client_mirrored_total", "Calls that were mirrored.", "source", "destination"),
			countMirrorFailed:  desc("client_mirror_failures_total", "Mirrored calls that failed.", "source", "destination"),
			countMirrorDropped: desc("client_mirror_dropped_total", "Calls that were to be mirrored, and were not.", "source", "destination"),
		},
		meshed:      desc("service_processes", "Processes that reported of late.", "service"),
		connections: desc("service_connections", "Connections that servers hold open.", "service"),
		breakers:    desc("service_breakers_open", "Endpoints that the breaker of some caller keeps calls from.", "service"),
		ejected:     desc("service_ejected", "Endpoints that some caller's outlier detection keeps calls from.", "service"),
		expiry:      desc("service_certificate_expiry_seconds", "When the first certificate of its processes expires, in seconds since 1970.", "service"),
		stale:       desc("service_config_stale_seconds", "How long the configuration of one of its processes has not been confirmed, the longest.", "service"),
		nacks:       desc("service_config_rejected", "Configurations that processes which run refused.", "service"),
		reports:     desc("telemetry_reports_total", "Reports that were taken."),
		points:      desc("telemetry_points_total", "Points of reports that were looked at."),
		refused:     desc("telemetry_refused_points_total", "Points that were refused.", "reason"),
		ignored:     desc("telemetry_ignored_points_total", "Points of metrics that are not known here."),
		limited:     desc("telemetry_limited_reports_total", "Reports that came too soon."),
		folded:      desc("telemetry_folded_total", "Series whose calls are not kept apart, for want of room."),
		evicted:     desc("telemetry_evicted_total", "Five minutes of a line that went before their time, for want of room."),
		processes:   desc("telemetry_processes", "Processes that are known."),
		lines:       desc("telemetry_lines", "Lines of calls that are alike."),
		bytes:       desc("telemetry_bytes", "Memory that what is known takes, about."),
		forwarded:   desc("telemetry_forwarded_total", "Reports that the collector took."),
		unforwarded: desc("telemetry_forward_dropped_total", "Reports that the collector did not take."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range c.families {
		to <- f.calls
		if f.duration != nil {
			to <- f.duration
		}
	}
	for _, d := range c.counts {
		to <- d
	}
	for _, d := range []*prometheus.Desc{
		c.reports, c.points, c.refused, c.ignored, c.limited, c.folded, c.evicted, c.processes, c.lines, c.bytes,
		c.meshed, c.connections, c.breakers, c.ejected, c.expiry, c.stale, c.nacks, c.forwarded, c.unforwarded,
	} {
		to <- d
	}
}

// A snapshot is what a page is made of.
type snapshot struct {
	totals []total
	states map[string]*state
	health map[string]*health
	stats  stats

	folded, evicted         uint64
	processes, lines, bytes int
}

// health is the worst of the processes of a service.
type health struct {
	expiry, stale float64
	nacks         uint64
}

// snapshot copies it, so that a slow reader holds up nobody.
func (s *Server) snapshot(now time.Time) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := &snapshot{
		states: s.states(now), health: map[string]*health{}, stats: s.stats,
		folded: s.window.folded, evicted: s.window.evicted,
		processes: len(s.reporters), lines: len(s.window.lines), bytes: s.window.total.bytes + s.reported.bytes + s.total.bytes,
	}
	for _, t := range s.totals.byKey {
		snap.totals = append(snap.totals, total{key: t.key, encoded: slices.Clone(t.encoded), seconds: t.seconds})
	}
	for _, r := range s.reporters {
		if !r.here(now) {
			continue
		}
		h := snap.health[r.service]
		if h == nil {
			h = &health{}
			snap.health[r.service] = h
		}
		if r.expiry > 0 && (h.expiry == 0 || r.expiry < h.expiry) {
			h.expiry = r.expiry
		}
		h.stale = max(h.stale, r.stale)
		h.nacks = sum(h.nacks, r.nacks)
	}
	return snap
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	snap := c.server.snapshot(time.Now())
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for i := range snap.totals {
		c.total(to, &snap.totals[i], counter)
	}
	for service, st := range snap.states {
		gauge(c.meshed, float64(st.processes), service)
		gauge(c.connections, float64(st.connections), service)
		gauge(c.breakers, float64(len(st.open)), service)
		gauge(c.ejected, float64(len(st.ejected)), service)
	}
	for service, h := range snap.health {
		if h.expiry > 0 {
			gauge(c.expiry, h.expiry, service)
		}
		gauge(c.stale, h.stale, service)
		gauge(c.nacks, float64(h.nacks), service)
	}
	counter(c.reports, snap.stats.reports)
	counter(c.points, snap.stats.points)
	for i, n := range snap.stats.refused {
		if reason(i) != reasonNone {
			counter(c.refused, n, reason(i).String())
		}
	}
	counter(c.ignored, snap.stats.ignored)
	counter(c.limited, snap.stats.limited)
	counter(c.folded, snap.folded)
	counter(c.evicted, snap.evicted)
	gauge(c.processes, float64(snap.processes))
	gauge(c.lines, float64(snap.lines))
	gauge(c.bytes, float64(snap.bytes))
	if f := c.server.forward; f != nil {
		counter(c.forwarded, f.sent.Load())
		counter(c.unforwarded, f.dropped.Load())
	}
}

// total makes the metrics of one total.
func (c *collector) total(to chan<- prometheus.Metric, t *total, counter func(*prometheus.Desc, uint64, ...string)) {
	var r record
	t.decode(&r)
	labels := []string{t.key.source, t.key.destination}
	if t.key.family == familyCount {
		for kind, d := range c.counts {
			if n := r.counts[kind]; n > 0 {
				counter(d, n, labels...)
			}
		}
		return
	}
	f := c.families[t.key.family]
	if t.key.family == familyAttempt {
		labels = append(labels, t.key.security.String())
	}
	for kind, n := range r.counts {
		if n > 0 {
			counter(f.calls, n, append(slices.Clone(labels), codeName(kind))...)
		}
	}
	if f.duration == nil || len(r.times) == 0 {
		return
	}
	h, err := newDurations(f.duration, r.times, t.seconds, labels)
	if err != nil {
		h = prometheus.NewInvalidMetric(f.duration, err)
	}
	to <- h
}

// durations is a histogram in both forms: who asks for native ones gets those.
type durations struct {
	prometheus.Metric // the native one
	classic           []*dto.Bucket
}

func newDurations(d *prometheus.Desc, times histogram, seconds float64, labels []string) (prometheus.Metric, error) {
	positive := make(map[int]int64, len(times))
	var zero uint64
	for _, b := range times {
		if b.index == zeroIndex {
			zero = b.count
			continue
		}
		// Prometheus names a bucket by its upper bound, OTLP by its lower.
		positive[int(b.index)+1] = int64(b.count)
	}
	count := times.count()
	native, err := prometheus.NewConstNativeHistogram(d, count, seconds, positive, nil, zero, scale,
		upper(zeroIndex), time.Time{}, labels...)
	if err != nil {
		return nil, err
	}
	h := &durations{Metric: native}
	var below uint64
	rest := times
	for _, bound := range classicBounds {
		for len(rest) > 0 && upper(rest[0].index) <= bound {
			below += rest[0].count
			rest = rest[1:]
		}
		h.classic = append(h.classic, &dto.Bucket{UpperBound: &bound, CumulativeCount: new(below)})
	}
	return h, nil
}

// Write implements prometheus.Metric.
func (h *durations) Write(to *dto.Metric) error {
	if err := h.Metric.Write(to); err != nil {
		return err
	}
	to.GetHistogram().Bucket = h.classic
	return nil
}
