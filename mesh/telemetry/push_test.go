package telemetry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
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
	slow    time.Duration
	reports []*metricspb.MetricsData
	last    map[string]uint64
	total   uint64
}

func (c *collector) Invoke(ctx context.Context, method string, request, _ any, _ ...grpc.CallOption) error {
	c.mu.Lock()
	slow := c.slow
	c.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if method != ExportMethod {
		return fmt.Errorf("unknown method %s", method)
	}
	if c.refuses != nil && !c.lost {
		return c.refuses
	}
	data := new(metricspb.MetricsData)
	if err := proto.Unmarshal(request.([]byte), data); err != nil {
		return err
	}
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

// latest returns how many points and samples the last report has.
func (c *collector) latest() (points, samples int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.reports[len(c.reports)-1].GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
		points += len(m.GetExponentialHistogram().GetDataPoints())
		samples += len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints())
	}
	return points, samples
}

// heard returns how many reports it had, and of how many calls it knows.
func (c *collector) heard() (reports int, calls uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.reports), c.total
}

func (c *collector) slowDown(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow = d
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
		var streams atomic.Int64
		in.Observe(func(yield func(Sample)) {
			yield(Sample{Name: "tulle.streams", Value: float64(streams.Load())})
			yield(Sample{Name: "tulle.identity.expiry", Value: 1e9})
		})
		in.ClientCall(quiet).Record(codes.OK, time.Millisecond)
		in.ClientCall(busy).Record(codes.OK, time.Millisecond)
		time.Sleep(2 * time.Second)
		if points, samples := c.latest(); points != 2 || samples != 2 {
			t.Errorf("the first report has %d points and %d samples, want 2 and 2", points, samples)
		}
		in.ClientCall(busy).Record(codes.OK, time.Millisecond)
		streams.Store(2)
		time.Sleep(6 * time.Second)
		if points, samples := c.latest(); points != 1 || samples != 1 {
			t.Errorf("the next report has %d points and %d samples, want the one of each that changed", points, samples)
		}
		all, nothing := 0, 0
		for seen := 2; seen < 15; {
			time.Sleep(time.Second)
			if n, _ := c.heard(); n == seen {
				continue
			}
			seen++
			switch points, samples := c.latest(); {
			case points == 2 && samples == 2:
				all++
			case points == 0 && samples == 0:
				nothing++
			default:
				t.Errorf("report %d has %d points and %d samples", seen, points, samples)
			}
		}
		if all != 1 || nothing != 12 {
			t.Errorf("in a minute all was told %d times, and nothing %d times", all, nothing)
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
			in.Snapshot()
			time.Sleep(time.Minute)
		}
		held = in.ClientCall(ClientKey{Method: "Late"})
		held.Record(codes.OK, time.Millisecond)
		for range 10 {
			in.Snapshot()
			time.Sleep(time.Minute)
		}
		in.Snapshot() // it leaves
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

func TestNothingIsLostWhenXdsserverIsAwayForLongerThanSeriesStay(t *testing.T) {
	pushing(t, func(t *testing.T, in *Instruments, c *collector, stop func()) {
		time.Sleep(10 * time.Second)
		c.refuse(errors.New("xdsserver is away"), false)
		k := ClientKey{Service: "voting", Method: "Vote"}
		in.ClientCall(k).Record(codes.OK, time.Millisecond)
		time.Sleep(time.Hour)
		c.refuse(nil, false)
		time.Sleep(4 * time.Minute)
		if _, calls := c.heard(); calls != 1 {
			t.Errorf("the collector knows of %d calls, want 1", calls)
		}
		if n := len(in.Snapshot().Points); n != 0 {
			t.Errorf("%d series are left that were told an hour after their last call", n)
		}
		stop()
	})
}

func TestAServerThatNeverAnswersHoldsNobodyUp(t *testing.T) {
	pushing(t, func(t *testing.T, in *Instruments, c *collector, stop func()) {
		c.slowDown(time.Hour)
		time.Sleep(10 * time.Minute)
		start := time.Now()
		in.ClientCall(ClientKey{Method: "Vote"}).Record(codes.OK, time.Millisecond)
		if took := time.Since(start); took != 0 {
			t.Errorf("a call took %v longer", took)
		}
		stop()
		if took := time.Since(start); took > lastWithin {
			t.Errorf("the end took %v, want at most %v", took, lastWithin)
		}
	})
}

func TestASlowServerHearsOfAllInParts(t *testing.T) {
	pushing(t, func(t *testing.T, in *Instruments, c *collector, _ func()) {
		c.slowDown(3 * time.Second) // one message fits into a push
		const calls = 9000
		for i := range calls {
			k := AttemptKey{Service: "voting", Method: fmt.Sprint("method ", i%3000)}
			in.ClientAttempt(k).Record(codes.Code(i/3000), time.Millisecond)
		}
		time.Sleep(40 * time.Second)
		if _, heard := c.heard(); heard != calls {
			t.Errorf("the collector knows of %d calls, want %d", heard, calls)
		}
	})
}

func TestMessagesAreBounded(t *testing.T) {
	pushing(t, func(t *testing.T, in *Instruments, c *collector, stop func()) {
		var samples []Sample
		for i := range 6000 {
			samples = append(samples, Sample{Name: fmt.Sprint("tulle.gauge.", i%5), Attributes: []Attribute{
				{"tulle.endpoint", fmt.Sprint("10.0.0.1:", i)}, {"tulle.cluster", strings.Repeat("c", 200)},
			}})
		}
		in.Observe(func(yield func(Sample)) {
			for _, s := range samples {
				yield(s)
			}
		})
		calls := uint64(0)
		for i := range maxSeries {
			s := in.ServerCall(ServerKey{Caller: "spiffe://" + strings.Repeat("x", 300), Method: fmt.Sprint(i)})
			for d := 10 * time.Microsecond; d < time.Minute; d += d / 24 {
				s.Record(codes.OK, d)
				calls++
			}
		}
		stop()
		points, gauges := 0, 0
		for _, r := range c.reports {
			if n := proto.Size(r); n > maxBytes {
				t.Errorf("a message takes %d bytes, want at most %d", n, maxBytes)
			}
			for _, m := range r.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
				points += len(m.GetExponentialHistogram().GetDataPoints())
				gauges += len(m.GetGauge().GetDataPoints())
				buckets := 0
				for _, p := range m.GetExponentialHistogram().GetDataPoints() {
					for _, n := range p.GetPositive().GetBucketCounts() {
						if n > 0 {
							buckets++
						}
					}
				}
				if buckets > maxBytes/bucketBytes {
					t.Errorf("a message has %d buckets, want at most %d", buckets, maxBytes/bucketBytes)
				}
			}
		}
		if c.total != calls || points != maxSeries || gauges != len(samples) {
			t.Errorf("%d calls of %d, %d series and %d gauges were told", c.total, calls, points, gauges)
		}
	})
}
