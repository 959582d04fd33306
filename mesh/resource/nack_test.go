package resource_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// TestRefusesWhatGRPCRefuses sends broken resources of each type to grpc-go's
// xDS client. What it answers with a NACK must be refused here; the reverse need
// not hold, see the package's comment. Two kinds of optional extensions that
// this package passes over unread are parsed by grpc-go and may be refused there;
// neither is made here: a TypedStruct of a known filter, and the RLS plugin. Nor is
// a TypedStruct of a known balancing policy, which this package skips.
func TestRefusesWhatGRPCRefuses(t *testing.T) {
	rounds := 5_000
	if testing.Short() || raceEnabled {
		rounds = 150
	}
	for _, tt := range []struct {
		name    string
		typeURL string
		make    func(testing.TB, *rand.Rand) proto.Message
	}{
		{"listeners", resource.ListenerType, randomListener},
		{"route configurations", resource.RouteType, randomRouteConfiguration},
		{"clusters", resource.ClusterType, randomCluster},
		{"endpoints", resource.EndpointsType, randomEndpoints},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := newJudge(t, tt.typeURL)
			refused, accepted, onlyHere, unread := 0, 0, 0, 0
			for round := range rounds {
				r := rand.New(rand.NewPCG(uint64(round), 3))
				m := tt.make(t, r)
				if !chance(r, 5) {
					mutate(r, m)
				}
				value := encode(t, m)
				if chance(r, 20) {
					value = damage(r, value)
				}
				theirs := j.nack(value)
				_, ours := resource.Decode(tt.typeURL, value)
				if theirs != "" && ours == nil {
					_, ours = resource.Decode(tt.typeURL, withoutOwn(t, tt.typeURL, value))
				}
				switch {
				case theirs != "" && ours == nil && strings.Contains(theirs, "failed to unmarshal"):
					unread++ // the damage is in a field that changes nothing
				case theirs != "" && ours == nil:
					t.Fatalf("round %d: grpc-go refuses and this package accepts\n%v\n%s", round, m, theirs)
				case theirs != "":
					refused++
				case ours != nil:
					onlyHere++
				default:
					accepted++
				}
			}
			t.Logf("%d refused by both, %d accepted by both, %d refused here alone, %d damaged where nobody reads", refused, accepted, onlyHere, unread)
			if unread > rounds/100 {
				t.Errorf("%d of %d are accepted though they are damaged: too many to be where nobody reads", unread, rounds)
			}
			if refused < rounds/20 || accepted < rounds/10 {
				t.Errorf("%d of %d refused and %d accepted by both: too few to compare", refused, rounds, accepted)
			}
		})
	}
}

// withoutOwn takes the mesh's own balancing policy out of a cluster: grpc-go
// passes over it, and reads what comes behind it.
func withoutOwn(t *testing.T, typeURL string, value []byte) []byte {
	t.Helper()
	var m clusterv3.Cluster
	if typeURL != resource.ClusterType || proto.Unmarshal(value, &m) != nil || m.GetLoadBalancingPolicy() == nil {
		return value
	}
	m.LoadBalancingPolicy.Policies = slices.DeleteFunc(m.GetLoadBalancingPolicy().GetPolicies(), func(p *clusterv3.LoadBalancingPolicy_Policy) bool {
		return p.GetTypedExtensionConfig().GetTypedConfig().GetTypeUrl() == policyTypes+"Balancing"
	})
	return encode(t, &m)
}

// judge is a grpc-go xDS client that is subscribed to one resource, "subject".
type judge struct {
	t       *testing.T
	ads     *adsServer
	typeURL string
	answers chan answer
}

func newJudge(t *testing.T, typeURL string) *judge {
	t.Helper()
	j := &judge{t: t, typeURL: typeURL, answers: make(chan answer, 1_000)}
	server, builder := newADS(t, func(a answer) {
		if a.typeURL == typeURL {
			j.answers <- a
		}
	})
	j.ads = server
	// What leads to the subject; the subject's own type goes first of its name.
	named := func(at string) string {
		if typeURL == at {
			return "subject"
		}
		return "fixed"
	}
	server.publish(t, resource.ListenerType, named(resource.ListenerType),
		clientListener(t, named(resource.ListenerType), &hcmv3.HttpConnectionManager{RouteSpecifier: byRDS(named(resource.RouteType))}))
	server.publish(t, resource.RouteType, named(resource.RouteType), &routev3.RouteConfiguration{
		Name: named(resource.RouteType),
		VirtualHosts: []*routev3.VirtualHost{{Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: named(resource.ClusterType)}}},
		}}}},
	})
	cluster := edsCluster(named(resource.ClusterType))
	cluster.EdsClusterConfig.ServiceName = named(resource.EndpointsType)
	server.publish(t, resource.ClusterType, cluster.GetName(), cluster)
	server.publish(t, resource.EndpointsType, named(resource.EndpointsType), assignment(named(resource.EndpointsType)))

	conn, err := grpc.NewClient("xds:///"+named(resource.ListenerType), grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.Connect()
	j.await(func(a answer) bool { return a.err == "" }) // subscribed
	return j
}

// nack returns why grpc-go refuses value as the subject, empty if it does not.
func (j *judge) nack(value []byte) string {
	j.t.Helper()
	nonce := j.ads.set(j.typeURL, "subject", value)
	return j.await(func(a answer) bool { return a.nonce == nonce }).err
}

func (j *judge) await(is func(answer) bool) answer {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case a := <-j.answers:
			if is(a) {
				return a
			}
		case <-ctx.Done():
			j.t.Fatal("grpc-go does not answer")
		}
	}
}

func randomListener(t testing.TB, r *rand.Rand) proto.Message {
	t.Helper()
	m := &hcmv3.HttpConnectionManager{
		RouteSpecifier:            byRDS("fixed"),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{MaxStreamDuration: durationpb.New(time.Duration(r.Int64N(1e10)))},
	}
	if chance(r, 3) {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: randomRouteConfiguration(t, r).(*routev3.RouteConfiguration)}
	}
	if chance(r, 2) {
		m.HttpFilters = append(m.HttpFilters, filter(resource.FaultFilter, packed(t, randomFault(r))))
	}
	if chance(r, 3) {
		unknown := filter("later", packed(t, wrapperspb.Bool(true)))
		unknown.IsOptional = !chance(r, 4)
		m.HttpFilters = append(m.HttpFilters, unknown)
	}
	if chance(r, 20) {
		m.HttpFilters = append(m.HttpFilters, filter("early", packed(t, &routerv3.Router{})))
	}
	if chance(r, 4) {
		return randomServerListener(t, r)
	}
	l := clientListener(t, "subject", m)
	if chance(r, 3) { // inside the Any
		mutate(r, m)
		l.ApiListener.ApiListener = packed(t, m)
	}
	return l
}

func randomRouteConfiguration(t testing.TB, r *rand.Rand) proto.Message {
	t.Helper()
	m := &routev3.RouteConfiguration{Name: "subject"}
	for range 1 + r.IntN(2) {
		vh := &routev3.VirtualHost{
			Domains: randomDomains(r, "subject"),
			Routes:  randomRoutes(r, r.IntN(3), func(int) string { return "fixed" }),
		}
		if chance(r, 4) {
			vh.TypedPerFilterConfig = randomOverrides(t, r)
		}
		if chance(r, 4) {
			vh.Routes = append(vh.Routes, randomInboundRoute(t, r))
		}
		if chance(r, 6) {
			vh.RetryPolicy = randomRetryPolicy(r)
		}
		for _, route := range vh.GetRoutes() {
			if chance(r, 4) {
				route.TypedPerFilterConfig = randomOverrides(t, r)
			} else if route.GetRoute() != nil && chance(r, 3) {
				route.TypedPerFilterConfig = saying(t, randomTraffic(r))
			}
			if action := route.GetRoute(); action != nil && chance(r, 3) {
				action.RetryPolicy = randomRetryPolicy(r)
			}
			if action := route.GetRoute(); action != nil && chance(r, 4) {
				action.HashPolicy = randomHashPolicies(r)
			}
			if weighted := route.GetRoute().GetWeightedClusters().GetClusters(); len(weighted) > 0 && chance(r, 2) {
				weighted[0].TypedPerFilterConfig = randomOverrides(t, r)
			}
		}
		m.VirtualHosts = append(m.VirtualHosts, vh)
	}
	if chance(r, 10) {
		m.ClusterSpecifierPlugins = []*routev3.ClusterSpecifierPlugin{{
			Extension:  &corev3.TypedExtensionConfig{Name: "plugin", TypedConfig: packed(t, wrapperspb.Bool(true))},
			IsOptional: !chance(r, 3),
		}}
		m.VirtualHosts[0].Routes = append(m.VirtualHosts[0].Routes, &routev3.Route{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_ClusterSpecifierPlugin{ClusterSpecifierPlugin: pick(r, []string{"plugin", "other"})},
			}},
		})
	}
	return m
}

func randomOverrides(t testing.TB, r *rand.Rand) map[string]*anypb.Any {
	t.Helper()
	switch r.IntN(6) {
	case 0:
		return map[string]*anypb.Any{resource.FaultFilter: packed(t, &routev3.FilterConfig{Config: packed(t, randomFault(r)), IsOptional: chance(r, 2)})}
	case 1:
		return map[string]*anypb.Any{"later": packed(t, &routev3.FilterConfig{Config: packed(t, wrapperspb.Bool(true)), IsOptional: chance(r, 2)})}
	case 2:
		return map[string]*anypb.Any{"later": packed(t, &routev3.FilterConfig{IsOptional: chance(r, 2), Disabled: chance(r, 2)})}
	case 3:
		return map[string]*anypb.Any{"router": packed(t, &routev3.FilterConfig{Config: packed(t, &routerv3.Router{}), IsOptional: chance(r, 2)})}
	default:
		return map[string]*anypb.Any{resource.FaultFilter: packed(t, randomFault(r))}
	}
}

func randomFault(r *rand.Rand) *faultv3.HTTPFault {
	m := &faultv3.HTTPFault{}
	share := &typev3.FractionalPercent{Numerator: r.Uint32N(200), Denominator: typev3.FractionalPercent_DenominatorType(r.IntN(3))}
	switch r.IntN(4) {
	case 0:
		m.Delay = &commonfaultv3.FaultDelay{Percentage: share, FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(time.Second)}}
	case 1:
		m.Delay = &commonfaultv3.FaultDelay{Percentage: share, FaultDelaySecifier: &commonfaultv3.FaultDelay_HeaderDelay_{}}
	}
	switch r.IntN(4) {
	case 0:
		m.Abort = &faultv3.FaultAbort{Percentage: share, ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: r.Uint32N(20)}}
	case 1:
		m.Abort = &faultv3.FaultAbort{Percentage: share, ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: 180 + r.Uint32N(450)}}
	case 2:
		m.Abort = &faultv3.FaultAbort{Percentage: share, ErrorType: &faultv3.FaultAbort_HeaderAbort_{}}
	}
	if chance(r, 3) {
		m.MaxActiveFaults = wrapperspb.UInt32(r.Uint32N(2))
	}
	return m
}

func randomCluster(t testing.TB, r *rand.Rand) proto.Message {
	t.Helper()
	m := edsCluster("subject")
	if chance(r, 2) {
		tls := &tlsv3.UpstreamTlsContext{CommonTlsContext: commonTLS(text(pick(r, poolIDs)), text(pick(r, poolIDs)))}
		if chance(r, 3) { // inside the Any
			mutate(r, tls)
		}
		m.TransportSocket = socket(t, tls)
	}
	if chance(r, 2) {
		m.EdsClusterConfig.ServiceName = "fixed"
	}
	if chance(r, 2) {
		t := &clusterv3.CircuitBreakers_Thresholds{Priority: corev3.RoutingPriority(r.IntN(2))}
		if chance(r, 2) {
			t.MaxRequests = wrapperspb.UInt32(r.Uint32N(100))
		}
		m.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
	}
	switch r.IntN(4) {
	case 0:
		randomLBPolicy(r, m)
	case 1, 2:
		m.LoadBalancingPolicy = randomPolicies(t, r)
	}
	if chance(r, 3) {
		m.OutlierDetection = randomOutlier(r)
	}
	if chance(r, 3) {
		m.LrsServer = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}}
	}
	return m
}

func randomEndpoints(t testing.TB, r *rand.Rand) proto.Message {
	t.Helper()
	m := &endpointv3.ClusterLoadAssignment{ClusterName: "subject"}
	port := uint32(80)
	for i := range r.IntN(4) {
		l := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: "r", Zone: pick(r, []string{"a", "b", "c", "d"})},
			LoadBalancingWeight: wrapperspb.UInt32(pick(r, []uint32{0, 1, 5, 1 << 31})),
			Priority:            uint32(r.IntN(i + 1)),
		}
		for range r.IntN(4) {
			if !chance(r, 20) {
				port++
			}
			e := &endpointv3.LbEndpoint{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: tcp("10.0.0.1", port)}},
				HealthStatus:   corev3.HealthStatus(r.IntN(6)),
			}
			if chance(r, 2) {
				e.LoadBalancingWeight = wrapperspb.UInt32(pick(r, []uint32{1, 2, 1 << 31}))
			}
			if chance(r, 3) {
				port++
				e.GetEndpoint().AdditionalAddresses = []*endpointv3.Endpoint_AdditionalAddress{{Address: tcp("10.0.0.2", port)}}
			}
			if chance(r, 3) {
				own, err := structpb.NewStruct(map[string]any{"instance": "i", "version": pick(r, []any{"v1", "", 1.0})})
				if err != nil {
					t.Fatal(err)
				}
				e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"tulle": own}}
			}
			l.LbEndpoints = append(l.LbEndpoints, e)
		}
		m.Endpoints = append(m.Endpoints, l)
	}
	if chance(r, 3) {
		m.Policy = &endpointv3.ClusterLoadAssignment_Policy{DropOverloads: []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{{
			Category:       "c",
			DropPercentage: &typev3.FractionalPercent{Numerator: r.Uint32N(120), Denominator: typev3.FractionalPercent_DenominatorType(r.IntN(3))},
		}}}
	}
	return m
}

// TestGRPCPassesOverTheMeshsOwnPolicies holds that stock clients can be sent what
// ours are sent.
func TestGRPCPassesOverTheMeshsOwnPolicies(t *testing.T) {
	route := acting(func(a *routev3.RouteAction) {
		a.RetryPolicy = retrying("unavailable", func(m *routev3.RetryPolicy) { m.NumRetries = wrapperspb.UInt32(4) })
		a.HashPolicy = []*routev3.RouteAction_HashPolicy{byHeader("x-user")}
	})
	route.TypedPerFilterConfig = saying(t, &policyv1.Traffic{HashHeader: "x-user"})
	inbound := taking(t, &policyv1.Admission{Concurrency: &policyv1.Concurrency{Limit: 1}})
	config := routes(inbound, route)
	config.Name = "subject"
	balanced := balancedBy(t, &policyv1.Balancing{}, weighing(t, &leastv3.LeastRequest{}))
	balanced.Name, balanced.OutlierDetection = "subject", &clusterv3.OutlierDetection{}
	for typeURL, m := range map[string]proto.Message{resource.RouteType: config, resource.ClusterType: balanced} {
		t.Run(typeURL[len("type.googleapis.com/"):], func(t *testing.T) {
			value := encode(t, m)
			if reason := newJudge(t, typeURL).nack(value); reason != "" {
				t.Errorf("grpc-go refuses: %s", reason)
			}
			if _, err := resource.Decode(typeURL, value); err != nil {
				t.Errorf("this package refuses: %v", err)
			}
		})
	}
}
