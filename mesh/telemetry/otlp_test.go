package telemetry

import (
	"strings"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestOTLPIsBoundedAndSaysWhoReports(t *testing.T) {
	in := New(Config{Service: "web.shop", Instance: "a1", Version: "v2", Region: "eu", Zone: "north", Library: "1.0"})
	in.Observe(func(yield func(Sample)) {
		yield(Sample{Name: "tulle.streams", Value: 3, Attributes: []Attribute{{"tulle.side", "client"}}})
		yield(Sample{Name: "tulle.client.retries", Sum: true, Value: 7})
	})
	in.Observe(func(yield func(Sample)) { // another server of the process
		yield(Sample{Name: "tulle.streams", Value: 4, Attributes: []Attribute{{"tulle.side", "client"}}})
	})
	in.ClientCall(ClientKey{Service: "voting", Method: "\xff" + strings.Repeat("x", 10)}).Record(codes.OK, time.Second)
	data := new(metricspb.MetricsData)
	if err := proto.Unmarshal(in.Snapshot().AppendOTLP(nil), data); err != nil {
		t.Fatal(err)
	}
	if err := unknown(data.ProtoReflect()); err != "" {
		t.Error(err)
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
			if all := m.GetGauge().GetDataPoints(); len(all) != 1 || all[0].GetAsDouble() != 7 {
				t.Errorf("%v: want 3 and 4 added up", m)
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

// unknown names a message in m with fields that OTLP has not.
func unknown(m protoreflect.Message) (found string) {
	if len(m.GetUnknown()) > 0 {
		return string(m.Descriptor().FullName()) + " has fields that OTLP has not"
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				if found == "" {
					found = unknown(v.List().Get(i).Message())
				}
			}
		default:
			found = unknown(v.Message())
		}
		return found == ""
	})
	return found
}
