package telemetry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// gather is the page as values.
func gather(t *testing.T, s *Server) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]*dto.MetricFamily{}
	for _, f := range families {
		by[f.GetName()] = f
	}
	return by
}

func TestPrometheusIsToldOfCallsAndOfTheReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		busy(t, s)
		bad := newProcess("web", "x")
		bad.of("tulle.client.retries", "tulle.destination", "voting").count(-1)
		send(t, s, "web", bad.message())
		by := gather(t, s)
		for name, want := range map[string]float64{
			"tulle_client_calls_total": 15, "tulle_client_attempts_total": 15, "tulle_server_calls_total": 15, "tulle_client_retries_total": 15,
		} {
			f := by[name]
			if len(f.GetMetric()) != 1 || f.GetMetric()[0].GetCounter().GetValue() != want {
				t.Errorf("%s: %v, want %v", name, f.GetMetric(), want)
			}
		}
		labels := map[string]string{}
		for _, l := range by["tulle_client_attempts_total"].GetMetric()[0].GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["source"] != "web" || labels["destination"] != "voting" || labels["status"] != "OK" || labels["security"] != "mtls" {
			t.Errorf("labels %v", labels)
		}
		h := by["tulle_server_call_duration_seconds"].GetMetric()[0].GetHistogram()
		// The sum of 1 to 15 ms.
		if h.GetSampleCount() != 15 || h.GetSampleSum() < 0.1199 || h.GetSampleSum() > 0.1201 || h.GetSchema() != scale {
			t.Errorf("%d values, %v seconds, schema %d", h.GetSampleCount(), h.GetSampleSum(), h.GetSchema())
		}
		for _, b := range h.GetBucket() {
			want := uint64(0)
			for i := range 15 {
				if float64(i+1)/1000 <= b.GetUpperBound() {
					want++
				}
			}
			if b.GetCumulativeCount() != want {
				t.Errorf("%d values up to %v, want %d", b.GetCumulativeCount(), b.GetUpperBound(), want)
			}
		}
		for _, m := range by["tulle_telemetry_refused_points_total"].GetMetric() {
			want := 0.0
			if m.GetLabel()[0].GetValue() == "value" {
				want = 1
			}
			if m.GetCounter().GetValue() != want {
				t.Errorf("refused: %v", m)
			}
		}
		if n := by["tulle_telemetry_reports_total"].GetMetric()[0].GetCounter().GetValue(); n != 31 {
			t.Errorf("%v reports, want 31", n)
		}
		// Totals of who is gone go, and start anew.
		for range idleLooks + 2 {
			time.Sleep(sweepEvery)
			s.mu.Lock()
			s.sweep(time.Now())
			s.mu.Unlock()
		}
		if f := gather(t, s)["tulle_client_calls_total"]; f != nil {
			t.Errorf("still there: %v", f)
		}
	})
}

func TestThePageIsReadByPrometheus(t *testing.T) {
	s := open(t, "")
	p := newProcess("web", "w")
	p.call("voting", "/v/Vote", "OK", time.Millisecond)
	p.of("tulle.connections", "tulle.side", "server").set(2)
	send(t, s, "web", p.message())
	page := httptest.NewServer(s.Metrics())
	defer page.Close()
	resp, err := http.Get(page.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`tulle_service_processes{service="web"} 1`, `tulle_service_connections{service="web"} 2`, "# HELP tulle_telemetry_reports_total"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the page lacks %s:\n%s", want, body)
		}
	}
}
