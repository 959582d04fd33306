package otel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// busy returns instruments that have counted something of each kind.
func busy() *telemetry.Instruments {
	in := telemetry.New(telemetry.Config{Service: "web.shop", Instance: "a1", Version: "v2", Region: "eu", Zone: "north", Library: "1.2.3"})
	for i := range 100 {
		in.ClientCall(telemetry.ClientKey{Service: "voting", Route: "canary", Method: "/v.V/Vote"}).
			Record(codes.OK, time.Duration(i+1)*time.Millisecond)
	}
	in.ClientAttempt(telemetry.AttemptKey{
		Service: "voting", Route: "canary", Method: "/v.V/Vote", Cluster: "voting/v2", Local: true,
	}).Record(codes.Unavailable, time.Microsecond)
	in.ServerCall(telemetry.ServerKey{Caller: "spiffe://a/\xff", Method: "/w.W/Get", Security: telemetry.Plaintext}).
		Record(codes.OK, time.Second)
	in.Observe(func(yield func(telemetry.Sample)) {
		to := []telemetry.Attribute{{Key: "tulle.destination", Value: "voting"}}
		yield(telemetry.Sample{Name: "tulle.client.retries", Sum: true, Value: 3, Attributes: to})
		yield(telemetry.Sample{Name: "tulle.streams", Value: 2, Attributes: []telemetry.Attribute{{Key: "tulle.side", Value: "client"}}})
		yield(telemetry.Sample{Name: "tulle.streams", Value: 1, Attributes: []telemetry.Attribute{{Key: "tulle.side", Value: "server"}}})
		yield(telemetry.Sample{Name: "shop.cups", Value: 4})
	})
	return in
}

// lines returns what a reader collects, a line a point.
func lines(t *testing.T, r *metric.ManualReader) []string {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var lines []string
	add := func(m metricdata.Metrics, kind string, set attribute.Set, value any) {
		line := fmt.Sprintf("%s %s %v %s", kind, m.Name, value, m.Unit)
		for _, a := range set.ToSlice() {
			line += fmt.Sprintf(" %s=%s", a.Key, a.Value.AsString())
		}
		lines = append(lines, line)
	}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != scopeName || scope.Scope.Version != "1.2.3" {
			t.Errorf("the scope is %+v", scope.Scope)
		}
		for _, m := range scope.Metrics {
			if m.Description == "" && strings.HasPrefix(m.Name, "tulle.") {
				t.Errorf("%s has no description", m.Name)
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[float64]:
				for _, p := range data.DataPoints {
					add(m, "sum", p.Attributes, p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					add(m, "gauge", p.Attributes, p.Value)
				}
			case metricdata.ExponentialHistogram[float64]:
				for _, p := range data.DataPoints {
					n := p.ZeroCount
					for _, c := range p.PositiveBucket.Counts {
						n += c
					}
					if n != p.Count || p.StartTime.IsZero() || p.Time.Before(p.StartTime) {
						t.Errorf("%s: %+v", m.Name, p)
					}
					add(m, "histogram", p.Attributes, fmt.Sprintf("%d/%.3g", p.Count, p.Sum))
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	slices.SortFunc(lines, cmp.Compare[string])
	return lines
}

func TestReadersGetTheMeshsMetrics(t *testing.T) {
	r := metric.NewManualReader(metric.WithProducer(Producer(busy())))
	provider := metric.NewMeterProvider(metric.WithReader(r))
	t.Cleanup(func() { provider.Shutdown(t.Context()) })
	want := []string{
		"gauge shop.cups 4 ",
		"gauge tulle.streams 1 {call} tulle.side=server",
		"gauge tulle.streams 2 {call} tulle.side=client",
		"histogram grpc.client.attempt.duration 1/1e-06 s grpc.lb.backend_service=voting/v2 grpc.method=/v.V/Vote grpc.status=UNAVAILABLE grpc.target=mesh:///voting",
		"histogram grpc.client.call.duration 100/5.05 s grpc.method=/v.V/Vote grpc.status=OK grpc.target=mesh:///voting",
		"histogram grpc.server.call.duration 1/1 s grpc.method=/w.W/Get grpc.status=OK",
		"histogram tulle.client.attempt.duration 1/1e-06 s grpc.method=/v.V/Vote grpc.status=UNAVAILABLE tulle.cluster=voting/v2 tulle.destination=voting tulle.local=true tulle.route=canary tulle.security=mtls",
		"histogram tulle.client.call.duration 100/5.05 s grpc.method=/v.V/Vote grpc.status=OK tulle.destination=voting tulle.route=canary",
		"histogram tulle.server.call.duration 1/1 s grpc.method=/w.W/Get grpc.status=OK tulle.security=plaintext tulle.source=spiffe://a/?",
		"sum tulle.client.retries 3 {attempt} tulle.destination=voting",
	}
	if diff := gocmp.Diff(want, lines(t, r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestANameThatIsASumAndAGaugeStaysWhatItWasFirst(t *testing.T) {
	in := telemetry.New(telemetry.Config{Library: "1.2.3"})
	in.Observe(func(yield func(telemetry.Sample)) {
		yield(telemetry.Sample{Name: "a", Sum: true, Value: 1})
		yield(telemetry.Sample{Name: "a", Value: 2, Attributes: []telemetry.Attribute{{Key: "k", Value: "v"}}})
	})
	r := metric.NewManualReader(metric.WithProducer(Producer(in)))
	provider := metric.NewMeterProvider(metric.WithReader(r))
	t.Cleanup(func() { provider.Shutdown(t.Context()) })
	if diff := gocmp.Diff([]string{"sum a 1 "}, lines(t, r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheAPIAloneGetsCounts(t *testing.T) {
	r := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(r))
	t.Cleanup(func() { provider.Shutdown(t.Context()) })
	registration, err := Register(provider, busy())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"gauge tulle.streams 1 {call} tulle.side=server",
		"gauge tulle.streams 2 {call} tulle.side=client",
		"sum grpc.client.call.duration.count 100 {call} grpc.method=/v.V/Vote grpc.status=OK grpc.target=mesh:///voting",
		"sum grpc.server.call.duration.count 1 {call} grpc.method=/w.W/Get grpc.status=OK",
		"sum grpc.server.call.duration.sum 1 s grpc.method=/w.W/Get grpc.status=OK",
		"sum tulle.client.call.duration.count 100 {call} grpc.method=/v.V/Vote grpc.status=OK tulle.destination=voting tulle.route=canary",
		"sum tulle.client.retries 3 {attempt} tulle.destination=voting",
		"sum tulle.server.call.duration.sum 1 s grpc.method=/w.W/Get grpc.status=OK tulle.security=plaintext tulle.source=spiffe://a/?",
	}
	var got []string
	for _, l := range lines(t, r) {
		if !strings.Contains(l, "attempt.duration") && !strings.Contains(l, "client.call.duration.sum") &&
			!strings.Contains(l, "tulle.server.call.duration.count") {
			got = append(got, l)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	if left := lines(t, r); len(left) > 0 {
		t.Errorf("after Unregister there is %q", left)
	}
}
