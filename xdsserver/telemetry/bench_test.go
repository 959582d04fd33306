package telemetry

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// typical makes the reports of a process of a mesh: it has two callers and calls two
// services, each by some methods, ten times a second: twelve series of calls, and its
// state. Names have three digits to be replaced.
type typical struct {
	series [][]string
	counts []map[int]uint64
	start  time.Time
	random *rand.Rand
}

func newTypical(start time.Time, seed uint64) *typical {
	p := &typical{start: start, random: rand.New(rand.NewPCG(seed, 2))}
	for _, from := range []string{"a", "b"} {
		for _, method := range []string{"Get", "Put"} {
			p.series = append(p.series, []string{
				"tulle.server.call.duration", "tulle.source", "spiffe://tulle.local/ns/default/svc/" + from + "@00",
				"grpc.method", "/package.v1.Service/" + method, "grpc.status", "OK", "tulle.security", "mtls",
			})
		}
	}
	for _, to := range []string{"c", "d"} {
		for _, method := range []string{"Get", "Put"} {
			p.series = append(p.series,
				[]string{
					"tulle.client.call.duration", "tulle.destination", to + "@00", "tulle.route", "default/route",
					"grpc.method", "/package.v1.Service/" + method, "grpc.status", "OK",
				},
				[]string{
					"tulle.client.attempt.duration", "tulle.destination", to + "@00", "tulle.route", "default/route",
					"grpc.method", "/package.v1.Service/" + method, "grpc.status", "OK",
					"tulle.cluster", to + "@00/v1", "tulle.local", "true", "tulle.security", "mtls",
				})
		}
	}
	for range p.series {
		p.counts = append(p.counts, map[int]uint64{})
	}
	return p
}

// report is what it tells after five more seconds.
func (p *typical) report(now time.Time) []byte {
	metrics := map[string]*metricspb.ExponentialHistogram{}
	data := one(&metricspb.Metric{Name: "tulle.connections", Data: &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{
		DataPoints: []*metricspb.NumberDataPoint{{Attributes: pairs("tulle.side", "server"), Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: 4}}},
	}}})
	scope := data.ResourceMetrics[0].ScopeMetrics[0]
	data.ResourceMetrics[0].Resource.Attributes[0] = pairs("service.instance.id", "i-@i")[0]
	for i, s := range p.series {
		for range 50 {
			took := 0.005 * math.Exp(0.5*p.random.NormFloat64())
			p.counts[i][int(bucketOf(took))]++
		}
		point := &metricspb.ExponentialHistogramDataPoint{
			Attributes: pairs(s[1:]...), StartTimeUnixNano: uint64(p.start.UnixNano()), TimeUnixNano: uint64(now.UnixNano()), Scale: scale, Sum: new(1.0),
		}
		low, high := math.MaxInt, math.MinInt
		for b, n := range p.counts[i] {
			low, high = min(low, b), max(high, b)
			point.Count += n
		}
		b := &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: int32(low), BucketCounts: make([]uint64, high-low+1)}
		for at, n := range p.counts[i] {
			b.BucketCounts[at-low] = n
		}
		point.Positive = b
		h := metrics[s[0]]
		if h == nil {
			h = &metricspb.ExponentialHistogram{AggregationTemporality: cumulative}
			metrics[s[0]] = h
			scope.Metrics = append(scope.Metrics, &metricspb.Metric{Name: s[0], Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: h}})
		}
		h.DataPoints = append(h.DataPoints, point)
	}
	return encoded(data)
}

// of is a report as of one service and one of its instances.
func of(report []byte, service, instance int) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(report, []byte("@00"), fmt.Appendf(nil, "%03d", service)), []byte("@i"), fmt.Appendf(nil, "%02d", instance))
}

func BenchmarkReport(b *testing.B) {
	s := New(Config{Identify: identify, Logger: quiet})
	now := time.Now()
	p := newTypical(now, 1)
	messages := make([][]byte, 200)
	for i := range messages {
		now = now.Add(slotTime)
		messages[i] = of(p.report(now), 1, 1)
	}
	b.SetBytes(int64(len(messages[0])))
	b.ReportAllocs()
	r := new(report)
	i := 0
	for b.Loop() {
		r.reset()
		if err := r.read(messages[i%len(messages)]); err != nil {
			b.Fatal(err)
		}
		now = now.Add(slotTime)
		s.take("s001", idOf("s001"), "", r, now)
		i++
	}
}

// An hour of a mesh, by hand: 2,000 instances of 500 services, twelve series each, are
// what the house was designed for. It takes a minute; -short makes it a twentieth.
func BenchmarkHour(b *testing.B) {
	services, instances := 500, 4
	if testing.Short() {
		services = 25
	}
	for b.Loop() {
		s := New(Config{Identify: identify, Logger: quiet})
		d, err := openDisk(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		now := time.Now()
		s.since = now
		processes := make([]*typical, instances)
		for i := range processes {
			processes[i] = newTypical(now, uint64(i))
		}
		r := new(report)
		before := heap()
		var took time.Duration
		n := 0
		for range 12 * chunkSlots {
			now = now.Add(slotTime)
			templates := make([][]byte, instances)
			for i, p := range processes {
				templates[i] = p.report(now)
			}
			for service := range services {
				name := fmt.Sprintf("s%03d", service)
				id := idOf(name)
				for instance := range instances {
					message := of(templates[instance], service, instance)
					begun := cpu()
					r.reset()
					if err := r.read(message); err != nil {
						b.Fatal(err)
					}
					s.take(name, id, "", r, now)
					took += cpu() - begun
					n++
				}
			}
		}
		kept := heap() - before
		begun := cpu()
		s.Graph(time.Minute, now)
		minute := cpu() - begun
		begun = cpu()
		s.Graph(time.Hour, now)
		hour := cpu() - begun
		begun = cpu()
		s.Service("c001", time.Hour, now)
		service := cpu() - begun
		s.disk = d
		begun = cpu()
		s.window.now = slotOf(now)
		files, state := s.encode(now, false)
		saving := cpu() - begun
		size := len(state)
		for _, f := range files {
			size += len(f)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(took.Microseconds())/float64(n), "cpu-us/report")
		b.ReportMetric(100*took.Seconds()/3600, "%-of-a-core")
		b.ReportMetric(float64(kept)/(1<<20), "heap-MB")
		b.ReportMetric(float64(s.window.total.bytes)/(1<<20), "window-MB")
		b.ReportMetric(float64(kept)/float64(services*instances*len(processes[0].series)), "B/series-hour")
		b.ReportMetric(float64(len(s.window.lines)), "lines")
		b.ReportMetric(float64(s.window.evicted), "evicted")
		b.ReportMetric(float64(minute.Milliseconds()), "graph-minute-ms")
		b.ReportMetric(float64(hour.Milliseconds()), "graph-hour-ms")
		b.ReportMetric(float64(service.Milliseconds()), "service-hour-ms")
		b.ReportMetric(float64(saving.Milliseconds()), "save-all-ms")
		b.ReportMetric(float64(len(state))/(1<<20), "state-MB")
		b.ReportMetric(float64(size)/(1<<20), "disk-MB")
	}
}

// cpu is the time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
