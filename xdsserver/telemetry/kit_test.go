package telemetry

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// A process reports as those of the mesh do, and remembers everything.
type process struct {
	service, instance string
	began             time.Time
	series            map[string]*told
	order             []string
}

// A told is a series of a process: its durations, or its sum or state.
type told struct {
	name       string
	attributes []string // key, value, key, value
	start      time.Time
	took       []time.Duration
	value      float64
	gauge      bool
}

func newProcess(service, instance string) *process {
	return &process{service: service, instance: instance, began: time.Now(), series: map[string]*told{}}
}

func (p *process) of(name string, attributes ...string) *told {
	k := name
	for _, a := range attributes {
		k += "\x00" + a
	}
	s := p.series[k]
	if s == nil {
		s = &told{name: name, attributes: attributes, start: time.Now()}
		p.series[k] = s
		p.order = append(p.order, k)
	}
	return s
}

// call is a call to another service that took one attempt.
func (p *process) call(to, method, code string, took time.Duration) {
	p.of("tulle.client.call.duration", "tulle.destination", to, "tulle.route", "", "grpc.method", method, "grpc.status", code).add(took)
	p.of("tulle.client.attempt.duration", "tulle.destination", to, "tulle.route", "", "grpc.method", method, "grpc.status", code,
		"tulle.cluster", to+"/v1", "tulle.local", "true", "tulle.security", "mtls").add(took)
}

func (p *process) serve(from, method, code string, took time.Duration) {
	p.of("tulle.server.call.duration", "tulle.source", from, "grpc.method", method, "grpc.status", code, "tulle.security", "mtls").add(took)
}

func (t *told) add(took time.Duration) { t.took = append(t.took, took) }

func (t *told) count(n float64) { t.value += n }

// set makes it a state.
func (t *told) set(v float64) { t.value, t.gauge = v, true }

func pairs(kv ...string) (out []*commonpb.KeyValue) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, &commonpb.KeyValue{Key: kv[i], Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: kv[i+1]}}})
	}
	return out
}

// exponentialOf is what was measured as OTLP has it, in some scale.
func exponentialOf(took []time.Duration, scale int32) *metricspb.ExponentialHistogramDataPoint {
	point := &metricspb.ExponentialHistogramDataPoint{Scale: scale, Count: uint64(len(took)), Sum: new(0.0)}
	counts := map[int]uint64{}
	low, high := math.MaxInt, math.MinInt
	for _, d := range took {
		*point.Sum += d.Seconds()
		if d <= 0 {
			point.ZeroCount++
			continue
		}
		i := int(math.Ceil(math.Log2(d.Seconds())*math.Exp2(float64(scale)))) - 1
		counts[i]++
		low, high = min(low, i), max(high, i)
	}
	if len(counts) > 0 {
		b := &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: int32(low), BucketCounts: make([]uint64, high-low+1)}
		for i, n := range counts {
			b.BucketCounts[i-low] = n
		}
		point.Positive = b
	}
	return point
}

// message is all that the process tells now.
func (p *process) message() []byte { return encoded(p.data()) }

func encoded(data *metricspb.MetricsData) []byte {
	b, err := proto.Marshal(data)
	if err != nil {
		panic(err)
	}
	return b
}

func (p *process) data() *metricspb.MetricsData {
	now := uint64(time.Now().UnixNano())
	var metrics []*metricspb.Metric
	for _, k := range p.order {
		s := p.series[k]
		start := uint64(s.start.UnixNano())
		m := &metricspb.Metric{Name: s.name}
		number := &metricspb.NumberDataPoint{
			Attributes: pairs(s.attributes...), StartTimeUnixNano: start, TimeUnixNano: now,
			Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: s.value},
		}
		switch {
		case s.took != nil:
			point := exponentialOf(s.took, scale)
			point.Attributes, point.StartTimeUnixNano, point.TimeUnixNano = pairs(s.attributes...), start, now
			m.Data = &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{
				AggregationTemporality: cumulative, DataPoints: []*metricspb.ExponentialHistogramDataPoint{point},
			}}
		case s.gauge:
			m.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: []*metricspb.NumberDataPoint{number}}}
		default:
			m.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{
				AggregationTemporality: cumulative, IsMonotonic: true, DataPoints: []*metricspb.NumberDataPoint{number},
			}}
		}
		metrics = append(metrics, m)
	}
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource: &resourcepb.Resource{Attributes: pairs("service.name", "a lie", "service.instance.id", p.instance,
			"telemetry.sdk.name", "tulle", "tulle.library", "0.1.0", "service.version", "v1", "tulle.zone", "eu/eu-1")},
		ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: metrics}},
	}}}
}

type whoKey struct{}

// who is the context of a report of a service.
func who(service string) context.Context {
	return context.WithValue(context.Background(), whoKey{}, service)
}

func idOf(service string) string {
	if service == "" {
		return "spiffe://tulle.local/job"
	}
	return "spiffe://tulle.local/ns/default/svc/" + service
}

func identify(ctx context.Context) (string, string, error) {
	service, _ := ctx.Value(whoKey{}).(string)
	return service, idOf(service), nil
}

var quiet = slog.New(slog.DiscardHandler)

// open makes a server that remembers in a directory; empty does not.
func open(t testing.TB, dir string) *Server {
	t.Helper()
	s, err := Open(Config{Identify: identify, Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send hands a message to a server, and returns how many points it refused.
func send(t testing.TB, s *Server, service string, message []byte) uint64 {
	t.Helper()
	answer, err := s.export(who(service), decoderOf(message))
	if err != nil {
		t.Fatal(err)
	}
	refused, _ := refusal(t, answer)
	return refused
}

func decoderOf(message []byte) func(any) error {
	return func(to any) error { return proto.Unmarshal(message, to.(proto.Message)) }
}

// refusal reads the partial success of an answer.
func refusal(t testing.TB, answer *emptypb.Empty) (n uint64, why string) {
	t.Helper()
	for s := (scan{rest: answer.ProtoReflect().GetUnknown()}); s.next(); {
		if !s.is(1, protowire.BytesType) {
			t.Fatalf("field %d in the answer", s.num)
		}
		for in := (scan{rest: s.bytes}); in.next(); {
			switch in.num {
			case 1:
				n = in.number
			case 2:
				why = string(in.bytes)
			}
		}
	}
	return n, why
}

// exact is the smallest value that the share q does not exceed, in milliseconds.
func exact(took []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(took))
	if len(sorted) == 0 {
		return 0
	}
	rank := min(max(int(math.Ceil(q*float64(len(sorted)))), 1), len(sorted))
	return 1000 * sorted[rank-1].Seconds()
}
