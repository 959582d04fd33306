package telemetry

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// heap is what is in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// many is a report of n series of calls, each with attributes of its own.
func many(n, from int, attributes func(i int) []string) *metricspb.MetricsData {
	data := served(nil)
	h := data.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics()[0].GetExponentialHistogram()
	first := h.DataPoints[0]
	h.DataPoints = nil
	for i := range n {
		p := exponentialOf([]time.Duration{time.Millisecond}, scale)
		p.StartTimeUnixNano, p.TimeUnixNano = first.GetStartTimeUnixNano(), first.GetTimeUnixNano()
		p.Attributes = pairs(attributes(from + i)...)
		h.DataPoints = append(h.DataPoints, p)
	}
	return data
}

// One service that makes up methods, callers and processes without end takes what is
// its own, and others are counted as before.
func TestALabelExplosionIsBounded(t *testing.T) {
	for name, attributes := range map[string]func(i int) []string{
		"methods": func(i int) []string { return []string{"grpc.method", fmt.Sprintf("/v/M%d", i), "tulle.source", web} },
		"callers": func(i int) []string {
			return []string{"grpc.method", "/v/Vote", "tulle.source", fmt.Sprintf("spiffe://tulle.local/ns/default/svc/x%d", i)}
		},
		"attributes that mean nothing": func(i int) []string { return []string{"grpc.method", "/v/Vote", fmt.Sprintf("k%d", i), "v"} },
		"long texts":                   func(i int) []string { return []string{"grpc.method", fmt.Sprint("/v/", i, strings.Repeat("x", 4000))} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, "")
				good := newProcess("emoji", "e")
				good.serve(web, "/e/Get", "OK", time.Millisecond)
				send(t, s, "emoji", encoded(good.data()))
				before := heap()
				for i := range 60 {
					data := many(500, 500*i, attributes)
					data.ResourceMetrics[0].Resource.Attributes[0] = pairs("service.instance.id", fmt.Sprint("i", i/20))[0]
					send(t, s, "voting", encoded(data))
					time.Sleep(slotTime)
				}
				own := s.window.owners["voting"]
				if own == nil || own.rows > 3*maxLines || own.bytes > maxLineBytes+1<<20 {
					t.Errorf("lines take %+v", own)
				}
				if got := s.identities[idOf("voting")]; got.bytes > maxIdentityBytes || got.rows != 3 {
					t.Errorf("series take %+v", got)
				}
				if n := len(s.totals.byKey); n > maxTotals+1 {
					t.Errorf("%d totals", n)
				}
				if grown := heap() - before; grown > 120<<20 {
					t.Errorf("the heap grew by %d MB", grown>>20)
				}
				time.Sleep(slotTime)
				good.serve(web, "/e/Get", "OK", time.Millisecond)
				if n := send(t, s, "emoji", encoded(good.data())); n != 0 {
					t.Errorf("%d points of another service were refused", n)
				}
				s.Graph(Window, time.Now())
				s.Service("voting", Window, time.Now())
			})
		})
	}
}

// All that came is counted, even if not apart.
func TestWhatIsNotKeptApartIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		time.Sleep(time.Millisecond)
		n := 2*maxLines + 500
		apart := maxLines - 1 // one line says how long the service was heard of
		for i := range n / 500 {
			send(t, s, "voting", encoded(many(500, 500*i, func(i int) []string {
				return []string{"grpc.method", fmt.Sprintf("/v/M%d", i), "tulle.source", web, "tulle.security", "mtls"}
			})))
		}
		stats := s.Service("voting", time.Minute, time.Now())
		if got := stats.GetService().GetInbound().GetCalls(); got != uint64(n/500*500) || len(stats.GetMethods()) != apart+1 {
			t.Errorf("%d calls of %d methods, want %d of %d", got, len(stats.GetMethods()), n, apart+1)
		}
		for _, m := range stats.GetMethods() {
			if m.GetMethod() == Other && m.GetGolden().GetCalls() != uint64(n/500*500-apart) {
				t.Errorf("%d calls of other methods", m.GetGolden().GetCalls())
			}
		}
		if s.window.folded == 0 {
			t.Error("nothing says so")
		}
	})
}

func TestProcessesWithoutEndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		refused := uint64(0)
		for i := range maxInstances + 100 {
			data := served(nil)
			data.ResourceMetrics[0].Resource.Attributes[0] = pairs("service.instance.id", fmt.Sprint("i", i))[0]
			refused += send(t, s, "voting", encoded(data))
			time.Sleep(slotTime / 500)
		}
		if n := s.identities[idOf("voting")].rows; n != maxInstances || refused != 100 {
			t.Errorf("%d processes, %d points refused", n, refused)
		}
		// They are forgotten when they are silent for long.
		time.Sleep(silent + sweepEvery)
		send(t, s, "voting", encoded(served(nil)))
		if n := len(s.reporters); n != 1 || s.reported.rows != 1 {
			t.Errorf("%d processes, %+v", n, s.reported)
		}
	})
}

// A gigabyte of metrics is refused report by report, and none of it stays.
func TestAGigabyteIsRefused(t *testing.T) {
	for name, message := range map[string][]byte{
		// What protobuf would make a hundred times as large.
		"empty resources":  bytes.Repeat([]byte{10, 0}, 2<<20),
		"empty points":     nested(bytes.Repeat([]byte{10, 0}, 2<<20-20)),
		"empty buckets":    nested(bucketless(4<<20 - 100)),
		"what is no OTLP":  bytes.Repeat([]byte{0xff}, 4<<20),
		"what is not ours": encoded(one(&metricspb.Metric{Name: strings.Repeat("x", 4<<20-200)})),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, "")
				before := heap()
				admitted := 0
				for sent := 0; sent < 1<<30; sent += len(message) {
					_, err := s.export(who("voting"), decoderOf(message))
					if code := status.Code(err); code == codes.OK || code == codes.InvalidArgument && !strings.Contains(err.Error(), "proto:") {
						admitted++
					}
				}
				if admitted*len(message) > byteBurst+len(message) {
					t.Errorf("%d reports were read", admitted)
				}
				if grown := heap() - before; grown > 64<<20 { // memory that is used again is of it
					t.Errorf("the heap grew by %d MB", grown>>20)
				}
				if len(s.reporters) > 1 || s.window.total.rows > 2 {
					t.Errorf("%d processes, %+v", len(s.reporters), s.window.total)
				}
			})
		})
	}
}

// bucketless is a point of so many buckets that count nothing.
func bucketless(n int) []byte {
	counts := append(prefix(2<<3|2, n), make([]byte, n)...)
	positive := append(prefix(8<<3|2, len(counts)), counts...)
	return append(prefix(1<<3|2, len(positive)), positive...)
}

// nested makes data points a report.
func nested(points []byte) []byte {
	message := append([]byte{}, points...)
	message = append(message, 16, 2) // cumulative
	name := append([]byte{10, byte(len("tulle.server.call.duration"))}, "tulle.server.call.duration"...)
	for _, tag := range []byte{10<<3 | 2, 2<<3 | 2, 2<<3 | 2, 1<<3 | 2} {
		message = append(prefix(tag, len(message)), message...)
		if tag == 10<<3|2 {
			message = append(append([]byte{}, name...), message...)
		}
	}
	return message
}

func prefix(tag byte, n int) []byte {
	out := []byte{tag}
	for ; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n))
}

// A service that reports as finely as it can, all the time, takes no more than what is
// its own of the memory of the window.
func TestTheWindowIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		s.window.ownBytes = 2 << 20 // or else it takes long
		good := newProcess("emoji", "e")
		var took []time.Duration
		for i := range int32(800) {
			took = append(took, time.Duration(upper(minIndex+100+i)*1e9))
		}
		for i := range 200 {
			time.Sleep(slotTime)
			good.serve(web, "/e/Get", "OK", time.Millisecond)
			send(t, s, "emoji", good.message())
			data := many(50, 0, func(i int) []string { return []string{"grpc.method", fmt.Sprintf("/v/M%d", i)} })
			for _, p := range data.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics()[0].GetExponentialHistogram().GetDataPoints() {
				fine := exponentialOf(took, scale)
				fine.Attributes, fine.StartTimeUnixNano, fine.TimeUnixNano = p.GetAttributes(), p.GetStartTimeUnixNano()+uint64(i), p.GetTimeUnixNano()
				*p = metricspb.ExponentialHistogramDataPoint{
					Attributes: fine.GetAttributes(), StartTimeUnixNano: fine.GetStartTimeUnixNano(), TimeUnixNano: fine.GetTimeUnixNano(),
					Scale: scale, Count: fine.GetCount(), Sum: fine.Sum, Positive: fine.GetPositive(),
				}
			}
			send(t, s, "voting", encoded(data))
			s.mu.Lock()
			s.window.sweep()
			if own := s.window.owners["voting"]; own.bytes > s.window.ownBytes {
				t.Fatalf("%+v after %d slots", own, i)
			}
			s.mu.Unlock()
		}
		if s.window.evicted == 0 {
			t.Error("nothing was evicted, this tests nothing")
		}
		g := s.Service("emoji", Window, time.Now()).GetService().GetInbound()
		if g.GetCalls() != 200 {
			t.Errorf("%d calls of another service are known, want 200", g.GetCalls())
		}
	})
}
