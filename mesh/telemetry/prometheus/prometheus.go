// Package prometheus shows what the mesh measures to Prometheus, on the page of metrics that
// the application has:
//
//	m, err := mesh.Join(ctx, mesh.Config{Service: "web"})
//	...
//	registry.MustRegister(prometheus.NewCollector(m.Telemetry()))
//
// Names are those that OpenTelemetry's exporter for Prometheus would give: ours, as
// tulle_client_attempt_duration_seconds, with all that the mesh tells apart, and those of
// gRFC A66, as grpc_client_attempt_duration_seconds, which dashboards for gRPC know. They
// are of the same calls: add up one of them.
//
// Histograms are native ones, in which a percentile is off by 1.1 % at most, with the
// classic buckets beside for a Prometheus that does not take those. A series that nothing
// was counted in for ten minutes is not shown any more.
//
// Where nothing scrapes the process, xdsserver has a page for all of the mesh.
package prometheus

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// A Source is what is measured: the [telemetry.Instruments] of a mesh.
type Source interface {
	Snapshot() *telemetry.Snapshot
}

var _ Source = (*telemetry.Instruments)(nil)

// A Collector shows one source. It is safe for concurrent use, and holds nothing to close.
type Collector struct {
	src Source

	mu    sync.Mutex // guards descs
	descs map[string]*prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns a Collector for a registry. A process that is in two meshes
// registers two, each with a label of its own (prometheus.WrapRegistererWith).
func NewCollector(src Source) *Collector {
	return &Collector{src: src, descs: map[string]*prometheus.Desc{}}
}

// Describe implements [prometheus.Collector]. It describes nothing: which metrics there
// are shows when there are some.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	s := c.src.Snapshot()
	p := page{collector: c, snapshot: s, to: to, kinds: map[string]telemetry.Kind{}}
	p.info()
	for _, points := range [][]telemetry.Point{s.Points, s.GRPC()} {
		for i := range points {
			p.point(&points[i])
		}
	}
	for i := range s.Samples {
		p.sample(&s.Samples[i])
	}
}

// maxDescs bounds the descriptions that are kept for the next time; the mesh has a few
// dozen.
const maxDescs = 1000

// desc returns the description of a metric with these labels.
func (c *Collector) desc(name, text string, labels []string) *prometheus.Desc {
	key := name + "\x00" + strings.Join(labels, "\x00")
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.descs[key]
	if d == nil {
		if len(c.descs) >= maxDescs {
			clear(c.descs)
		}
		d = prometheus.NewDesc(name, text, labels, nil)
		c.descs[key] = d
	}
	return d
}
