package resource_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// taking is a server's route that takes what m says.
func taking(t testing.TB, m *policyv1.Admission) *routev3.Route {
	t.Helper()
	r := inboundRoute(t, "/", nil, nil)
	r.TypedPerFilterConfig = saying(t, m)
	return r
}

func limits(list ...*policyv1.RateLimit) *policyv1.Admission {
	return &policyv1.Admission{RateLimits: list}
}

func adaptive(m *policyv1.Concurrency) *policyv1.Admission {
	m.Adaptive = true
	return &policyv1.Admission{Concurrency: m}
}

func TestAdmissionIsDecoded(t *testing.T) {
	ten := &policyv1.Rate{PerSecond: 10}
	concurrency := func(c resource.Concurrency) *resource.Admission { return &resource.Admission{Concurrency: &c} }
	for _, tt := range []struct {
		name string
		in   *policyv1.Admission
		want *resource.Admission
	}{
		{"of nothing takes all", &policyv1.Admission{}, &resource.Admission{}},
		{
			"with limits of each kind",
			limits(
				&policyv1.RateLimit{Name: "a", Rate: ten},
				&policyv1.RateLimit{Name: "b", Per: policyv1.RateLimit_PER_TOTAL, Rate: ten},
				&policyv1.RateLimit{Name: "c", Per: policyv1.RateLimit_PER_IDENTITY, Rate: ten, Callers: []string{web}},
				&policyv1.RateLimit{Name: "d", Per: policyv1.RateLimit_PER_METHOD, Rate: ten, Methods: []string{vote, "/voting.v1.Voting/*"}},
				&policyv1.RateLimit{Name: "e", Per: policyv1.RateLimit_PER_METADATA, MetadataKey: "x-user", Rate: &policyv1.Rate{PerSecond: 1, Burst: 5}},
			),
			&resource.Admission{RateLimits: []resource.RateLimit{
				{Name: "a", Rate: resource.Rate{PerSecond: 10, Burst: 10}},
				{Name: "b", Rate: resource.Rate{PerSecond: 10, Burst: 10}},
				{Name: "c", Per: resource.PerIdentity, Rate: resource.Rate{PerSecond: 10, Burst: 10}, Callers: []string{web}},
				{Name: "d", Per: resource.PerMethod, Rate: resource.Rate{PerSecond: 10, Burst: 10}, Methods: []string{vote, "/voting.v1.Voting/*"}},
				{Name: "e", Per: resource.PerMetadata, MetadataKey: "x-user", Rate: resource.Rate{PerSecond: 1, Burst: 5}},
			}},
		},
		{"with a fixed limit", &policyv1.Admission{Concurrency: &policyv1.Concurrency{Limit: 7}}, concurrency(resource.Concurrency{Limit: 7})},
		{"with a limit that moves", adaptive(&policyv1.Concurrency{}), concurrency(resource.DefaultConcurrency())},
		{
			"with a limit that moves as is said", adaptive(&policyv1.Concurrency{Limit: 5, Min: 5, Max: 5, Tolerance: 2}),
			concurrency(resource.Concurrency{Limit: 5, Adaptive: true, Min: 5, Max: 5, Tolerance: 2}),
		},
		{
			"with a first limit that gives way to a minimum", adaptive(&policyv1.Concurrency{Min: 2_000}),
			concurrency(resource.Concurrency{Limit: 2_000, Adaptive: true, Min: 2_000, Max: 2_000, Tolerance: 1.5}),
		},
		{
			"with a first limit that gives way to a maximum", adaptive(&policyv1.Concurrency{Max: 10}),
			concurrency(resource.Concurrency{Limit: 10, Adaptive: true, Min: 1, Max: 10, Tolerance: 1.5}),
		},
		{
			"with faults",
			&policyv1.Admission{Fault: &policyv1.Fault{Delay: durationpb.New(time.Second), DelayPerMillion: 1, AbortCode: 14, AbortPerMillion: 1_000_000}},
			&resource.Admission{Fault: &resource.Fault{Delay: time.Second, DelayPerMillion: 1, AbortCode: codes.Unavailable, AbortPerMillion: 1_000_000}},
		},
		{"with faults of no call", &policyv1.Admission{Fault: &policyv1.Fault{}}, &resource.Admission{Fault: &resource.Fault{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resource.DecodeRouteConfiguration(encode(t, routes(taking(t, tt.in))))
			if err != nil {
				t.Fatal(err)
			}
			in := &resource.Inbound{Listener: &resource.Listener{Server: &resource.Server{}}, VirtualHost: got.VirtualHosts[0]}
			if diff := cmp.Diff(tt.want, in.Admission(vote)); diff != "" {
				t.Errorf("want - got +\n%s", diff)
			}
		})
	}
}

func TestAdmissionIsRefused(t *testing.T) {
	limit := func(change func(*policyv1.RateLimit)) *policyv1.Admission {
		m := &policyv1.RateLimit{Name: "a", Rate: &policyv1.Rate{PerSecond: 1}}
		change(m)
		return limits(m)
	}
	fixed := func(m *policyv1.Concurrency) *policyv1.Admission { return &policyv1.Admission{Concurrency: m} }
	fault := func(m *policyv1.Fault) *policyv1.Admission { return &policyv1.Admission{Fault: m} }
	var many []*policyv1.RateLimit
	for i := range 65 {
		many = append(many, &policyv1.RateLimit{Name: fmt.Sprint(i), Rate: &policyv1.Rate{PerSecond: 1}})
	}
	for _, tt := range []struct {
		name string
		in   *policyv1.Admission
		want string
	}{
		{"65 limits", limits(many...), "rate_limits: are 65, at most 64 are accepted"},
		{"a limit without a name", limit(func(m *policyv1.RateLimit) { m.Name = "" }), "rate_limits[0].name: is empty"},
		{"a limit with too long a name", limit(func(m *policyv1.RateLimit) { m.Name = strings.Repeat("a", 257) }), "rate_limits[0].name: has 257 bytes"},
		{"two limits of a name", limits(many[0], many[1], many[0]), `rate_limits[2].name: "0" is taken by another limit`},
		{"a limit per something newer", limit(func(m *policyv1.RateLimit) { m.Per = 9 }), "rate_limits[0].per: 9 is not known to this version"},
		{"a limit per metadata of no key", limit(func(m *policyv1.RateLimit) { m.Per = policyv1.RateLimit_PER_METADATA }), "rate_limits[0].metadata_key: is empty"},
		{"a limit per metadata in upper case", limit(func(m *policyv1.RateLimit) {
			m.Per, m.MetadataKey = policyv1.RateLimit_PER_METADATA, "X"
		}), `rate_limits[0].metadata_key: "X" is no name of a header`},
		{"a key of no limit per metadata", limit(func(m *policyv1.RateLimit) { m.MetadataKey = "x" }), "rate_limits[0].metadata_key: is of limits per metadata; this one is not"},
		{"a limit of nothing", limit(func(m *policyv1.RateLimit) { m.Rate = nil }), "rate_limits[0].rate.per_second: must be above zero"},
		{"a limit of no number", limit(func(m *policyv1.RateLimit) { m.Rate.PerSecond = math.NaN() }), "rate_limits[0].rate.per_second: is NaN"},
		{"257 methods", limit(func(m *policyv1.RateLimit) { m.Methods = slices.Repeat([]string{vote}, 257) }), "rate_limits[0].methods: are 257, at most 256 are accepted"},
		{"257 callers", limit(func(m *policyv1.RateLimit) { m.Callers = slices.Repeat([]string{web}, 257) }), "rate_limits[0].callers: are 257, at most 256 are accepted"},
		{"no method", limit(func(m *policyv1.RateLimit) { m.Methods = []string{vote, "Vote"} }), `rate_limits[0].methods[1]: "Vote" is no method, as in /package.Service/Method or /package.Service/*`},
		{"a part of methods", limit(func(m *policyv1.RateLimit) { m.Methods = []string{"/a/b*"} }), `rate_limits[0].methods[0]: "/a/b*" is no method`},
		{"all services", limit(func(m *policyv1.RateLimit) { m.Methods = []string{"/*"} }), `rate_limits[0].methods[0]: "/*" is no method`},
		{"a part of services", limit(func(m *policyv1.RateLimit) { m.Methods = []string{"/a*/*"} }), `rate_limits[0].methods[0]: "/a*/*" is no method`},
		{"no caller", limit(func(m *policyv1.RateLimit) { m.Callers = []string{web, "web"} }), `rate_limits[0].callers[1]: "web" is no SPIFFE id`},
		{"a limit of no call at once", fixed(&policyv1.Concurrency{}), "concurrency.limit: must be above zero"},
		{"a fixed limit that moves", fixed(&policyv1.Concurrency{Limit: 1, Max: 2}), "concurrency.adaptive: is not set: min, max and tolerance are of a limit that moves"},
		{"bounds that are crossed", adaptive(&policyv1.Concurrency{Min: 3, Max: 2}), "concurrency.max: is 2, below min of 3"},
		{"a first limit out of bounds", adaptive(&policyv1.Concurrency{Limit: 1, Min: 2}), "concurrency.limit: is 1, it must be from min to max, 2 to 1000"},
		{"no tolerance", adaptive(&policyv1.Concurrency{Tolerance: 1}), "concurrency.tolerance: must be above 1"},
		{"less than no tolerance", adaptive(&policyv1.Concurrency{Tolerance: 0.5}), "concurrency.tolerance: is 0.5, it must be 1 to 100"},
		{"a tolerance of no number", adaptive(&policyv1.Concurrency{Tolerance: math.NaN()}), "concurrency.tolerance: is NaN"},
		{"a delay of no time", fault(&policyv1.Fault{DelayPerMillion: 1}), "fault.delay: is missing"},
		{"a negative delay", fault(&policyv1.Fault{Delay: durationpb.New(-1)}), "fault.delay: is negative"},
		{"a delay of more than all", fault(&policyv1.Fault{Delay: durationpb.New(1), DelayPerMillion: 1_000_001}), "fault.delay_per_million: is 1000001"},
		{"an abort with success", fault(&policyv1.Fault{AbortPerMillion: 1}), "fault.abort_code: is missing"},
		{"an abort with an unknown code", fault(&policyv1.Fault{AbortCode: 17}), "fault.abort_code: 17 is no status code of a failure"},
		{"an abort of more than all", fault(&policyv1.Fault{AbortCode: 1, AbortPerMillion: 1_000_001}), "fault.abort_per_million: is 1000001"},
	} {
		t.Run("with "+tt.name, func(t *testing.T) {
			wantRefused(t, resource.RouteType, routes(taking(t, tt.in)),
				`RouteConfiguration "voting": virtual_hosts[0].routes[0].typed_per_filter_config["tulle.admission"].`+tt.want)
		})
	}
}

func TestAnInboundTellsTheAdmissionOfTheFirstRouteThatMatches(t *testing.T) {
	one := taking(t, &policyv1.Admission{Concurrency: &policyv1.Concurrency{Limit: 1}})
	one.Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: vote}}
	none := inboundRoute(t, "/voting.v1.Voting/", nil, nil)
	two := taking(t, &policyv1.Admission{Concurrency: &policyv1.Concurrency{Limit: 2}})
	c, err := resource.DecodeRouteConfiguration(encode(t, routes(one, none, two)))
	if err != nil {
		t.Fatal(err)
	}
	in := &resource.Inbound{Listener: &resource.Listener{Server: &resource.Server{}}, VirtualHost: c.VirtualHosts[0]}
	for method, want := range map[string]uint32{vote: 1, "/voting.v1.Voting/Count": 0, "/shop.Cart/Add": 2} {
		got := in.Admission(method)
		switch {
		case got == nil && want == 0:
		case got == nil || got.Concurrency.Limit != want:
			t.Errorf("%s: got %+v, want a limit of %d", method, got, want)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { in.Admission(vote) }); allocs != 0 {
		t.Errorf("it costs %v allocations", allocs)
	}
	if got := (*resource.Inbound)(nil).Admission(vote); got != nil {
		t.Errorf("nothing at all: got %+v", got)
	}
}
