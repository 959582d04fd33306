package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

const (
	// exportMethod is OTLP's.
	exportMethod = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
	// floodMemory is what xdsserver may have had in memory at most, in bytes.
	floodMemory = 300 << 20
	// floodBytes is how much is sent, floodTime for how long at most.
	floodBytes = 1 << 30
	floodTime  = 90 * time.Second
)

// A liar is a member of the mesh that reports whatever it likes.
type liar struct {
	conn *grpc.ClientConn
	// wire is how many bytes went to xdsserver: of a report that is refused at once
	// there is more at its sender than that.
	wire *atomic.Int64
}

func (s *server) liar(t *testing.T, service string) *liar {
	t.Helper()
	wire := new(atomic.Int64)
	conn, err := grpc.NewClient(s.mesh, grpc.WithTransportCredentials(s.credentials(t, service)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			return meter{c, wire}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &liar{conn, wire}
}

// A meter counts what is written.
type meter struct {
	net.Conn
	written *atomic.Int64
}

func (m meter) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.written.Add(int64(n))
	return n, err
}

// tell sends bytes as a report and returns the answer, which says what was refused.
func (l *liar) tell(ctx context.Context, report []byte, opts ...grpc.CallOption) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var message, answer emptypb.Empty
	message.ProtoReflect().SetUnknown(report)
	err := l.conn.Invoke(ctx, exportMethod, &message, &answer, opts...)
	return string(answer.ProtoReflect().GetUnknown()), err
}

// attributes are key, value, key, value.
func attributes(texts ...string) (out []*commonpb.KeyValue) {
	for i := 0; i < len(texts); i += 2 {
		out = append(out, &commonpb.KeyValue{Key: texts[i], Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: texts[i+1]}}})
	}
	return out
}

// lie is a report of a process with one metric.
func lie(t *testing.T, instance string, m *metricspb.Metric) []byte {
	t.Helper()
	b, err := proto.Marshal(&metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource:     &resourcepb.Resource{Attributes: attributes("service.instance.id", instance, "telemetry.sdk.name", "tulle")},
		ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{m}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// durations are calls that took a second, one for each set of attributes. They began after
// xdsserver did, or else it would take them for old.
func durations(name string, sets ...[]*commonpb.KeyValue) *metricspb.Metric {
	now := uint64(time.Now().UnixNano())
	h := &metricspb.ExponentialHistogram{AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}
	for _, set := range sets {
		h.DataPoints = append(h.DataPoints, &metricspb.ExponentialHistogramDataPoint{
			Attributes: set, StartTimeUnixNano: now - 1e6, TimeUnixNano: now, Count: 1, Sum: proto.Float64(1), Scale: 5,
			Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: -1, BucketCounts: []uint64{1}},
		})
	}
	return &metricspb.Metric{Name: name, Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: h}}
}

// number is one of value, a state or a sum.
func number(name string, value float64, state bool, set []*commonpb.KeyValue) *metricspb.Metric {
	now := uint64(time.Now().UnixNano())
	points := []*metricspb.NumberDataPoint{{
		Attributes: set, StartTimeUnixNano: now - 1e6, TimeUnixNano: now, Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: value},
	}}
	if state {
		return &metricspb.Metric{Name: name, Data: &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: points}}}
	}
	return &metricspb.Metric{Name: name, Data: &metricspb.Metric_Sum{Sum: &metricspb.Sum{
		DataPoints: points, IsMonotonic: true, AggregationTemporality: metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
	}}}
}

// explode reports 100,000 methods and as many labels that mean nothing.
func (l *liar) explode(t *testing.T) {
	t.Helper()
	const reports, each = 25, 4_000
	for i := range reports {
		sets := make([][]*commonpb.KeyValue, each)
		for j := range sets {
			n := i*each + j
			sets[j] = attributes("grpc.method", fmt.Sprintf("/v.V/M%d", n), "tulle.source", "spiffe://tulle.local/ns/default/svc/web",
				"grpc.status", "INTERNAL", fmt.Sprintf("label-%d", n), "x")
		}
		if _, err := l.tell(t.Context(), lie(t, fmt.Sprint("exploding-", i%3), durations("tulle.server.call.duration", sets...))); err != nil {
			t.Errorf("labels without end: %v", err)
		}
	}
}

// hostileTexts are names that break pages, terminals and formats.
var hostileTexts = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "\x1b[2J\x1b]0;owned\a", "a\x00b", "line\nbreak", "tulle_fake_total{x=\"1\"} 1\n",
	"\u202egnp.exe", "../../etc/passwd", "voting\u200b", strings.Repeat("long", 2_000), "%s%n", "{{.}}", "\x7f", "\u2028",
}

// What may be shown of what a member says, and the labels of metrics that name services.
var (
	serviceName  = regexp.MustCompile(`^[A-Za-z0-9._:-]*$`)
	methodName   = regexp.MustCompile(`^[A-Za-z0-9._:/@%~+-]*$`)
	serviceLabel = regexp.MustCompile(`[{,](source|destination|service)="((?:[^"\\]|\\.)*)"`)
)

// confuse reports numbers that are none and names that are none. What comes of it is
// refused point by point.
func (l *liar) confuse(t *testing.T) {
	t.Helper()
	to := attributes("tulle.destination", "voting", "tulle.cluster", "voting", "tulle.endpoint", "127.0.0.1:9", "tulle.local", "true")
	// This one is well-formed, and shows that reports of this liar are looked at.
	reports := [][]byte{lie(t, "plausible", durations("tulle.client.call.duration", attributes("tulle.destination", "nowhere", "grpc.method", "/n/N", "grpc.status", "OK")))}
	for i, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64} {
		for _, name := range []string{"tulle.client.endpoint.latency", "tulle.connections", "tulle.identity.expiry", "tulle.control.stale"} {
			reports = append(reports, lie(t, fmt.Sprint("state-", i), number(name, v, true, to)))
		}
		for _, name := range []string{"tulle.client.retries", "tulle.client.refused", "tulle.control.nacks"} {
			reports = append(reports, lie(t, fmt.Sprint("sum-", i), number(name, v, false, to)))
		}
		strange := durations("tulle.client.call.duration", to)
		strange.GetExponentialHistogram().DataPoints[0].Sum = &v
		strange.GetExponentialHistogram().DataPoints[0].Positive.Offset = math.MaxInt32
		reports = append(reports, lie(t, fmt.Sprint("sum-", i), strange))
	}
	for i, text := range hostileTexts {
		text = strings.ToValidUTF8(text, "")
		for _, m := range []*metricspb.Metric{
			durations("tulle.client.call.duration", attributes("tulle.destination", text, "grpc.method", text, "tulle.route", text, "grpc.status", text)),
			durations("tulle.server.call.duration", attributes("tulle.source", text, "grpc.method", text, "tulle.security", text)),
			number("tulle.client.endpoint.open", 1, true, attributes("tulle.destination", text, "tulle.cluster", text, "tulle.endpoint", text)),
			number("tulle.client.endpoint.breaker", 2, true, attributes("tulle.destination", text, "tulle.cluster", "voting", "tulle.endpoint", "127.0.0.1:9")),
			durations("tulle.client.call.duration", attributes("tulle.destination", text, "grpc.method", "/v.V/Vote", "grpc.status", "OK")),
			number("tulle.server.access", 1, false, attributes("tulle.source", text, "tulle.address", text, "grpc.method", text, "tulle.verdict", text, "tulle.policy", text)),
			number(text, 1, true, attributes(text, text)),
		} {
			reports = append(reports, lie(t, fmt.Sprint(text, i), m))
			reports = append(reports, lie(t, fmt.Sprint("named-", i), m))
		}
	}
	for _, report := range reports {
		if _, err := l.tell(t.Context(), report); err != nil && status.Code(err) != codes.InvalidArgument && status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a report that makes no sense: %v", err)
		}
	}
}

// flood sends reports as fast as they are taken, and returns how many bytes went over
// the wire, how many reports were taken and how many refused.
func (l *liar) flood(t *testing.T) (sent, taken, refused int64) {
	t.Helper()
	var yes, no atomic.Int64
	before := l.wire.Load()
	lasts := floodTime
	if raced {
		lasts /= 4 // the detector of races sends slowly: this is for what it finds
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var wait sync.WaitGroup
	for i := range 8 {
		sets := make([][]*commonpb.KeyValue, 900)
		for j := range sets {
			sets[j] = attributes("grpc.method", fmt.Sprintf("/flood.F%d/%d%s", i, j, strings.Repeat("x", 3_900)), "grpc.status", "OK")
		}
		report := lie(t, fmt.Sprint("flood-", i), durations("tulle.server.call.duration", sets...))
		wait.Go(func() {
			for ctx.Err() == nil && l.wire.Load()-before < floodBytes {
				_, err := l.tell(ctx, report)
				switch status.Code(err) {
				case codes.OK:
					yes.Add(1)
				case codes.ResourceExhausted:
					no.Add(1)
				default:
					// At the end calls are cut, a little before ctx says so.
					if end, _ := ctx.Deadline(); time.Until(end) > time.Second {
						t.Errorf("a flood is answered with %v, want RESOURCE_EXHAUSTED", err)
					}
					return
				}
			}
		})
	}
	wait.Wait()
	return l.wire.Load() - before, yes.Load(), no.Load()
}

// peak is the most memory that a process has had so far, in bytes; zero where the system
// does not say.
func (p *process) peak(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	return 0
}

// page reads what is served to Prometheus.
func page(t *testing.T, address string) string {
	t.Helper()
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %s, %v: %.300s", answer.Status, err, b)
	}
	return string(b)
}

// metricOf adds up the samples of a metric.
func metricOf(page, name string) (total float64) {
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name); ok && (strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, " ")) {
			fields := strings.Fields(line)
			v, _ := strconv.ParseFloat(fields[len(fields)-1], 64)
			total += v
		}
	}
	return total
}

// A member that reports labels without end, numbers that are none, names that are none,
// bombs and a gigabyte of it is refused what is too much, and what is said of others is as
// right as before.
func TestHostileTelemetryHarmsNobodyElse(t *testing.T) {
	prometheus := freePort(t)
	s := startServer(t, "--metrics-listen", prometheus)
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 1)
	m, err := mesh.Join(t.Context(), mesh.Config{Service: "web", Server: s.target(), StateDir: mesh.NoState})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := m.NewClient("mesh:///voting")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	var good book
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { good.keep(ctx, conn, 50) })
	quiet := s.peak(t)

	liar := s.liar(t, "hostile")
	liar.explode(t)
	liar.confuse(t)
	bomb := make([]byte, 256<<20) // a thousandth of it on the wire
	if raced {
		bomb = bomb[:16<<20] // the detector of races packs slowly: the rest would not be sent within a call's time
	}
	if _, err := liar.tell(t.Context(), bomb, grpc.UseCompressor(gzip.Name)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a bomb: %v, want RESOURCE_EXHAUSTED", err)
	}
	if _, err := liar.tell(t.Context(), bomb[:5<<20]); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("an oversized report: %v, want RESOURCE_EXHAUSTED", err)
	}
	began := time.Now()
	sent, taken, refused := liar.flood(t)
	took := time.Since(began)
	if refused == 0 {
		t.Errorf("%d reports were refused of %d MB, this tests nothing", refused, sent>>20)
	}

	cancel()
	wait.Wait()
	conn.Close()
	if err := m.Close(); err != nil { // reports what is left
		t.Fatal(err)
	}
	want := uint64(len(good.took)) + 1
	var graph *adminv1.GetGraphResponse
	var edge *adminv1.EdgeStat
	var voting *adminv1.ServiceStat
	eventually(t, 15*time.Second, "xdsserver knows of all calls of others", func(ctx context.Context) bool {
		graph, err = s.api.GetGraph(ctx, &adminv1.GetGraphRequest{Window: durationpb.New(10 * time.Minute)})
		for _, e := range graph.GetEdges() {
			if e.GetSource() == "web" && e.GetDestination() == "voting" {
				edge = e
			}
		}
		for _, v := range graph.GetServices() {
			if v.GetService() == "voting" {
				voting = v
			}
		}
		return edge.GetCalls().GetCalls() >= want && voting.GetInbound().GetCalls() >= want
	})
	if edge.GetCalls().GetCalls() != want || edge.GetCalls().GetFailures() != uint64(good.failed) || good.failed > 0 {
		t.Errorf("web made %d calls, of which %d failed; xdsserver knows of %v", want, good.failed, edge.GetCalls())
	}
	if got := voting.GetInbound(); got.GetCalls() != want || got.GetFailures() != 0 {
		t.Errorf("voting took %d calls, xdsserver knows of %v", want, got)
	}
	shown := func(what, text string) {
		t.Helper()
		if !serviceName.MatchString(text) {
			t.Errorf("%s %.80q is no name", what, text)
		}
	}
	lies := false
	for _, v := range graph.GetServices() {
		shown("service", v.GetService())
	}
	for _, e := range graph.GetEdges() {
		shown("source", e.GetSource())
		shown("destination", e.GetDestination())
		lies = lies || e.GetSource() == "hostile" && e.GetDestination() == "nowhere"
	}
	if !lies {
		t.Error("nothing of what was made up has come, this tests nothing")
	}
	details, err := s.api.GetServiceStats(t.Context(), &adminv1.GetServiceStatsRequest{Service: "hostile"})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range details.GetMethods() {
		if !methodName.MatchString(m.GetMethod()) {
			t.Errorf("method %.80q is no name", m.GetMethod())
		}
	}
	if all := details.String(); strings.ContainsAny(all, "<>`") || strings.ContainsFunc(all, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("what was made up of a service could break a page or move a cursor: %.300q", all)
	}
	if n := len(details.GetMethods()); n > 5_000 {
		t.Errorf("%d methods are kept apart", n)
	}

	answer, err := s.api.GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	scraped := page(t, prometheus)
	if n := metricOf(scraped, "tulle_telemetry_limited_reports_total"); n < float64(refused) {
		t.Errorf("%d reports were refused, %v are counted", refused, n)
	}
	if answer.GetTelemetry().GetRefused() == 0 || answer.GetTelemetry().GetFolded() == 0 || metricOf(scraped, "tulle_telemetry_refused_points_total") == 0 {
		t.Errorf("nobody is told: %v", answer.GetTelemetry())
	}
	for _, bad := range []string{"NaN", " +Inf\n", " -Inf\n", "\ntulle_fake_total", "<script>", "onerror", "{{.}}", "%n"} {
		if strings.Contains(scraped, bad) {
			t.Errorf("the metrics hold %q", bad)
		}
	}
	for _, label := range serviceLabel.FindAllStringSubmatch(scraped, -1) {
		shown("label "+label[1], label[2])
	}
	if n := metricOf(scraped, `tulle_telemetry_refused_points_total{reason="text"}`); n == 0 {
		t.Error("no point is counted as refused for its text")
	}
	if code, out := s.run(t, "stat"); code != 0 || !strings.Contains(out, "voting") {
		t.Errorf("stat: exit code %d: %s", code, out)
	}
	peak := s.peak(t)
	if !raced && peak > floodMemory {
		t.Errorf("xdsserver took %d MiB, want at most %d", peak>>20, floodMemory>>20)
	}
	t.Logf("%d MiB in %v, %d reports taken, %d refused; %d MiB at most, %d before; %d calls of others; %v",
		sent>>20, took.Round(time.Millisecond), taken, refused, peak>>20, quiet>>20, want, answer.GetTelemetry())
}
