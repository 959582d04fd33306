package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tulle-mesh/tulle/mesh/api"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/telemetry"
)

// openTelemetry opens what processes report to.
func (d *Daemon) openTelemetry(c Config) (err error) {
	forward := c.Forward
	if forward == "" {
		forward = forwardFrom(os.Getenv)
	}
	if forward != "" {
		if _, _, err := telemetry.ParseForward(forward); err != nil {
			return &ConfigError{Flag: "--otlp-forward", Reason: err.Error()}
		}
	}
	d.telemetry, err = telemetry.Open(telemetry.Config{
		Identify: reporter,
		Dir:      filepath.Join(c.Data, "telemetry"),
		Forward:  forward,
		Logger:   c.Logger,
	})
	return err
}

// forwardFrom is the collector that OpenTelemetry's variables name; empty where they
// name none, or one that speaks another protocol.
func forwardFrom(getenv func(string) string) string {
	for _, infix := range []string{"METRICS_", ""} {
		if p := getenv("OTEL_EXPORTER_OTLP_" + infix + "PROTOCOL"); p != "" && p != "grpc" {
			return ""
		}
		if endpoint := getenv("OTEL_EXPORTER_OTLP_" + infix + "ENDPOINT"); endpoint != "" {
			return endpoint
		}
	}
	return ""
}

// loaded counts what a stock client reports of its load.
func (d *Daemon) loaded(l serve.Load) {
	d.telemetry.Load(&telemetry.Load{Service: l.Service, ID: l.ID, Region: l.Region, Zone: l.Zone, Clusters: l.Clusters}, l.At)
}

// listenMetrics listens for Prometheus, and serves nothing else there.
func (d *Daemon) listenMetrics(c Config) error {
	if c.MetricsListen == "" {
		return nil
	}
	if _, err := isLoopback("--metrics-listen", c.MetricsListen); err != nil {
		return err
	}
	lis, err := listenTCP("--metrics-listen", c.MetricsListen)
	if err != nil {
		return err
	}
	d.metricsListener = lis
	page := d.telemetry.Metrics(
		d.own(), d.publishing,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", noPage(page))
	d.metrics = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return nil
}

// noPage refuses what a web page asks, also one that has its name resolved to this
// address (DNS rebinding): browsers say so (Fetch Metadata), and Prometheus does not.
// People who look by hand are "none".
func noPage(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" || r.Header.Get("Origin") != "" {
			http.Error(w, "metrics are for Prometheus, and not for web pages", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveMetrics serves until stopMetrics.
func (d *Daemon) serveMetrics() error {
	if d.metrics == nil {
		return nil
	}
	if err := d.metrics.Serve(d.metricsListener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// stopMetrics cuts scrapes: there will be another.
func (d *Daemon) stopMetrics() {
	if d.metrics != nil {
		_ = d.metrics.Close()
	}
}

// newPublishing makes the histogram of the times that publications take.
func newPublishing() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:                            "tulle_xdsserver_publish_duration_seconds",
		Help:                            "How long it took from a changed configuration to its resources being sent.",
		Buckets:                         prometheus.ExponentialBuckets(1.0/1024, 2, 14),
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	})
}

// own are the daemon's own numbers, looked up when they are asked for.
type own struct {
	d *Daemon

	streams, behind, rejected          *prometheus.Desc
	published, revision, problems      *prometheus.Desc
	services, endpoints                *prometheus.Desc
	authority, issuesUntil, issued, up *prometheus.Desc
}

var _ prometheus.Collector = (*own)(nil)

func (d *Daemon) own() *own {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tulle_"+name, help, labels, nil)
	}
	return &own{
		d:           d,
		streams:     desc("xdsserver_streams", "Open ADS streams.", "protocol"),
		behind:      desc("xdsserver_streams_behind", "Open ADS streams that have not everything, or refuse some of it."),
		rejected:    desc("xdsserver_rejections", "Resources that clients refuse (NACK)."),
		published:   desc("xdsserver_published_timestamp_seconds", "When the configuration was last published, in seconds since 1970."),
		revision:    desc("xdsserver_revision", "Number of the configuration that is served."),
		problems:    desc("xdsserver_config_problems", "Problems of the configuration, as 'xdsserver check' has them."),
		services:    desc("xdsserver_services", "Services that are served."),
		endpoints:   desc("xdsserver_endpoints", "Endpoints that are served."),
		authority:   desc("ca_expiry_timestamp_seconds", "When a certificate of the authority expires, the active one, in seconds since 1970.", "kind"),
		issuesUntil: desc("ca_issues_until_timestamp_seconds", "When issuing ends unless an operator does something; zero when it need not."),
		issued:      desc("ca_issued_total", "Certificates issued since the start."),
		up:          desc("xdsserver_info", "One, with the version.", "version"),
	}
}

// Describe implements prometheus.Collector.
func (o *own) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		o.streams, o.behind, o.rejected, o.published, o.revision, o.problems, o.services, o.endpoints,
		o.authority, o.issuesUntil, o.issued, o.up,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (o *own) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ledger := o.d.server.Ledger()
	var delta, world, behind int
	for _, s := range ledger.Streams {
		if s.Delta {
			delta++
		} else {
			world++
		}
		if !s.Current {
			behind++
		}
	}
	gauge(o.streams, float64(delta), "delta")
	gauge(o.streams, float64(world), "sotw")
	gauge(o.behind, float64(behind))
	gauge(o.rejected, float64(len(ledger.Rejections)))
	if p := o.d.published.Load(); p != nil {
		n := 0
		for _, endpoints := range p.Set.Endpoints {
			n += len(endpoints)
		}
		gauge(o.published, float64(p.Snapshot.Built.UnixMilli())/1000)
		gauge(o.revision, float64(p.Snapshot.Revision))
		gauge(o.problems, float64(len(p.Problems)))
		gauge(o.services, float64(len(p.Set.Services)))
		gauge(o.endpoints, float64(n))
	}
	status := o.d.authority.Status()
	if len(status.Roots) > 0 {
		gauge(o.authority, float64(status.Roots[0].NotAfter.Unix()), "root")
	}
	if len(status.Intermediates) > 0 {
		gauge(o.authority, float64(status.Intermediates[0].NotAfter.Unix()), "intermediate")
	}
	until := 0.0
	if !status.IssuesUntil.IsZero() {
		until = float64(status.IssuesUntil.Unix())
	}
	gauge(o.issuesUntil, until)
	to <- prometheus.MustNewConstMetric(o.issued, prometheus.CounterValue, float64(status.Issued))
	gauge(o.up, 1, api.Version)
}
