package resource_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// saying is a typed_per_filter_config of one of the mesh's own policies.
func saying(t testing.TB, m proto.Message) map[string]*anypb.Any {
	t.Helper()
	name := resource.TrafficFilter
	if _, ok := m.(*policyv1.Admission); ok {
		name = resource.AdmissionFilter
	}
	return map[string]*anypb.Any{name: packed(t, &routev3.FilterConfig{IsOptional: true, Config: packed(t, m)})}
}

// doing is a route that says m of its calls.
func doing(t testing.TB, m *policyv1.Traffic) *routev3.Route {
	t.Helper()
	return to("voting", func(r *routev3.Route) { r.TypedPerFilterConfig = saying(t, m) })
}

func headers(pairs ...string) []*policyv1.Header {
	var list []*policyv1.Header
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, &policyv1.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

func TestTrafficIsDecoded(t *testing.T) {
	second := durationpb.New(time.Second)
	for _, tt := range []struct {
		name string
		in   *policyv1.Traffic
		want *resource.Traffic
	}{
		{"of nothing has the defaults", &policyv1.Traffic{}, traffic()},
		{
			"of empty parts has their defaults",
			&policyv1.Traffic{
				Retry: &policyv1.Retry{}, RetryBudget: &policyv1.RetryBudget{}, Hedge: &policyv1.Hedge{}, Headers: &policyv1.Headers{}, Breaker: &policyv1.Breaker{},
				Mirrors: []*policyv1.Mirror{{Cluster: "shadow"}}, RateLimit: &policyv1.Rate{PerSecond: 0.5},
			},
			traffic(func(t *resource.Traffic) {
				t.Hedge = &resource.Hedge{Quantile: 0.95, Attempts: 2}
				t.Breaker = resource.DefaultBreaker()
				t.Mirrors = []resource.Mirror{{Cluster: "shadow", Timeout: time.Second}}
				t.RateLimit = &resource.Rate{PerSecond: 0.5, Burst: 1}
			}),
		},
		{
			"with all of it",
			&policyv1.Traffic{
				Retry: &policyv1.Retry{
					Codes: []uint32{8, 14}, Attempts: 5, PerTryTimeout: second, BackoffBase: second, BackoffMax: second, Idempotent: true, BufferBytes: 1,
				},
				RetryBudget: &policyv1.RetryBudget{Percent: proto.Float64(100), MinPerSecond: proto.Float64(1), Window: second},
				Hedge:       &policyv1.Hedge{Delay: second, Quantile: 0.5, Attempts: 5},
				Mirrors:     []*policyv1.Mirror{{Cluster: "a", PerMillion: 1_000_000, Timeout: second}, {Cluster: "b", PerMillion: 1}},
				Headers:     &policyv1.Headers{Set: headers("x-a", "1"), Add: headers("x-b", "", "x-b", "a b"), Remove: []string{"x-c", "x-d-bin"}},
				RateLimit:   &policyv1.Rate{PerSecond: 1e9, Burst: 3},
				Breaker:     &policyv1.Breaker{ConsecutiveFailures: 1},
				IdleTimeout: second, HopCost: second, HashHeader: "x-user",
			},
			&resource.Traffic{
				Retry: &resource.Retry{
					Codes: resource.Codes(8, 14), Attempts: 5, PerTryTimeout: time.Second, BackoffBase: time.Second, BackoffMax: time.Second, Idempotent: true, BufferBytes: 1,
				},
				Budget:  resource.RetryBudget{Percent: 100, MinPerSecond: 1, Window: time.Second},
				Hedge:   &resource.Hedge{Delay: time.Second, Quantile: 0.5, Attempts: 5},
				Mirrors: []resource.Mirror{{Cluster: "a", PerMillion: 1_000_000, Timeout: time.Second}, {Cluster: "b", PerMillion: 1, Timeout: time.Second}},
				Headers: &resource.Headers{
					Remove: []string{"x-c", "x-d-bin"}, Set: []resource.HeaderValue{{Name: "x-a", Value: "1"}},
					Add: []resource.HeaderValue{{Name: "x-b"}, {Name: "x-b", Value: "a b"}},
				},
				RateLimit: &resource.Rate{PerSecond: 1e9, Burst: 3},
				Breaker: func() *resource.Breaker {
					b := resource.DefaultBreaker()
					b.ConsecutiveFailures = 1
					return b
				}(),
				IdleTimeout: time.Second, HopCost: time.Second, HashHeader: "x-user",
			},
		},
		{"a burst that is not set is a second's worth", &policyv1.Traffic{RateLimit: &policyv1.Rate{PerSecond: 99.5}}, traffic(func(t *resource.Traffic) {
			t.RateLimit = &resource.Rate{PerSecond: 99.5, Burst: 100}
		})},
		{"without retries", &policyv1.Traffic{Retry: &policyv1.Retry{Attempts: 1}}, traffic(func(t *resource.Traffic) { t.Retry.Attempts = 1 })},
		{"a breaker that is off is none", &policyv1.Traffic{Breaker: &policyv1.Breaker{Disabled: true}}, traffic()},
		{
			"of two waits of which one is not set that one gives way",
			&policyv1.Traffic{Retry: &policyv1.Retry{BackoffBase: second}},
			traffic(func(t *resource.Traffic) { t.Retry.BackoffBase, t.Retry.BackoffMax = time.Second, time.Second }),
		},
		{
			"the other one as well",
			&policyv1.Traffic{Retry: &policyv1.Retry{BackoffMax: durationpb.New(time.Millisecond)}},
			traffic(func(t *resource.Traffic) {
				t.Retry.BackoffBase, t.Retry.BackoffMax = time.Millisecond, time.Millisecond
			}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) { wantTraffic(t, routes(doing(t, tt.in)), tt.want) })
	}
}

func TestTrafficMayStandAlone(t *testing.T) {
	in := to("voting", func(r *routev3.Route) {
		r.TypedPerFilterConfig = map[string]*anypb.Any{resource.TrafficFilter: packed(t, &policyv1.Traffic{HashHeader: "x-user"})}
	})
	wantTraffic(t, routes(in), traffic(func(t *resource.Traffic) { t.HashHeader = "x-user" }))
}

// A newer control plane says things that older clients pass over.
func TestTrafficWithNewerFieldsIsAccepted(t *testing.T) {
	value := append(encode(t, &policyv1.Traffic{HashHeader: "x-user"}), 0xf8, 0x07, 1) // field 127
	in := to("voting", func(r *routev3.Route) {
		r.TypedPerFilterConfig = map[string]*anypb.Any{resource.TrafficFilter: {TypeUrl: "type.googleapis.com/tulle.policy.v1.Traffic", Value: value}}
	})
	wantTraffic(t, routes(in), traffic(func(t *resource.Traffic) { t.HashHeader = "x-user" }))
}

func TestTrafficIsRefused(t *testing.T) {
	negative, long := durationpb.New(-time.Second), durationpb.New(25*time.Hour)
	retry := func(m *policyv1.Retry) *policyv1.Traffic { return &policyv1.Traffic{Retry: m} }
	budget := func(m *policyv1.RetryBudget) *policyv1.Traffic { return &policyv1.Traffic{RetryBudget: m} }
	hedge := func(m *policyv1.Hedge) *policyv1.Traffic { return &policyv1.Traffic{Hedge: m} }
	mirror := func(list ...*policyv1.Mirror) *policyv1.Traffic { return &policyv1.Traffic{Mirrors: list} }
	set := func(name, value string) *policyv1.Traffic {
		return &policyv1.Traffic{Headers: &policyv1.Headers{Set: headers("x-a", "1", name, value)}}
	}
	rate := func(perSecond float64) *policyv1.Traffic {
		return &policyv1.Traffic{RateLimit: &policyv1.Rate{PerSecond: perSecond}}
	}
	for _, tt := range []struct {
		name string
		in   *policyv1.Traffic
		want string
	}{
		{"retry on success", retry(&policyv1.Retry{Codes: []uint32{0}}), "retry.codes[0]: 0 is no status code of a failure"},
		{"six attempts", retry(&policyv1.Retry{Attempts: 6}), "retry.attempts: is 6, it must be 1 to 5"},
		{"attempts of a negative time", retry(&policyv1.Retry{PerTryTimeout: negative}), "retry.per_try_timeout: is negative"},
		{"no wait", retry(&policyv1.Retry{BackoffBase: durationpb.New(0)}), "retry.backoff_base: must be above zero"},
		{"waits that are crossed", retry(&policyv1.Retry{BackoffBase: durationpb.New(2), BackoffMax: durationpb.New(1)}), "retry.backoff_max: is 1ns, below backoff_base of 2ns"},
		{"a wait of a day", retry(&policyv1.Retry{BackoffMax: long}), "retry.backoff_max: is 25h0m0s, at most 24h0m0s is accepted"},
		{"too large a buffer", retry(&policyv1.Retry{BufferBytes: 64<<20 + 1}), "retry.buffer_bytes: is 67108865, it must be 1 to 67108864"},
		{"a budget above all", budget(&policyv1.RetryBudget{Percent: new(100.5)}), "retry_budget.percent: is 100.5, it must be 0 to 100"},
		{"a negative budget", budget(&policyv1.RetryBudget{MinPerSecond: proto.Float64(-1)}), "retry_budget.min_per_second: is -1"},
		{"a budget of no number", budget(&policyv1.RetryBudget{Percent: new(math.NaN())}), "retry_budget.percent: is NaN"},
		{"a budget of no time", budget(&policyv1.RetryBudget{Window: durationpb.New(1)}), "retry_budget.window: is 1ns, it must be at least 10ms"},
		{"a hedge of one", hedge(&policyv1.Hedge{Attempts: 1}), "hedge.attempts: is 1, it must be 2 to 5"},
		{"a hedge that is never made", hedge(&policyv1.Hedge{Quantile: 1}), "hedge.quantile: is 1, it must be 0.001 to 0.9999"},
		{"a hedge before the call", hedge(&policyv1.Hedge{Delay: negative}), "hedge.delay: is negative"},
		{"a mirror to nowhere", mirror(&policyv1.Mirror{Cluster: "a"}, &policyv1.Mirror{}), "mirrors[1].cluster: is empty"},
		{"a mirror of more than all", mirror(&policyv1.Mirror{Cluster: "a", PerMillion: 1_000_001}), "mirrors[0].per_million: is 1000001, it must be 1 to 1000000"},
		{"a mirror with no time", mirror(&policyv1.Mirror{Cluster: "a", Timeout: durationpb.New(0)}), "mirrors[0].timeout: must be above zero"},
		{"17 mirrors", mirror(slices.Repeat([]*policyv1.Mirror{{Cluster: "a"}}, 17)...), "mirrors: are 17, at most 16 are accepted"},
		{"65 changes of headers", &policyv1.Traffic{Headers: &policyv1.Headers{
			Set: slices.Repeat(headers("a", "b"), 30), Add: slices.Repeat(headers("a", "b"), 30), Remove: slices.Repeat([]string{"a"}, 5),
		}}, "headers: are 65, at most 64 are accepted"},
		{"a header without a name", set("", ""), "headers.set[1].name: is empty"},
		{"a header in upper case", set("X-A", ""), `headers.set[1].name: "X-A" is no name of a header: want lower-case letters`},
		{"a pseudo header", set(":path", "/"), `headers.set[1].name: ":path" is no name of a header`},
		{"a header that breaks the line", set("a\nb", ""), `headers.set[1].name: "a\nb" is no name of a header`},
		{"a header of gRPC's", set("grpc-timeout", "1S"), `headers.set[1].name: "grpc-timeout" is gRPC's own`},
		{"a header of the connection's", set("te", "x"), `headers.set[1].name: "te" is gRPC's own`},
		{"another content", set("content-type", "text/html"), `headers.set[1].name: "content-type" is gRPC's own`},
		{"a binary header", set("x-bin", "a"), `headers.set[1].name: "x-bin" is of binary values`},
		{"too long a name", set(strings.Repeat("a", 257), ""), "headers.set[1].name: has 257 bytes, at most 256 are accepted"},
		{"too long a value", set("a", strings.Repeat("a", 4_097)), "headers.set[1].value: has 4097 bytes, at most 4096 are accepted"},
		{"a value that breaks the line", set("a", "b\r\nc: d"), `headers.set[1].value: "b\r\nc: d" is not of printable ASCII alone`},
		{"a value of other letters", set("a", "ß"), `headers.set[1].value: "ß" is not of printable ASCII alone`},
		{"a value with spaces around it", set("a", " b"), `headers.set[1].value: " b" has spaces at its ends`},
		{"a header to add that is none", &policyv1.Traffic{Headers: &policyv1.Headers{Add: headers("A", "")}}, `headers.add[0].name: "A" is no name`},
		{"a header to remove that is none", &policyv1.Traffic{Headers: &policyv1.Headers{Remove: []string{"a", "B"}}}, `headers.remove[1]: "B" is no name`},
		{"a header to remove that gRPC needs", &policyv1.Traffic{Headers: &policyv1.Headers{Remove: []string{"grpc-encoding"}}}, `headers.remove[0]: "grpc-encoding" is gRPC's own`},
		{"no rate", rate(0), "rate_limit.per_second: must be above zero"},
		{"a negative rate", rate(-1), "rate_limit.per_second: is -1"},
		{"a rate of no number", rate(math.NaN()), "rate_limit.per_second: is NaN"},
		{"an endless rate", rate(math.Inf(1)), "rate_limit.per_second: is +Inf, it must be 0 to 1e+09"},
		{"an endless burst", &policyv1.Traffic{RateLimit: &policyv1.Rate{PerSecond: 1, Burst: math.MaxUint32}}, "rate_limit.burst: is 4294967295, it must be 1 to 1000000000"},
		{"a breaker that is wrong", &policyv1.Traffic{Breaker: &policyv1.Breaker{Jitter: proto.Float64(-1)}}, "breaker.jitter: is -1"},
		{"streams with a negative silence", &policyv1.Traffic{IdleTimeout: negative}, "idle_timeout: is negative"},
		{"a hop that gives time", &policyv1.Traffic{HopCost: negative}, "hop_cost: is negative"},
		{"a key of no header", &policyv1.Traffic{HashHeader: "X"}, `hash_header: "X" is no name of a header`},
		{"a binary key", &policyv1.Traffic{HashHeader: "x-bin"}, `hash_header: "x-bin" is none that calls are told apart by`},
	} {
		t.Run("with "+tt.name, func(t *testing.T) {
			wantRefused(t, resource.RouteType, routes(doing(t, tt.in)),
				`RouteConfiguration "voting": virtual_hosts[0].routes[0].typed_per_filter_config["tulle.traffic"].`+tt.want)
		})
	}
}

func TestTheMeshsOwnPoliciesStandInTheirPlaces(t *testing.T) {
	const host = `RouteConfiguration "voting": virtual_hosts[0].`
	traffic, admission := saying(t, &policyv1.Traffic{}), saying(t, &policyv1.Admission{})
	with := func(r *routev3.Route, configs map[string]*anypb.Any) *routev3.RouteConfiguration {
		r.TypedPerFilterConfig = configs
		return routes(r)
	}
	inbound := func() *routev3.Route { return inboundRoute(t, "/", nil, nil) }
	ofHost, ofCluster := routes(to("voting")), routes(weighted(weight("voting", 1)))
	ofHost.VirtualHosts[0].TypedPerFilterConfig = traffic
	ofCluster.VirtualHosts[0].Routes[0].GetRoute().GetWeightedClusters().GetClusters()[0].TypedPerFilterConfig = traffic
	byHeader := inbound()
	byHeader.GetMatch().Headers = []*routev3.HeaderMatcher{{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}}
	for _, tt := range []struct {
		name string
		in   *routev3.RouteConfiguration
		want string
	}{
		{"traffic not with a server", with(inbound(), traffic), `routes[0].typed_per_filter_config: "tulle.traffic": what a client does for calls stands in its routes only`},
		{"traffic not with a virtual host", ofHost, `typed_per_filter_config: "tulle.traffic": what a client does for calls stands in its routes only`},
		{"traffic not with a weighted cluster", ofCluster, `routes[0].route.weighted_clusters.clusters[0].typed_per_filter_config: "tulle.traffic": what a client`},
		{"admission not with a client", with(to("voting"), admission), `routes[0].typed_per_filter_config: "tulle.admission": which calls a server takes stands in its routes`},
		{"admission only by the path", with(byHeader, admission), "routes[0].match"},
		{"traffic not under another name", with(to("voting"), map[string]*anypb.Any{"x": traffic[resource.TrafficFilter]}), `routes[0].typed_per_filter_config: "x": a Traffic must be named "tulle.traffic"`},
		{"admission not under another name", with(inbound(), map[string]*anypb.Any{"x": admission[resource.AdmissionFilter]}), `routes[0].typed_per_filter_config: "x": an Admission must be named "tulle.admission"`},
		{
			"traffic of bytes that are no message",
			with(to("voting"), map[string]*anypb.Any{resource.TrafficFilter: {TypeUrl: "type.googleapis.com/tulle.policy.v1.Traffic", Value: []byte{0xff}}}),
			`routes[0].typed_per_filter_config: "tulle.traffic": cannot be read:`,
		},
		{
			"admission of bytes that are no message",
			with(inbound(), map[string]*anypb.Any{resource.AdmissionFilter: {TypeUrl: "type.googleapis.com/tulle.policy.v1.Admission", Value: []byte{0xff}}}),
			`routes[0].typed_per_filter_config: "tulle.admission": cannot be read:`,
		},
		{
			"another message under the name, unless it is optional",
			with(to("voting"), map[string]*anypb.Any{resource.TrafficFilter: packed(t, wrapperspb.Bool(true))}),
			`routes[0].typed_per_filter_config: "tulle.traffic": no filter of type`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) { wantRefused(t, resource.RouteType, tt.in, host+tt.want) })
	}
	t.Run("and not among filters", func(t *testing.T) {
		for _, m := range []proto.Message{&policyv1.Traffic{}, &policyv1.Admission{}} {
			f := filter("x", packed(t, m))
			f.IsOptional = true
			l := clientListener(t, "voting", &hcmv3.HttpConnectionManager{RouteSpecifier: byRDS("voting"), HttpFilters: []*hcmv3.HttpFilter{f}})
			wantRefused(t, resource.ListenerType, l, `http_filters[0]: "x": w`)
		}
	})
	t.Run("and a newer message that is optional is passed over", func(t *testing.T) {
		newer := packed(t, &routev3.FilterConfig{IsOptional: true, Config: packed(t, wrapperspb.Bool(true))})
		wantTraffic(t, with(to("voting"), map[string]*anypb.Any{resource.TrafficFilter: newer}), nil)
	})
}

func TestAConfigHasTrafficForEachRoute(t *testing.T) {
	c := &resource.Config{}
	said := traffic(func(t *resource.Traffic) { t.HashHeader = "x-user" })
	if got := c.Traffic(&resource.Route{Traffic: said}); got != said {
		t.Errorf("got %+v, want what the route says", got)
	}
	if got := c.Traffic(&resource.Route{}); got != resource.DefaultTraffic() {
		t.Errorf("got %+v, want the default", got)
	}
}
