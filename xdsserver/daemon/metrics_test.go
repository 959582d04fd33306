package daemon

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestMetricsAreForPrometheus(t *testing.T) {
	c := config(t)
	c.MetricsListen = "127.0.0.1:0"
	d := run(t, c)
	get := func(path string, header ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.metricsListener.Addr().String()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	code, page := get("/metrics")
	for _, want := range []string{
		"tulle_xdsserver_info{version=", "tulle_xdsserver_streams{protocol=\"delta\"} 0", "tulle_ca_expiry_timestamp_seconds{kind=\"root\"}",
		"tulle_telemetry_reports_total 0", "go_goroutines",
	} {
		if code != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("status %d, a page without %q", code, want)
		}
	}
	for name, header := range map[string][]string{
		"a page of this very name": {"Sec-Fetch-Site", "same-origin"},
		"another site's page":      {"Sec-Fetch-Site", "cross-site"},
		"a script":                 {"Origin", "http://evil.test"},
	} {
		if code, page := get("/metrics", header...); code != http.StatusForbidden || strings.Contains(page, "tulle_") {
			t.Errorf("%s: status %d, want 403", name, code)
		}
	}
	if code, _ := get("/", "Sec-Fetch-Site", "none"); code != http.StatusNotFound {
		t.Errorf("the root: status %d, want 404", code)
	}
	if code, _ := get("/metrics", "Sec-Fetch-Site", "none"); code != http.StatusOK {
		t.Errorf("a person who looks: status %d, want 200", code)
	}
}

func TestTheCollectorIsTheOneThatTheEnvironmentNames(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"nothing":              {nil, ""},
		"one for all":          {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, "http://a:4317"},
		"one for metrics":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://b:4317"}, "http://b:4317"},
		"another protocol":     {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ""},
		"the protocol is said": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "https://a:4317"},
	} {
		if got := forwardFrom(func(k string) string { return test.env[k] }); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	c := config(t)
	c.Forward = "tcp://a:1"
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "--otlp-forward") {
		t.Errorf("got %v, want an error that names the flag", err)
	}
}
