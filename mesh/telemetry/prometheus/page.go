package prometheus

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// A page is one answer to a scrape. What cannot be shown, of what an application's own
// Observe yields, is left out: a registry answers with an error, and nothing else, where
// one metric is wrong.
type page struct {
	collector *Collector
	snapshot  *telemetry.Snapshot
	to        chan<- prometheus.Metric
	kinds     map[string]telemetry.Kind
}

// fits reports whether a name is of this kind, which is that of the first who has it.
func (p *page) fits(name string, kind telemetry.Kind) bool {
	first, ok := p.kinds[name]
	if !ok {
		p.kinds[name] = kind
	}
	return !ok || first == kind
}

func (p *page) show(m prometheus.Metric, err error) {
	if err == nil {
		p.to <- m
	}
}

// info shows who is measured.
func (p *page) info() {
	c := &p.snapshot.Config
	zone := c.Zone
	if c.Region != "" {
		zone = c.Region + "/" + zone
	}
	desc := p.collector.desc("tulle_info", "The process, as the mesh knows it.",
		[]string{"tulle_service", "tulle_instance", "tulle_version", "tulle_zone", "tulle_library"})
	p.fits("tulle_info", telemetry.Gauge)
	p.show(prometheus.NewConstMetric(desc, prometheus.GaugeValue, 1,
		utf8(c.Service), utf8(c.Instance), utf8(c.Version), utf8(zone), utf8(c.Library)))
}

func utf8(s string) string { return strings.ToValidUTF8(s, "?") }

func (p *page) sample(s *telemetry.Sample) {
	d := telemetry.Describe(s.Name)
	name, kind, value := plain(s.Name)+suffix(d.Unit), telemetry.Gauge, prometheus.GaugeValue
	if s.Sum {
		name, kind, value = name+"_total", telemetry.Sum, prometheus.CounterValue
	}
	if !p.fits(name, kind) {
		return
	}
	labels, values := split(s.Attributes)
	desc := p.collector.desc(name, d.Text, labels)
	if s.Sum {
		p.show(prometheus.NewConstMetricWithCreatedTimestamp(desc, value, s.Value, p.snapshot.Began, values...))
		return
	}
	p.show(prometheus.NewConstMetric(desc, value, s.Value, values...))
}

func (p *page) point(h *telemetry.Point) {
	d := telemetry.Describe(h.Name)
	name := plain(h.Name) + suffix(d.Unit)
	p.fits(name, telemetry.Histogram)
	labels, values := split(h.Attributes)
	desc := p.collector.desc(name, d.Text, append(labels, "grpc_status"))
	p.show(newHistogram(desc, h, append(values, telemetry.StatusName(h.Code))))
}

// A histogram is a native one with classic buckets.
type histogram struct {
	dto.Metric
	desc *prometheus.Desc
}

func newHistogram(desc *prometheus.Desc, p *telemetry.Point, labels []string) (prometheus.Metric, error) {
	buckets := make(map[int]int64, len(p.Buckets))
	for i, n := range p.Buckets {
		if n > 0 {
			buckets[p.Offset+i+1] = int64(n) // Prometheus numbers them by their upper bound
		}
	}
	native, err := prometheus.NewConstNativeHistogram(desc, p.Count, p.Sum, buckets, nil, p.Below,
		telemetry.Scale, telemetry.Threshold, p.Began, labels...)
	if err != nil {
		return nil, err
	}
	h := &histogram{desc: desc}
	if err := native.Write(&h.Metric); err != nil {
		return nil, err
	}
	h.Histogram.Bucket = classic(p)
	return h, nil
}

// Desc implements [prometheus.Metric].
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements [prometheus.Metric].
func (h *histogram) Write(to *dto.Metric) error {
	to.Label, to.Histogram = h.Label, h.Histogram
	return nil
}

// bounds are the classic buckets' in seconds: from what a call takes within a machine to
// what people wait for.
var bounds = []float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
}

// classic counts the calls up to each bound. A bucket of the point is counted whole, by its
// middle: so a bound is off by 1.1 % at most.
func classic(p *telemetry.Point) []*dto.Bucket {
	all := make([]*dto.Bucket, 0, len(bounds))
	n, next := p.Below, 0
	for _, bound := range bounds {
		for ; next < len(p.Buckets) && telemetry.Middle(p.Offset+next) <= bound; next++ {
			n += p.Buckets[next]
		}
		all = append(all, &dto.Bucket{CumulativeCount: new(n), UpperBound: new(bound)})
	}
	return all
}

// split returns the labels of attributes.
func split(attributes []telemetry.Attribute) (labels, values []string) {
	labels, values = make([]string, 0, len(attributes)+1), make([]string, 0, len(attributes)+1)
	for _, a := range attributes {
		labels, values = append(labels, plain(a.Key)), append(values, a.Value)
	}
	return labels, values
}

// plain returns a name in the letters that every Prometheus takes.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		default:
			return '_'
		}
	}, name)
}

// suffix is what a name ends with for its unit.
func suffix(unit string) string {
	if unit == "s" {
		return "_seconds"
	}
	return ""
}
