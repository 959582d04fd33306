package prometheus

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// busy returns instruments that have counted something of each kind.
func busy() *telemetry.Instruments {
	in := telemetry.New(telemetry.Config{Service: "web.shop", Instance: "a1", Version: "v2", Region: "eu", Zone: "north", Library: "1.2.3"})
	for i := range 1000 {
		in.ClientCall(telemetry.ClientKey{Service: "voting", Route: "canary", Method: "/v.V/Vote"}).
			Record(codes.OK, time.Duration(100*i+40)*time.Microsecond)
	}
	in.ServerCall(telemetry.ServerKey{Caller: "spiffe://a/\xff\"\n", Method: "/w.W/Get", Security: telemetry.Plaintext}).
		Record(codes.NotFound, time.Microsecond)
	in.Observe(func(yield func(telemetry.Sample)) {
		to := []telemetry.Attribute{{Key: "tulle.destination", Value: "voting"}}
		yield(telemetry.Sample{Name: "tulle.client.retries", Sum: true, Value: 3, Attributes: to})
		yield(telemetry.Sample{Name: "tulle.identity.expiry", Value: 1.75e9})
		yield(telemetry.Sample{Name: "tulle.streams", Value: 2, Attributes: []telemetry.Attribute{{Key: "tulle.side", Value: "client"}}})
	})
	return in
}

// scrape asks a registry's page for a format.
func scrape(t *testing.T, c prometheus.Collector, accept string) io.Reader {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", accept)
	response := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(response, request)
	if response.Code != http.StatusOK {
		t.Fatalf("%d: %s", response.Code, response.Body)
	}
	return response.Body
}

// text returns the lines of the text format that begin with a prefix.
func text(t *testing.T, c prometheus.Collector, prefix string) (lines []string) {
	t.Helper()
	all, err := io.ReadAll(scrape(t, c, "text/plain"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// families returns the protobuf format, by name.
func families(t *testing.T, c prometheus.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	body := bufio.NewReader(scrape(t, c, "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"))
	all := map[string]*dto.MetricFamily{}
	for {
		f := &dto.MetricFamily{}
		if err := protodelim.UnmarshalFrom(body, f); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[f.GetName()] = f
	}
}

func TestThePageInText(t *testing.T) {
	c := NewCollector(busy())
	for _, tt := range []struct {
		name, prefix string
		want         []string
	}{
		{"who it is", "tulle_info", []string{
			`tulle_info{tulle_instance="a1",tulle_library="1.2.3",tulle_service="web.shop",tulle_version="v2",tulle_zone="eu/north"} 1`,
		}},
		{"a counter", "tulle_client_retries", []string{`tulle_client_retries_total{tulle_destination="voting"} 3`}},
		{"a gauge", "tulle_streams", []string{`tulle_streams{tulle_side="client"} 2`}},
		{"a time", "tulle_identity", []string{`tulle_identity_expiry_seconds 1.75e+09`}},
		{"what it is", "# TYPE grpc", []string{
			"# TYPE grpc_client_call_duration_seconds histogram", "# TYPE grpc_server_call_duration_seconds histogram",
		}},
		{"what it says", "# HELP tulle_streams", []string{"# HELP tulle_streams Streams that are open."}},
		{"classic buckets for gRPC's dashboards", "grpc_client_call", []string{
			`grpc_client_call_duration_seconds_bucket{grpc_method="/v.V/Vote",grpc_status="OK",grpc_target="mesh:///voting",le="0.0001"} 1`,
			`grpc_client_call_duration_seconds_bucket{grpc_method="/v.V/Vote",grpc_status="OK",grpc_target="mesh:///voting",le="0.00025"} 3`,
			`grpc_client_call_duration_seconds_bucket{grpc_method="/v.V/Vote",grpc_status="OK",grpc_target="mesh:///voting",le="0.0005"} 5`,
			`grpc_client_call_duration_seconds_bucket{grpc_method="/v.V/Vote",grpc_status="OK",grpc_target="mesh:///voting",le="0.001"} 10`,
		}},
		{"text of peers is valid", "tulle_server_call_duration_seconds_count", []string{
			`tulle_server_call_duration_seconds_count{grpc_method="/w.W/Get",grpc_status="NOT_FOUND",tulle_security="plaintext",tulle_source="spiffe://a/?\"\n"} 1`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := text(t, c, tt.prefix)
			if strings.HasPrefix(tt.name, "classic") {
				got = got[:min(4, len(got))]
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestClassicBucketsAreWithinOnePercentOfTheirBounds(t *testing.T) {
	h := families(t, NewCollector(busy()))["tulle_client_call_duration_seconds"].GetMetric()[0].GetHistogram()
	for _, b := range h.GetBucket() {
		exact := func(bound float64) float64 { return min(1000, math.Floor(bound*1e4+0.6)) } // 0.04 ms, 0.14 ms ...
		low, high := exact(b.GetUpperBound()*0.989), exact(b.GetUpperBound()*1.011)
		if n := float64(b.GetCumulativeCount()); n < low || n > high {
			t.Errorf("%v calls took up to %v s, want %v to %v", n, b.GetUpperBound(), low, high)
		}
	}
}

func TestThePageHasNativeHistograms(t *testing.T) {
	in := telemetry.New(telemetry.Config{Service: "web"})
	began := time.Now()
	for _, took := range []time.Duration{time.Microsecond, time.Second, time.Second, time.Second + 1, 2 * time.Second} {
		in.ServerCall(telemetry.ServerKey{Method: "/w.W/Get"}).Record(codes.OK, took)
	}
	h := families(t, NewCollector(in))["grpc_server_call_duration_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSchema() != 5 || h.GetSampleCount() != 5 || h.GetZeroCount() != 1 || h.GetZeroThreshold() != math.Exp2(-17) ||
		math.Abs(h.GetSampleSum()-5.000001) > 1e-6 {
		t.Errorf("got %v", h)
	}
	if created := h.GetCreatedTimestamp().AsTime(); created.Before(began.Add(-time.Second)) || created.After(time.Now()) {
		t.Errorf("it began at %v, want about %v", created, began)
	}
	got := map[int]int64{} // by the index of the upper bound 2^(i/32)
	index, delta, count := 0, 0, int64(0)
	for _, span := range h.GetPositiveSpan() {
		index += int(span.GetOffset())
		for range span.GetLength() {
			if count += h.GetPositiveDelta()[delta]; count > 0 {
				got[index] = count
			}
			index++
			delta++
		}
	}
	if diff := cmp.Diff(map[int]int64{0: 2, 1: 1, 32: 1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIdleSeriesVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := busy()
		c := NewCollector(in)
		for minute := range 13 {
			in.ServerCall(telemetry.ServerKey{Method: "/w.W/Busy"}).Record(codes.OK, time.Millisecond)
			all := families(t, c)
			_, idle := all["tulle_client_call_duration_seconds"]
			if minute < 10 && !idle || minute == 12 && idle {
				t.Errorf("after %d minutes without a call its series is shown: %v", minute, idle)
			}
			if n := len(all["tulle_server_call_duration_seconds"].GetMetric()); minute == 12 && n != 1 {
				t.Errorf("%d series of served calls are shown, want the busy one", n)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestWhatAnApplicationObservesSpoilsNothing(t *testing.T) {
	in := busy()
	in.Observe(func(yield func(telemetry.Sample)) {
		for _, s := range []telemetry.Sample{
			{Name: "tulle.client.call.duration", Value: 1},
			{Name: "shop.cups", Value: 7},
			{Name: "shop.cups_total", Value: 8},
			{Name: "shop.cups", Sum: true, Value: 9},
			{Name: "shop.<script>", Value: math.NaN(), Attributes: []telemetry.Attribute{{Key: "a.b", Value: "\xff"}, {Key: "a_b"}}},
			{Name: "", Value: 1},
			{Name: "0", Value: 1},
			{Name: "shop.label", Value: 1, Attributes: []telemetry.Attribute{{Key: "__name__", Value: "x"}}},
			{Name: "shop.label", Value: 1, Attributes: []telemetry.Attribute{{Key: "good", Value: strings.Repeat("x", 1<<20)}}},
		} {
			yield(s)
		}
	})
	c := NewCollector(in)
	if got := text(t, c, "tulle_client_retries"); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	if diff := cmp.Diff([]string{"shop_cups 7", "shop_cups_total 8"}, text(t, c, "shop_cups")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTwoMeshesOfAProcessHaveALabelEach(t *testing.T) {
	registry := prometheus.NewRegistry()
	for _, name := range []string{"east", "west"} {
		prometheus.WrapRegistererWith(prometheus.Labels{"mesh": name}, registry).MustRegister(NewCollector(busy()))
	}
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if n := len(f.GetMetric()); n != 2 {
			t.Errorf("%s has %d series, want one of each mesh", f.GetName(), n)
		}
	}
}

func TestScrapesAtOnceAreTheSame(t *testing.T) {
	c := NewCollector(busy())
	want := text(t, c, "tulle")
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 5 {
				if diff := cmp.Diff(want, text(t, c, "tulle")); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
	wait.Wait()
}

func BenchmarkCollect(b *testing.B) {
	in := telemetry.New(telemetry.Config{Service: "web"})
	for i := range 1000 {
		for d := time.Millisecond; d < 100*time.Millisecond; d += d / 16 {
			in.ClientCall(telemetry.ClientKey{Service: "voting", Method: fmt.Sprint(i)}).Record(codes.OK, d)
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(in))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
