package telemetry

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// hostile are texts that print, and that nothing may be named.
var hostile = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "a b", "a'b", "a`b", "a&b", "a;b", "a$(b)", "a|b", `a\b`, "{{.}}", "a=b", "vоting",
}

func TestATargetIsAServiceOrAHost(t *testing.T) {
	for text, want := range map[string]string{
		"xds:///voting":                     "voting",
		"xds:///voting.shop:8080":           "voting.shop",
		"xds://authority/a/voting":          "voting",
		"mesh:///voting":                    "voting",
		"dns:///voting.example.com:443":     "voting.example.com",
		"dns://8.8.8.8/voting:443":          "voting",
		"dns:voting:443":                    "voting",
		"dns:443":                           "dns",
		"voting":                            "voting",
		"voting:443":                        "voting",
		"voting:https":                      "voting",
		"10.0.0.1:80":                       "10.0.0.1",
		"ipv4:10.0.0.1:80,10.0.0.2:80":      "10.0.0.1",
		"[::1]:80":                          "::1",
		"[::1]":                             "::1",
		"::1":                               "::1",
		"ipv6:[2001:db8::1]:80":             "2001:db8::1",
		"dns:///[fe80::1%25eth0]:80":        "fe80::1",
		"passthrough:///[::1]:80":           "::1",
		"passthrough:bufnet":                "bufnet",
		"unix:///run/voting.sock":           "voting.sock",
		"unix:voting.sock":                  "voting.sock",
		"unix-abstract:voting":              "voting",
		"other":                             "other",
		"":                                  "",
		"dns:///<b>:443":                    "<b>",
		"http://user:secret@voting/a%20b?c": "a%20b?c",
	} {
		if got := target(text); got != want {
			t.Errorf("%q is of %q, want %q", text, got, want)
		}
		if ok := named(target(text)); ok == strings.ContainsAny(want, "<?") {
			t.Errorf("that %q may be a name is %v", target(text), ok)
		}
	}
}

func TestOnlyWhatNamesHaveIsInNames(t *testing.T) {
	for _, test := range []struct{ key, value string }{
		{"tulle.destination", "voting"},
		{"tulle.destination", "voting.shop"},
		{"tulle.destination", "::1"},
		{"tulle.destination", ""},
		{"tulle.cluster", "voting/v1.2_rc-1"},
		{"tulle.endpoint", "[::1]:80"},
		{"tulle.source", web},
		{"tulle.source", Other},
		{"tulle.address", "fe80::1%eth0"},
		{"tulle.address", "@"},
		{"tulle.policy", "default/strict"},
		{"grpc.method", "/grpc.health.v1.Health/Check"},
		{"grpc.method", "/a-b.C/D~1"},
		{"tulle.route", "default/canary/for <all>"},
		{"what nobody knows", "<b>"},
	} {
		if !becoming(test.key, test.value) {
			t.Errorf("%s %q is refused", test.key, test.value)
		}
	}
	for _, key := range []string{
		"tulle.destination", "grpc.target", "tulle.cluster", "tulle.endpoint", "tulle.source", "tulle.address", "tulle.policy", "grpc.method",
	} {
		for _, text := range hostile {
			if becoming(key, text) {
				t.Errorf("%s may be %q", key, text)
			}
		}
	}
	for _, text := range []string{"a/b", "a:b", "fe80::1%eth0", strings.Repeat("a", maxName+1)} {
		if named(text) {
			t.Errorf("a service may have the name %q", text)
		}
	}
}

func TestWhatOperatorsWordIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"default/canary":       "default/canary",
		"default/canary/São 1": "default/canary/S%C3%A3o%201",
		"100%":                 "100%25",
		"v1.2.3+build":         "v1.2.3+build",
		`<b "x">`:              "%3Cb%20%22x%22%3E",
	} {
		if got := escaped(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// wordsOf collects all texts of a message.
func wordsOf(t *testing.T, m proto.Message, into map[string]bool) {
	t.Helper()
	if err := protorange.Range(m.ProtoReflect(), func(v protopath.Values) error {
		if text, ok := v.Index(-1).Value.Interface().(string); ok {
			into[text] = true
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Whatever a member names so, nothing that is shown has it, and what is refused is counted.
func TestNothingIsNamedByHostileTexts(t *testing.T) {
	for _, text := range hostile {
		t.Run(text, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, "")
				time.Sleep(time.Millisecond)
				p := newProcess("web", text)
				p.call(text, "/v/Vote", "OK", time.Millisecond)
				p.call("voting", text, "OK", time.Millisecond)
				p.serve(text, "/w/Get", "OK", time.Millisecond)
				p.of("tulle.client.retries", "tulle.destination", text).count(1)
				p.of("tulle.client.endpoint.breaker", "tulle.destination", text, "tulle.cluster", text, "tulle.endpoint", "127.0.0.1:1").set(breakerOpen)
				p.of("tulle.client.endpoint.ejected", "tulle.destination", "voting", "tulle.cluster", text, "tulle.endpoint", "127.0.0.1:1").set(1)
				refused := send(t, s, "web", p.message())
				if refused != 8 {
					t.Errorf("%d points were refused, want 8", refused)
				}
				// What operators word themselves is counted.
				good := newProcess("web", text)
				good.of("tulle.client.call.duration", "tulle.destination", "voting", "tulle.route", text, "grpc.method", "/v/Vote", "grpc.status", "OK").add(time.Millisecond)
				data := good.data()
				data.ResourceMetrics[0].Resource.Attributes = pairs("service.instance.id", text, "service.version", text, "tulle.zone", text,
					"tulle.library", text, "telemetry.sdk.name", "tulle")
				if n := send(t, s, "web", encoded(data)); n != 0 {
					t.Errorf("%d points of a route were refused", n)
				}
				stock := proto.CloneOf(data)
				stock.ResourceMetrics[0].Resource.Attributes = pairs("service.instance.id", "stock")
				for _, m := range []string{"grpc.client.call.duration", "grpc.client.attempt.duration"} {
					h := &metricspb.Metric{Name: m, Data: stock.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics()[0].GetData()}
					h.GetExponentialHistogram().DataPoints[0].Attributes = pairs("grpc.target", "dns:///"+text, "grpc.method", "v/Vote", "grpc.lb.backend_service", text)
					stock.ResourceMetrics[0].ScopeMetrics[0].Metrics = []*metricspb.Metric{h}
					refused += send(t, s, "web", encoded(stock))
				}
				s.Load(&Load{Service: "web", ID: idOf("web"), Clusters: []*endpointv3.ClusterStats{
					{ClusterName: text, UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{TotalSuccessfulRequests: 1}}},
					{ClusterName: "voting/" + text, UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{TotalSuccessfulRequests: 1}}},
				}}, time.Now())
				if got := s.stats.refused[reasonText]; refused != 10 || got != refused+2 {
					t.Errorf("%d points were refused, %d are counted, want 10 and two clusters", refused, got)
				}
				words := map[string]bool{}
				wordsOf(t, s.Graph(time.Minute, time.Now()), words)
				for _, service := range []string{"web", "voting"} {
					wordsOf(t, s.Service(service, time.Minute, time.Now()), words)
				}
				for _, f := range gather(t, s) {
					for _, m := range f.GetMetric() {
						for _, l := range m.GetLabel() {
							words[l.GetValue()] = true
						}
					}
				}
				for word := range words {
					if !only(word, pathMarks) {
						t.Errorf("%q is shown", word)
					}
				}
				if !words[escaped(text)] {
					t.Errorf("nothing of %v is what an operator may word", words)
				}
				for _, v := range s.Graph(time.Minute, time.Now()).GetServices() {
					if name := v.GetService(); name != "web" && name != "voting" && name != Client {
						t.Errorf("there is a service %q", name)
					}
				}
			})
		})
	}
}
