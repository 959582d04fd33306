package telemetry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// A collector takes reports as xdsserver does: counts are differences.
type collector struct {
	grpc.ClientConnInterface

	mu      sync.Mutex
	refuses error
	lost    bool // it takes a report, and its answer is lost
	reports []*metricspb.MetricsData
	last    map[string]uint64
	total   uint64
}

func (c *collector) Invoke(_ context.Context, method string, request, _ any, _ ...grpc.CallOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if method != ExportMethod {
		return fmt.Errorf("unknown method %s", method)
	}
	if c.refuses != nil && !c.lost {
		return c.refuses
	}
	data, _ := request.(*metricspb.MetricsData)
	data, _ = proto.Clone(data).(*metricspb.MetricsData)
	c.reports = append(c.reports, data)
	if c.last == nil {
		c.last = map[string]uint64{}
	}
	for _, m := range data.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
		for _, p := range m.GetExponentialHistogram().GetDataPoints() {
			k := fmt.Sprint(m.GetName(), p.GetAttributes(), p.GetStartTimeUnixNano())
			c.total += p.GetCount() - c.last[k]
			c.last[k] = p.GetCount()
		}
	}
	return c.refuses
}

func (c *collector) points() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reports) == 0 {
		return 0
	}
	for _, m := range c.reports[len(c.reports)-1].GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
		n += len(m.GetExponentialHistogram().GetDataPoints())
	}
	return n
}

func (c *collector) refuse(err error, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuses, c.lost = err, lost
}

// pushing runs f while instruments report to a collector.
func pushing(t *testing.T, f func(t *testing.T, in *Instruments, c *collector, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		in, c := New(Config{Service: "web.shop", Instance: "a1"}), &collector{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := in.Run(ctx, c); err != nil {
				t.Error(err)
			}
		}()
		stop := func() { cancel(); <-done }
		defer stop()
		f(t, in, c, stop)
	})
}

func TestReportsTellWhatHasChangedAndNowAndThenAll(t *testing.T) {
	pushing(t, func(t *testing.T, in *Instruments, c *collector, _ func()) {
		busy, quiet := ClientKey{Service: "voting", Method: "busy"}, ClientKey{Service: "voting", Method: "quiet"}
		in.ClientCall(quiet).Record(codes.OK, time.Millisecond)
		in.ClientCall(busy).Record(codes.OK, time.Millisecond)
		time.Sleep(6 * time.Second)
		if n := c.points(); n != 2 {
			t.Errorf("the first report has %d points, want 2", n)
		}
		in.ClientCall(busy).Record(codes.OK, time.Millisecond)
		time.Sleep(6 * time.Second)
		if n := c.points(); n != 1 {
			t.Errorf("the next has %d points, want the one that changed", n)
		}
		all := 0
		for range 12 {
			time.Sleep(6 * time.Second)
			if c.points() == 2 {
				all++
			}
		}
		if all == 0 || all > 2 {
			t.Errorf("all was told %d times in a minute", all)
		}
	})
}

func TestNothingIsLostWhileNobodyTakesReports(t *testing.T) {
	for _, tt := range []struct {
		name string
		lost bool
	}{{"reports are refused", false}, {"answers are lost", true}} {
		t.Run(tt.name, func(t *testing.T) {
			pushing(t, func(t *testing.T, in *Instruments, c *collector, stop func()) {
				made := uint64(0)
				for second := range 120 {
					if second%40 == 10 {
						c.refuse(errors.New("xdsserver is away"), tt.lost)
					}
					if second%40 == 30 {
						c.refuse(nil, false)
					}
					in.ClientCall(ClientKey{Service: "voting", Method: "Vote"}).Record(codes.OK, time.Millisecond)
					in.ServerCall(ServerKey{Caller: "spiffe://a/b", Method: "List"}).Record(codes.Internal, time.Second)
					made += 2
					time.Sleep(time.Second)
				}
				stop()
				if c.total != made {
					t.Errorf("the collector knows of %d calls, %d were made", c.total, made)
				}
			})
		})
	}
}

func TestASeriesThatIsIdleLeavesAndLosesNothing(t *testing.T) {
	pushing(t, func(t *testing.T, in *Instruments, c *collector, stop func()) {
		k := ClientKey{Service: "voting", Method: "Vote"}
		held := in.ClientCall(k)
		held.Record(codes.OK, time.Millisecond)
		time.Sleep(12 * time.Minute)
		if in.ClientCall(k) == held {
			t.Error("a series that was idle for 12 minutes is still there")
		}
		in.ClientCall(k).Record(codes.OK, time.Millisecond)
		stop()
		if c.total != 2 {
			t.Errorf("the collector knows of %d calls, want 2", c.total)
		}
	})
}

func TestACallThatFindsASeriesAsItLeavesIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := New(Config{})
		held := in.ClientCall(ClientKey{Method: "Vote"})
		held.Record(codes.OK, time.Millisecond)
		for range 13 {
			in.sweep(time.Now())
			time.Sleep(time.Minute)
		}
		held = in.ClientCall(ClientKey{Method: "Late"})
		held.Record(codes.OK, time.Millisecond)
		for range 10 {
			in.sweep(time.Now())
			time.Sleep(time.Minute)
		}
		in.sweep(time.Now()) // it leaves
		held.Record(codes.OK, time.Millisecond)
		points := in.Snapshot().Points
		if len(points) != 1 || points[0].Count != 2 {
			t.Errorf("got %+v, want both calls of the series that is leaving", points)
		}
		if in.ClientCall(ClientKey{Method: "Late"}) != held {
			t.Error("a series that is leaving did not come back")
		}
	})
}

func TestSeriesAreBounded(t *testing.T) {
	in := New(Config{})
	for i := range 3 * maxSeries {
		in.ClientCall(ClientKey{Service: "voting", Method: fmt.Sprint("method ", i)}).Record(codes.OK, 1)
		in.ServerCall(ServerKey{Caller: fmt.Sprint("spiffe://caller/", i), Method: "m"}).Record(codes.OK, 1)
	}
	var calls, others uint64
	n := 0
	for _, p := range in.Snapshot().Points {
		n++
		calls += p.Count
		for _, a := range p.Attributes {
			if a.Key == "grpc.method" && a.Value == Other {
				others += p.Count
			}
		}
	}
	if limit := 2 * (maxSeries + maxOther + 1); n > limit {
		t.Errorf("%d series, want at most %d", n, limit)
	}
	if calls != 6*maxSeries || others < 3*maxSeries {
		t.Errorf("%d calls are counted, %d of them as other; want all %d", calls, others, 6*maxSeries)
	}
}

func TestOTLPIsBoundedAndSaysWhoReports(t *testing.T) {
	in := New(Config{Service: "web.shop", Instance: "a1", Version: "v2", Region: "eu", Zone: "north", Library: "1.0"})
	in.Observe(func(yield func(Sample)) {
		yield(Sample{Name: "tulle.streams", Value: 3, Attributes: []Attribute{{"tulle.side", "client"}}})
		yield(Sample{Name: "tulle.client.retries", Sum: true, Value: 7})
	})
	in.ClientCall(ClientKey{Service: "voting", Method: "\xff" + strings.Repeat("x", 10)}).Record(codes.OK, time.Second)
	data := in.Snapshot().OTLP()
	if _, err := proto.Marshal(data); err != nil {
		t.Fatal(err)
	}
	r := data.GetResourceMetrics()[0]
	got := map[string]string{}
	for _, a := range r.GetResource().GetAttributes() {
		got[a.GetKey()] = a.GetValue().GetStringValue()
	}
	for k, want := range map[string]string{
		"service.name": "web", "service.namespace": "shop", "service.instance.id": "a1", "service.version": "v2", "tulle.zone": "eu/north",
	} {
		if got[k] != want {
			t.Errorf("%s is %q, want %q", k, got[k], want)
		}
	}
	for _, m := range r.GetScopeMetrics()[0].GetMetrics() {
		switch m.GetName() {
		case "tulle.streams":
			if m.GetGauge().GetDataPoints()[0].GetAsDouble() != 3 {
				t.Errorf("%v", m)
			}
		case "tulle.client.retries":
			if !m.GetSum().GetIsMonotonic() || m.GetSum().GetDataPoints()[0].GetAsDouble() != 7 {
				t.Errorf("%v", m)
			}
		case "tulle.client.call.duration":
			p := m.GetExponentialHistogram().GetDataPoints()[0]
			if p.GetScale() != Scale || p.GetCount() != 1 || p.GetPositive().GetOffset() != -1 || p.GetSum() != 1 {
				t.Errorf("%v: want one call in the bucket that 1 s closes", p)
			}
		default:
			t.Errorf("unexpected metric %s", m.GetName())
		}
	}
}
