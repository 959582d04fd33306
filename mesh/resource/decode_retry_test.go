package resource_test

import (
	"math"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func retrying(on string, changes ...func(*routev3.RetryPolicy)) *routev3.RetryPolicy {
	m := &routev3.RetryPolicy{RetryOn: on}
	for _, change := range changes {
		change(m)
	}
	return m
}

func backOff(base, most *durationpb.Duration) *routev3.RetryPolicy_RetryBackOff {
	return &routev3.RetryPolicy_RetryBackOff{BaseInterval: base, MaxInterval: most}
}

func hashing(list ...*routev3.RouteAction_HashPolicy) *routev3.Route {
	return acting(func(a *routev3.RouteAction) { a.HashPolicy = list })
}

func byHeader(name string) *routev3.RouteAction_HashPolicy {
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
		Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: name},
	}}
}

// traffic is the default with changes.
func traffic(changes ...func(*resource.Traffic)) *resource.Traffic {
	t := *resource.DefaultTraffic()
	t.Retry = resource.DefaultRetry()
	for _, change := range changes {
		change(&t)
	}
	return &t
}

// wantTraffic wants a route's Traffic, nil for none.
func wantTraffic(t *testing.T, in *routev3.RouteConfiguration, want *resource.Traffic) {
	t.Helper()
	got, err := resource.DecodeRouteConfiguration(encode(t, in))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.VirtualHosts[0].Routes[0].Traffic); diff != "" {
		t.Errorf("want - got +\n%s", diff)
	}
}

func TestStandardRetryPoliciesAreDecoded(t *testing.T) {
	retry := func(codes resource.CodeSet, changes ...func(*resource.Retry)) *resource.Traffic {
		return traffic(func(t *resource.Traffic) {
			t.Retry.Codes, t.Retry.Idempotent = codes, true
			for _, change := range changes {
				change(t.Retry)
			}
		})
	}
	for _, tt := range []struct {
		name        string
		host, route *routev3.RetryPolicy
		want        *resource.Traffic
	}{
		{"none is none", nil, nil, nil},
		{"of a condition, with the defaults of gRFC A44", nil, retrying("unavailable"), retry(resource.Codes(14))},
		{
			"of all conditions, however they are written", nil,
			retrying("Cancelled, deadline-exceeded,internal , resource-exhausted,,UNAVAILABLE"), retry(resource.Codes(1, 4, 8, 13, 14)),
		},
		{"of no condition retries nothing", nil, retrying(""), retry(0, func(r *resource.Retry) { r.Attempts = 1 })},
		{
			"with attempts", nil, retrying("internal", func(m *routev3.RetryPolicy) { m.NumRetries = wrapperspb.UInt32(3) }),
			retry(resource.Codes(13), func(r *resource.Retry) { r.Attempts = 4 }),
		},
		{
			"with more attempts than gRPC makes", nil, retrying("internal", func(m *routev3.RetryPolicy) { m.NumRetries = wrapperspb.UInt32(math.MaxUint32) }),
			retry(resource.Codes(13), func(r *resource.Retry) { r.Attempts = 5 }),
		},
		{
			"with back-off", nil,
			retrying("internal", func(m *routev3.RetryPolicy) {
				m.RetryBackOff = backOff(durationpb.New(time.Second), durationpb.New(2*time.Second))
			}),
			retry(resource.Codes(13), func(r *resource.Retry) { r.BackoffBase, r.BackoffMax = time.Second, 2*time.Second }),
		},
		{
			"with the first wait alone, of which ten times is the longest", nil,
			retrying("internal", func(m *routev3.RetryPolicy) { m.RetryBackOff = backOff(durationpb.New(time.Second), nil) }),
			retry(resource.Codes(13), func(r *resource.Retry) { r.BackoffBase, r.BackoffMax = time.Second, 10*time.Second }),
		},
		{
			"with waits below a millisecond, which are one", nil,
			retrying("internal", func(m *routev3.RetryPolicy) { m.RetryBackOff = backOff(durationpb.New(1), durationpb.New(2)) }),
			retry(resource.Codes(13), func(r *resource.Retry) { r.BackoffBase, r.BackoffMax = time.Millisecond, time.Millisecond }),
		},
		{"of a virtual host are its routes'", retrying("internal"), nil, retry(resource.Codes(13))},
		{"of a route hide the virtual host's", retrying("internal"), retrying("cancelled"), retry(resource.Codes(1))},
		{"of a route hide the virtual host's with no condition, too", retrying("internal"), retrying(""), retry(0, func(r *resource.Retry) { r.Attempts = 1 })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := routes(acting(func(a *routev3.RouteAction) { a.RetryPolicy = tt.route }))
			in.VirtualHosts[0].RetryPolicy = tt.host
			wantTraffic(t, in, tt.want)
		})
	}
}

func TestHashPoliciesAreDecoded(t *testing.T) {
	terminal := byHeader("x-user")
	terminal.Terminal = true
	keyed := func(name string) *resource.Traffic {
		return traffic(func(t *resource.Traffic) { t.HashHeader = name })
	}
	for _, tt := range []struct {
		name string
		in   *routev3.Route
		want *resource.Traffic
	}{
		{"none is none", hashing(), nil},
		{"of a header", hashing(byHeader("x-user")), keyed("x-user")},
		{"of a header in any case", hashing(byHeader("X-User")), keyed("x-user")},
		{"of a header, with nothing behind it that could be left out", hashing(terminal), keyed("x-user")},
	} {
		t.Run(tt.name, func(t *testing.T) { wantTraffic(t, routes(tt.in), tt.want) })
	}
}

func TestTheMeshsOwnTrafficGoesBeforeStandardFields(t *testing.T) {
	in := routes(acting(func(a *routev3.RouteAction) {
		a.RetryPolicy, a.HashPolicy = retrying("internal"), []*routev3.RouteAction_HashPolicy{byHeader("x-user")}
	}))
	in.VirtualHosts[0].RetryPolicy = retrying("cancelled")
	in.VirtualHosts[0].Routes[0].TypedPerFilterConfig = saying(t, &policyv1.Traffic{})
	wantTraffic(t, in, traffic())
}

func TestStandardRetryAndHashPoliciesAreRefused(t *testing.T) {
	const host = `RouteConfiguration "voting": virtual_hosts[0].`
	retry := func(change func(*routev3.RetryPolicy)) *routev3.Route {
		return acting(func(a *routev3.RouteAction) { a.RetryPolicy = retrying("unavailable", change) })
	}
	waiting := func(base, most *durationpb.Duration) *routev3.Route {
		return retry(func(m *routev3.RetryPolicy) { m.RetryBackOff = backOff(base, most) })
	}
	rewriting := byHeader("x-user")
	rewriting.GetHeader().RegexRewrite = &matcherv3.RegexMatchAndSubstitute{}
	channel := &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_FilterState_{
		FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: "io.grpc.channel_id"},
	}}
	skipped := acting(func(a *routev3.RouteAction) {
		a.ClusterSpecifier, a.HashPolicy = nil, []*routev3.RouteAction_HashPolicy{rewriting}
	})
	second := durationpb.New(time.Second)
	for _, tt := range []struct {
		name string
		in   *routev3.Route
		want string
	}{
		{"retry on what gRPC does not know", retry(func(m *routev3.RetryPolicy) { m.RetryOn = "unavailable,5xx" }), `retry_policy.retry_on: "5xx" is no condition that gRPC knows`},
		{"retry not once", retry(func(m *routev3.RetryPolicy) { m.NumRetries = wrapperspb.UInt32(0) }), "retry_policy.num_retries: is 0, it must be at least 1"},
		{"retry with a bound of each attempt", retry(func(m *routev3.RetryPolicy) { m.PerTryTimeout = second }), "retry_policy.per_try_timeout: is kept by no gRPC client (gRFC A44)"},
		{"retry on HTTP statuses", retry(func(m *routev3.RetryPolicy) { m.RetriableStatusCodes = []uint32{503} }), "retry_policy.retriable_status_codes: is not what gRPC retries on"},
		{"retry elsewhere", retry(func(m *routev3.RetryPolicy) { m.HostSelectionRetryMaxAttempts = 1 }), "retry_policy.host_selection_retry_max_attempts: is not supported"},
		{"wait for nothing", waiting(nil, nil), "retry_policy.retry_back_off.base_interval: is missing"},
		{"wait no time", waiting(durationpb.New(0), nil), "retry_policy.retry_back_off.base_interval: must be above zero"},
		{"wait no time at most", waiting(second, durationpb.New(0)), "retry_policy.retry_back_off.max_interval: must be above zero"},
		{"wait a negative time", waiting(durationpb.New(-1), nil), "retry_policy.retry_back_off.base_interval: is negative"},
		{"wait for days", waiting(durationpb.New(25*time.Hour), nil), "retry_policy.retry_back_off.base_interval: is 25h0m0s, at most 24h0m0s is accepted"},
		{"wait longer at first", waiting(second, durationpb.New(time.Millisecond)), "retry_policy.retry_back_off.max_interval: is 1ms, below base_interval of 1s"},
		{"hash twice", hashing(byHeader("a"), byHeader("b")), "hash_policy: are 2, one is done here: a header's"},
		{"hash by the connection", hashing(channel), "hash_policy[0].filter_state: is not hashed by here; hash by a header"},
		{"hash by nothing", hashing(&routev3.RouteAction_HashPolicy{Terminal: true}), "hash_policy[0]: is none that is done here; hash by a header"},
		{"hash by a header without a name", hashing(byHeader("")), "hash_policy[0].header.header_name: is empty"},
		{"hash by no header", hashing(byHeader("x user")), `hash_policy[0].header.header_name: "x user" is no name of a header`},
		{"hash by a binary header", hashing(byHeader("x-bin")), `hash_policy[0].header.header_name: "x-bin" is none that calls are told apart by`},
		{"hash by a header of gRPC's own", hashing(byHeader("grpc-timeout")), `hash_policy[0].header.header_name: "grpc-timeout" is none that calls are told apart by`},
		{"hash by a part of a header", hashing(rewriting), "hash_policy[0].header.regex_rewrite: is not supported: the key is the whole value"},
		{"hash by a part of a header and lead nowhere, which grpc-go reads", skipped, "hash_policy[0].header.regex_rewrite: is not supported"},
		{"hedge", acting(func(a *routev3.RouteAction) { a.HedgePolicy = &routev3.HedgePolicy{} }), "hedge_policy: is done by no gRPC client; ours are told by tulle.traffic"},
	} {
		t.Run("which "+tt.name, func(t *testing.T) {
			wantRefused(t, resource.RouteType, routes(tt.in), host+"routes[0].route."+tt.want)
			tt.in.TypedPerFilterConfig = saying(t, &policyv1.Traffic{})
			wantRefused(t, resource.RouteType, routes(tt.in), host+"routes[0].route."+tt.want) // also where it is not what counts
		})
	}
	in := routes(to("voting"))
	in.VirtualHosts[0].RetryPolicy = retrying("x")
	wantRefused(t, resource.RouteType, in, host+`retry_policy.retry_on: "x" is no condition`)
}
