package translate_test

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

func named(name string) model.ServiceName {
	return model.ServiceName{Namespace: model.DefaultNamespace, Name: name}
}

func member(service, instance, address string, subsets ...string) model.Endpoint {
	return model.Endpoint{Service: named(service), Instance: instance, Addresses: []string{address}, Subsets: subsets, From: model.Registered}
}

// translated returns the messages of a set that must hold nothing wrong, by type and name.
func translated(t *testing.T, route *model.Route, endpoints ...model.Endpoint) map[[2]string]translate.Resource {
	t.Helper()
	set := model.Validate([]model.Object{route}, endpoints, nil)
	for _, p := range set.Problems {
		if !p.Warning {
			t.Fatal(p)
		}
	}
	set.Trust = trust(t)
	all := map[[2]string]translate.Resource{}
	for _, r := range translate.Translate(set) {
		all[[2]string{r.TypeURL, r.Name}] = r
	}
	return all
}

func TestFailoverIsThePrioritiesBelow(t *testing.T) {
	all := translated(t, &model.Route{
		Namespace: model.DefaultNamespace, Name: "voting", Parents: []model.ServiceName{named("voting")}, Ordered: true,
		Rules: []model.Rule{{Backends: []model.Backend{{
			Service: named("voting"), Version: "one", Weight: 1,
			Failover: []model.Target{{Service: named("voting"), Version: "two"}, {Service: named("gone")}, {Service: named("standby")}},
		}}}},
	},
		member("voting", "a", "10.0.0.1:80", "one"), member("voting", "b", "10.0.0.2:80", "two", "one"), member("voting", "c", "10.0.0.3:80", "two"),
		member("standby", "d", "10.0.0.4:80"))
	assignment, _ := all[[2]string{resource.EndpointsType, "voting/one"}].Message.(*endpointv3.ClusterLoadAssignment)
	got := map[uint32][]string{}
	for _, l := range assignment.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			got[l.GetPriority()] = append(got[l.GetPriority()], e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
	}
	// Who is in two of the groups is in the first; one without endpoints leaves no gap.
	want := map[uint32][]string{0: {"10.0.0.1", "10.0.0.2"}, 1: {"10.0.0.3"}, 2: {"10.0.0.4"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses by priority (-want +got):\n%s", diff)
	}
	cluster, _ := all[[2]string{resource.ClusterType, "voting/one"}].Message.(*clusterv3.Cluster)
	var tls tlsv3.UpstreamTlsContext
	if err := cluster.GetTransportSocket().GetTypedConfig().UnmarshalTo(&tls); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range tls.GetCommonTlsContext().GetValidationContext().GetMatchSubjectAltNames() {
		ids = append(ids, m.GetExact())
	}
	wantIDs := []string{
		"spiffe://tulle.local/ns/default/svc/voting", "spiffe://tulle.local/ns/default/svc/gone", "spiffe://tulle.local/ns/default/svc/standby",
	}
	if diff := cmp.Diff(wantIDs, ids); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
	for key, r := range all {
		if key[0] != resource.EndpointsType && key[0] != resource.ClusterType {
			continue
		}
		if key[1] != "voting/one" && r.Message == nil {
			t.Errorf("%v has no message", key)
		}
	}
}

func TestAnOrderedRouteKeepsItsOrder(t *testing.T) {
	backend := func(version string) []model.Backend {
		return []model.Backend{{Service: named("voting"), Version: version, Weight: 1}}
	}
	all := translated(t, &model.Route{
		Namespace: model.DefaultNamespace, Name: "voting", Parents: []model.ServiceName{named("voting")}, Ordered: true,
		Rules: []model.Rule{
			{Matches: []model.Match{{Headers: []model.HeaderMatch{{Name: "x", Value: "1", Invert: true}}}}, Backends: backend("first")},
			{Matches: []model.Match{{Service: "vote.v1.Votes", Method: "Cast"}}, Backends: backend("second")},
			{Backends: backend("third")},
		},
	}, member("voting", "a", "10.0.0.1:80", "first", "second", "third"))
	config, _ := all[[2]string{resource.RouteType, "voting"}].Message.(*routev3.RouteConfiguration)
	var got []string
	for _, r := range config.GetVirtualHosts()[0].GetRoutes() {
		got = append(got, r.GetRoute().GetCluster())
	}
	if diff := cmp.Diff([]string{"voting/first", "voting/second", "voting/third"}, got); diff != "" {
		t.Errorf("clusters in order (-want +got):\n%s", diff)
	}
	if h := config.GetVirtualHosts()[0].GetRoutes()[0].GetMatch().GetHeaders()[0]; !h.GetInvertMatch() {
		t.Errorf("got %v, want an inverted match", h)
	}
}
