package telemetry

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// one is a report with one metric.
func one(m *metricspb.Metric) *metricspb.MetricsData {
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource:     &resourcepb.Resource{Attributes: pairs("service.instance.id", "i", "telemetry.sdk.name", "tulle")},
		ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{m}}},
	}}}
}

// served is a report of one histogram of calls that were served, as change leaves it.
func served(change func(*metricspb.ExponentialHistogram, *metricspb.ExponentialHistogramDataPoint)) *metricspb.MetricsData {
	point := exponentialOf([]time.Duration{time.Millisecond, time.Second}, scale)
	now := uint64(time.Now().UnixNano())
	point.StartTimeUnixNano, point.TimeUnixNano = now, now
	point.Attributes = pairs("tulle.source", web, "grpc.method", "/v/Vote", "grpc.status", "OK", "tulle.security", "mtls")
	h := &metricspb.ExponentialHistogram{AggregationTemporality: cumulative, DataPoints: []*metricspb.ExponentialHistogramDataPoint{point}}
	if change != nil {
		change(h, point)
	}
	return one(&metricspb.Metric{Name: "tulle.server.call.duration", Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: h}})
}

func sumOf(name string, value float64, attributes ...string) *metricspb.MetricsData {
	now := uint64(time.Now().UnixNano())
	return one(&metricspb.Metric{Name: name, Data: &metricspb.Metric_Sum{Sum: &metricspb.Sum{
		AggregationTemporality: cumulative, IsMonotonic: true,
		DataPoints: []*metricspb.NumberDataPoint{{
			Attributes: pairs(attributes...), StartTimeUnixNano: now, TimeUnixNano: now,
			Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: value},
		}},
	}}})
}

type (
	histogramOf = metricspb.ExponentialHistogram
	pointOf     = metricspb.ExponentialHistogramDataPoint
)

func TestPointsAreRefusedWithAReason(t *testing.T) {
	access := func(kv ...string) *metricspb.MetricsData {
		return sumOf("tulle.server.access", 1, append([]string{"tulle.verdict", "allowed"}, kv...)...)
	}
	for name, test := range map[string]struct {
		data *metricspb.MetricsData
		want reason
	}{
		"a good one":            {served(nil), reasonNone},
		"one that counts only":  {sumOf("tulle.client.retries", 4, "tulle.destination", "db"), reasonNone},
		"another kind":          {sumOf("tulle.server.call.duration", 4), reasonKind},
		"deltas":                {served(func(h *histogramOf, _ *pointOf) { h.AggregationTemporality = 1 }), reasonTemporality},
		"a scale of no meaning": {served(func(_ *histogramOf, p *pointOf) { p.Scale = 21 }), reasonScale},
		"a scale below all":     {served(func(_ *histogramOf, p *pointOf) { p.Scale = -11 }), reasonScale},
		"a count that is not that of its buckets": {served(func(_ *histogramOf, p *pointOf) { p.Count++ }), reasonCount},
		"more than anybody counts": {served(func(_ *histogramOf, p *pointOf) {
			p.ZeroCount = math.MaxUint64
			p.Count = math.MaxUint64
		}), reasonCount},
		"time before zero": {served(func(_ *histogramOf, p *pointOf) {
			p.Negative = &metricspb.ExponentialHistogramDataPoint_Buckets{BucketCounts: []uint64{1}}
		}), reasonValue},
		"a sum that is no number":           {served(func(_ *histogramOf, p *pointOf) { p.Sum = new(math.NaN()) }), reasonValue},
		"a sum without end":                 {served(func(_ *histogramOf, p *pointOf) { p.Sum = new(math.Inf(1)) }), reasonValue},
		"a counter below zero":              {sumOf("tulle.client.retries", -1, "tulle.destination", "db"), reasonValue},
		"a counter that is no number":       {sumOf("tulle.client.retries", math.NaN(), "tulle.destination", "db"), reasonValue},
		"a text that moves the cursor":      {access("grpc.method", "/v/\x1b[2J"), reasonText},
		"a text that turns the line around": {access("grpc.method", "/v/Vote", "tulle.source", web+"\u202e"), reasonText},
		"a long text":                       {access("grpc.method", "/"+strings.Repeat("m", maxText)), reasonText},
		"a long name of an attribute":       {access("grpc.method", "/v/Vote", strings.Repeat("k", maxName+1), "v"), reasonText},
		"an access without a method":        {access(), reasonText},
		"a side that is none":               {sumOf("tulle.connections", 1, "tulle.side", "left"), reasonText},
		"a metric of a process that is not ours, from one that is": {
			one(&metricspb.Metric{Name: "grpc.server.call.duration", Data: &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{
				AggregationTemporality: cumulative, DataPoints: []*metricspb.HistogramDataPoint{{}},
			}}}), reasonKind,
		},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := New(Config{Identify: identify, Logger: quiet}).export(who("voting"), decoderOf(encoded(test.data)))
			if err != nil {
				t.Fatal(err)
			}
			n, why := refusal(t, answer)
			if test.want == reasonNone && (n != 0 || why != "") || test.want != reasonNone && (n != 1 || !strings.Contains(why, test.want.advice())) {
				t.Errorf("%d refused: %q, want %q", n, why, test.want.advice())
			}
		})
	}
}

func TestAReportIsOfWhoIsIdentified(t *testing.T) {
	s := open(t, "")
	send(t, s, "emoji", encoded(served(nil)))
	if g := s.Service("emoji", time.Minute, time.Now()); g.GetService().GetInbound().GetCalls() != 2 {
		t.Errorf("emoji took %v, want two calls", g.GetService().GetInbound())
	}
	refused := status.Error(codes.Unauthenticated, "nobody")
	s = New(Config{Identify: func(context.Context) (string, string, error) { return "", "", refused }})
	if _, err := s.export(t.Context(), func(any) error { t.Error("it was decoded"); return nil }); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v, want %v", err, refused)
	}
}

func TestACounterThatGoesBackIsRefusedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		p := newProcess("web", "a")
		for range 10 {
			p.call("db", "/d/Get", "OK", time.Millisecond)
		}
		retries := p.of("tulle.client.retries", "tulle.destination", "db")
		retries.count(5)
		send(t, s, "web", p.message())
		time.Sleep(slotTime)
		retries.count(-2)
		for _, told := range p.series {
			if told.took != nil {
				told.took = told.took[:7]
			}
		}
		if n := send(t, s, "web", p.message()); n != 3 {
			t.Errorf("%d points were refused, want three", n)
		}
		time.Sleep(slotTime)
		retries.count(1)
		p.call("db", "/d/Get", "OK", time.Millisecond)
		if n := send(t, s, "web", p.message()); n != 0 {
			t.Errorf("%d points were refused when they went on from there", n)
		}
		e := s.Graph(time.Minute, time.Now()).GetEdges()[0]
		if e.GetCalls().GetCalls() != 11 || e.GetRetries() != 6 {
			t.Errorf("%d calls and %d retries, want 11 and 6", e.GetCalls().GetCalls(), e.GetRetries())
		}
	})
}

// Whatever scale a sender has, what it counts is in the window; percentiles are as fine
// as the coarser of the two.
func TestHistogramsOfAnyScaleAreTaken(t *testing.T) {
	for of := int32(minScale); of <= maxScale; of++ {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, "")
			var took []time.Duration
			for _, scale := range []int32{of, max(of-1, minScale)} { // an SDK that runs out of buckets widens them
				time.Sleep(slotTime)
				for i := range 50 {
					took = append(took, time.Duration(i+1)*time.Millisecond)
				}
				data := served(func(h *histogramOf, p *pointOf) {
					start, at := uint64(time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC).UnixNano()), p.GetTimeUnixNano()
					attributes := p.GetAttributes()
					h.DataPoints[0] = exponentialOf(took, scale)
					h.DataPoints[0].StartTimeUnixNano, h.DataPoints[0].TimeUnixNano, h.DataPoints[0].Attributes = start, at, attributes
				})
				if n := send(t, s, "voting", encoded(data)); n != 0 {
					t.Errorf("scale %d: refused", scale)
				}
			}
			g := s.Service("voting", time.Minute, time.Now()).GetService().GetInbound()
			if g.GetCalls() != 100 {
				t.Errorf("scale %d: %d calls, want 100", of, g.GetCalls())
			}
			width := math.Exp2(math.Exp2(-float64(min(of-1, scale))))
			if want := exact(took, 0.5); g.GetP50Ms() < want/width/1.02 || g.GetP50Ms() > want*width*1.02 {
				t.Errorf("scale %d: the median is %v ms, want %v", of, g.GetP50Ms(), want)
			}
		})
	}
}

// Stock processes have histograms whose buckets have bounds (gRFC A66).
func TestStockProcessesAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		time.Sleep(time.Millisecond)
		report := func(attributes ...string) *metricspb.MetricsData {
			now := uint64(time.Now().UnixNano())
			h := func(name string, kv ...string) *metricspb.Metric {
				return &metricspb.Metric{Name: name, Data: &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{
					AggregationTemporality: cumulative,
					DataPoints: []*metricspb.HistogramDataPoint{{
						StartTimeUnixNano: now, TimeUnixNano: now, Count: 10, Sum: new(0.4),
						ExplicitBounds: []float64{0, 0.001, 0.01, 0.1, 1}, BucketCounts: []uint64{0, 1, 3, 5, 0, 1},
						Attributes: pairs(kv...),
					}},
				}}}
			}
			data := one(h("grpc.client.attempt.duration", "grpc.method", "/v/Vote", "grpc.status", "UNAVAILABLE", "grpc.target", "xds:///voting"))
			data.ResourceMetrics[0].ScopeMetrics[0].Metrics = append(data.ResourceMetrics[0].ScopeMetrics[0].Metrics,
				h("grpc.client.call.duration", "grpc.method", "/v/Vote", "grpc.status", "OK", "grpc.target", "dns:///voting:8080"))
			data.ResourceMetrics[0].Resource.Attributes = pairs(attributes...)
			return data
		}
		if n := send(t, s, "web", encoded(report("telemetry.sdk.name", "opentelemetry"))); n != 0 {
			t.Errorf("%d points were refused", n)
		}
		e := s.Graph(time.Minute, time.Now()).GetEdges()
		if len(e) != 1 || e[0].GetSource() != "web" || e[0].GetDestination() != "voting" ||
			e[0].GetCalls().GetCalls() != 10 || e[0].GetAttempts().GetFailures() != 10 {
			t.Fatalf("got %v", e)
		}
		if p := e[0].GetCalls().GetP50Ms(); p < 10 || p > 100 {
			t.Errorf("the median is %v ms, want one between 10 and 100", p)
		}
	})
}

// A sender that asks too much is told when to come back.
func TestQuotas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		message := encoded(served(nil))
		var err error
		n := 0
		for ; n < 2*identityBurst && err == nil; n++ {
			_, err = s.export(who("voting"), decoderOf(message))
		}
		st := status.Convert(err)
		if st.Code() != codes.ResourceExhausted || len(st.Details()) != 1 || n != identityBurst+1 {
			t.Errorf("after %d reports: %v, want RESOURCE_EXHAUSTED with a time after %d", n, err, identityBurst)
		}
		if _, err := s.export(who("web"), decoderOf(message)); err != nil {
			t.Errorf("another identity: %v", err)
		}
		if got := s.stats.refused[reasonRate]; got != identityBurst-instanceBurst {
			t.Errorf("%d points were refused for their process's rate, want %d", got, identityBurst-instanceBurst)
		}
		time.Sleep(time.Minute)
		if _, err = s.export(who("voting"), decoderOf(message)); err != nil {
			t.Errorf("a minute later: %v", err)
		}
		// What is large is taken, and then there is a pause.
		huge := encoded(one(&metricspb.Metric{Name: strings.Repeat("x", 4<<20-200)}))
		for n = 0; n < 100 && err == nil; n++ {
			_, err = s.export(who("db"), decoderOf(huge))
		}
		if status.Code(err) != codes.ResourceExhausted || n != byteBurst/len(huge)+2 {
			t.Errorf("%d reports of %d bytes: %v", n, len(huge), err)
		}
		time.Sleep(2 * time.Second)
		if _, err := s.export(who("db"), decoderOf(huge)); err != nil {
			t.Errorf("two seconds later: %v", err)
		}
	})
}

func TestReadersAgreeWithProtobuf(t *testing.T) {
	p := newProcess("web", "a")
	p.call("db", "/d/Get", "OK", time.Millisecond)
	p.serve(web, "/w/Get", "UNAVAILABLE", 3*time.Second)
	p.of("tulle.streams", "tulle.side", "server").set(7)
	var r report
	if err := r.read(p.message()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, point := range r.points {
		text := metricNames[point.metric]
		for _, a := range r.attributes[point.attributes.from:point.attributes.to] {
			text += " " + string(a.key) + "=" + string(a.value)
		}
		got = append(got, text)
	}
	want := []string{
		"tulle.client.call.duration grpc.method=/d/Get grpc.status=OK tulle.destination=db tulle.route=",
		"tulle.client.attempt.duration grpc.method=/d/Get grpc.status=OK tulle.cluster=db/v1 tulle.destination=db tulle.local=true tulle.route= tulle.security=mtls",
		"tulle.server.call.duration grpc.method=/w/Get grpc.status=UNAVAILABLE tulle.security=mtls tulle.source=" + web,
		"tulle.streams tulle.side=server",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if string(r.get(r.sources[0].attributes, "service.instance.id")) != "a" {
		t.Error("the instance is not read")
	}
}

// Whatever a reporter sends, what is kept can be shown and stays in bounds, and what is
// read is what protobuf reads.
func FuzzExport(f *testing.F) {
	p := newProcess("voting", "a")
	p.call("db", "/d/Get", "OK", time.Millisecond)
	p.serve(web, "/v/Vote", "NOT_FOUND", time.Minute)
	p.of("tulle.server.access", "grpc.method", "/v/Vote", "tulle.verdict", "denied").count(3)
	p.of("tulle.client.endpoint.breaker", "tulle.destination", "db", "tulle.cluster", "db", "tulle.endpoint", "10.0.0.1:80").set(2)
	f.Add(p.message())
	f.Add(encoded(served(nil)))
	f.Add([]byte{10, 0, 10, 2, 18, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		s := New(Config{Identify: identify, Logger: quiet})
		var data metricspb.MetricsData
		valid := proto.Unmarshal(message, &data) == nil
		_, err := s.export(who("voting"), decoderOf(message))
		if valid && err != nil && len(message) < 1000 && !strings.Contains(err.Error(), "is no OTLP") {
			t.Errorf("%v", err)
		}
		g := s.Graph(Window, time.Now())
		for _, e := range g.GetEdges() {
			if bad(e.GetDestination()) || bad(e.GetSource()) || bad(e.GetClientId()) {
				t.Errorf("kept %v", e)
			}
		}
		if _, err := proto.Marshal(g); err != nil {
			t.Error(err)
		}
		if _, err := proto.Marshal(s.Service("voting", 0, time.Now())); err != nil {
			t.Error(err)
		}
		for _, c := range s.Callers("voting") {
			if c.Method == "" || bad(c.ID) || bad(c.Method) || bad(c.Policy) || bad(c.Address) {
				t.Errorf("kept %+v", c)
			}
		}
		if n := s.window.total.bytes + s.reported.bytes + s.total.bytes; n > 4096+2000*len(message) {
			t.Errorf("%d bytes of %d", n, len(message))
		}
		if _, err := s.export(who("voting"), decoderOf(rewrite(message, "voting", web))); valid && err != nil && len(message) < 1000 && !strings.Contains(err.Error(), "is no OTLP") {
			t.Errorf("rewritten: %v", err)
		}
	})
}
