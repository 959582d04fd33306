package otel

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// A collector takes OTLP of both signals.
type collector struct {
	mu      sync.Mutex
	metrics []*metricspb.ResourceMetrics
	spans   []*tracepb.ResourceSpans
	token   []string
}

// take is called for a method that the server does not know, so for all.
func (c *collector) take(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var raw emptypb.Empty // what it does not know it keeps
	if err := stream.RecvMsg(&raw); err != nil {
		return err
	}
	body, err := proto.Marshal(&raw)
	if err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(stream.Context())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = md.Get("api-key")
	if method == telemetry.ExportMethod {
		var data metricspb.MetricsData
		err = proto.Unmarshal(body, &data)
		c.metrics = append(c.metrics, data.GetResourceMetrics()...)
	} else {
		var data tracepb.TracesData
		err = proto.Unmarshal(body, &data)
		c.spans = append(c.spans, data.GetResourceSpans()...)
	}
	return errors.Join(err, stream.SendMsg(&emptypb.Empty{}))
}

// collecting starts a collector and says where it is in the environment.
func collecting(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(c.take))
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	t.Cleanup(func() {
		otel.SetTracerProvider(noop.NewTracerProvider())
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
	})
	return c
}

func named(r *resourcepb.Resource) string {
	all := map[string]*commonpb.AnyValue{}
	for _, a := range r.GetAttributes() {
		all[a.GetKey()] = a.GetValue()
	}
	var words []string
	for _, k := range []string{"service.name", "service.namespace", "service.instance.id", "service.version", "tulle.zone", "team", "telemetry.sdk.name"} {
		words = append(words, all[k].GetStringValue())
	}
	return strings.Join(words, " ")
}

func TestTheEnvironmentSaysWhatIsExported(t *testing.T) {
	for _, tt := range []struct {
		name            string
		env             map[string]string
		metrics, traces bool
		resource        string
	}{
		{
			name:    "without variables both signals are, under the mesh's name",
			metrics: true, traces: true,
			resource: "web shop a1 v2 eu/north  opentelemetry",
		},
		{
			name: "variables name the process",
			env: map[string]string{
				"OTEL_SERVICE_NAME": "front", "OTEL_RESOURCE_ATTRIBUTES": "team=red,service.version=v9",
				"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
			},
			metrics: true, traces: true,
			resource: "front shop a1 v9 eu/north red opentelemetry",
		},
		{name: "traces alone", env: map[string]string{"OTEL_METRICS_EXPORTER": "none"}, traces: true, resource: "web shop a1 v2 eu/north  opentelemetry"},
		{name: "metrics alone", env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}, metrics: true, resource: "web shop a1 v2 eu/north  opentelemetry"},
		{name: "nothing, where the SDK is disabled", env: map[string]string{"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "bad"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := collecting(t)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			shutdown, err := Setup(t.Context(), busy())
			if err != nil {
				t.Fatal(err)
			}
			_, span := otel.Tracer("shop").Start(t.Context(), "buy")
			span.End()
			counter, err := otel.Meter("shop").Int64Counter("shop.cups")
			if err != nil {
				t.Fatal(err)
			}
			counter.Add(t.Context(), 1)
			if err := errors.Join(shutdown(t.Context()), shutdown(t.Context())); err != nil {
				t.Fatal(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if got := len(c.spans) == 1; got != tt.traces {
				t.Errorf("%d spans came, want some: %v", len(c.spans), tt.traces)
			}
			scopes := map[string]int{}
			for _, m := range c.metrics {
				for _, scope := range m.GetScopeMetrics() {
					scopes[scope.GetScope().GetName()] += len(scope.GetMetrics())
				}
				if got := named(m.GetResource()); got != tt.resource {
					t.Errorf("metrics are of %q, want %q", got, tt.resource)
				}
			}
			if own, mesh := scopes["shop"], scopes[scopeName]; own > 0 != tt.metrics || mesh > 0 != tt.metrics {
				t.Errorf("%d metrics of the application and %d of the mesh came, want some: %v", own, mesh, tt.metrics)
			}
			for _, s := range c.spans {
				if got := named(s.GetResource()); got != tt.resource {
					t.Errorf("spans are of %q, want %q", got, tt.resource)
				}
			}
			if tt.env["OTEL_EXPORTER_OTLP_HEADERS"] != "" && strings.Join(c.token, "") != "secret" {
				t.Errorf("the header came as %q", c.token)
			}
		})
	}
}

func TestMetricsAreExportedAsOftenAsTheEnvironmentSays(t *testing.T) {
	c := collecting(t)
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
	shutdown, err := Setup(t.Context(), busy())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; n < 3; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d exports in 10 s", n)
		}
		c.mu.Lock()
		n = len(c.metrics)
		c.mu.Unlock()
	}
	if err := shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestACollectorThatIsAwayHoldsNobodyUp(t *testing.T) {
	collecting(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "50") // ms
	t.Setenv("OTEL_METRIC_EXPORT_TIMEOUT", "50")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "50")
	start := time.Now()
	shutdown, err := Setup(t.Context(), busy())
	if err != nil {
		t.Fatal(err)
	}
	_, span := otel.Tracer("shop").Start(t.Context(), "buy")
	span.End()
	if err := shutdown(t.Context()); err == nil {
		t.Error("what is left was handed over to nobody")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAnEnvironmentThatCannotBeHonouredSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct{ name, variable, value, want string }{
		{"an exporter that is unknown", "OTEL_TRACES_EXPORTER", "zipkin", `OTEL_TRACES_EXPORTER is "zipkin": set it to otlp or none`},
		{"Prometheus", "OTEL_METRICS_EXPORTER", "prometheus", "mesh/telemetry/prometheus"},
		{"OTLP over HTTP", "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "set it to grpc"},
		{"OTLP over HTTP for one signal", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(tt.variable, tt.value)
			shutdown, err := Setup(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if err := shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
