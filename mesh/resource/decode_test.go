package resource_test

import (
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

var decodable = map[string]func(testing.TB, *rand.Rand) proto.Message{
	resource.ListenerType:  randomListener,
	resource.RouteType:     randomRouteConfiguration,
	resource.ClusterType:   randomCluster,
	resource.EndpointsType: randomEndpoints,
	resource.TrustBundleType: func(t testing.TB, r *rand.Rand) proto.Message {
		return &identityv1.TrustBundle{
			TrustDomain: pick(r, []string{"tulle.local", "other.org", "A"}),
			Authorities: [][]byte{root(t, unchanged), root(t, uris("spiffe://tulle.local"))}[r.IntN(2):],
			RenewBefore: timestamppb.New(time.Unix(r.Int64N(1<<32), 0)),
		}
	},
	resource.CommandsType: func(_ testing.TB, r *rand.Rand) proto.Message { return randomCommands(r) },
}

func TestADecodeErrorTellsTypeNameFieldAndReason(t *testing.T) {
	_, err := resource.Decode(resource.RouteType, encode(t, routes(to(""))))
	var got *resource.DecodeError
	if !errors.As(err, &got) {
		t.Fatalf("got %T", err)
	}
	want := resource.DecodeError{Type: resource.RouteType, Name: "voting", Field: "virtual_hosts[0].routes[0].route.cluster", Reason: "is empty"}
	if *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

func TestWhatIsNoResourceIsRefused(t *testing.T) {
	for typeURL := range decodable {
		for name, value := range map[string][]byte{
			"nothing":               nil,
			"no message":            []byte("\xff\xff"),
			"text that is no UTF-8": []byte("\x0a\x01\xff"),
			"33 MiB":                make([]byte, 33<<20),
		} {
			t.Run(typeURL[len("type.googleapis.com/"):]+" of "+name, func(t *testing.T) {
				got, err := resource.Decode(typeURL, value)
				if got != nil || err == nil {
					t.Errorf("got %v and %v, want an error and no resource", got, err)
				}
			})
		}
	}
	want := "type.googleapis.com/x.Secret: is no type of resource this client uses"
	if _, err := resource.Decode("type.googleapis.com/x.Secret", nil); err == nil || "type.googleapis.com/x."+err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// fuzzDecode checks that what is accepted holds what the values' comments say.
func fuzzDecode(f *testing.F, typeURL string) {
	f.Helper()
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 5))
		m := decodable[typeURL](f, r)
		if seed%2 == 1 {
			mutate(r, m)
		}
		f.Add(encode(f, m))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := resource.Decode(typeURL, value)
		if err != nil {
			if err.Error() == "" || got != nil {
				t.Errorf("refused with %q and %v", err, got)
			}
			return
		}
		switch v := got.(type) {
		case *resource.Listener:
			checkListener(t, v)
		case *resource.RouteConfiguration:
			checkRoutes(t, v)
		case *resource.Cluster:
			checkBalancing(t, &v.Balancing)
			if v.Name == "" || v.EndpointsName == "" || !slices.IsSorted(v.PeerIDs) ||
				slices.ContainsFunc(v.PeerIDs, func(id string) bool { return !strings.HasPrefix(id, "spiffe://") }) {
				t.Errorf("accepted %+v", v)
			}
		case *resource.Endpoints:
			checkEndpoints(t, v)
		case *resource.Commands:
			checkCommands(t, v)
		case *resource.TrustBundle:
			if v.TrustDomain == "" || len(v.Authorities) == 0 || slices.ContainsFunc(v.Authorities, func(c *x509.Certificate) bool { return !c.IsCA }) {
				t.Errorf("accepted %+v", v)
			}
		}
	})
}

func FuzzDecodeListener(f *testing.F)           { fuzzDecode(f, resource.ListenerType) }
func FuzzDecodeRouteConfiguration(f *testing.F) { fuzzDecode(f, resource.RouteType) }
func FuzzDecodeCluster(f *testing.F)            { fuzzDecode(f, resource.ClusterType) }
func FuzzDecodeEndpoints(f *testing.F)          { fuzzDecode(f, resource.EndpointsType) }
func FuzzDecodeTrustBundle(f *testing.F)        { fuzzDecode(f, resource.TrustBundleType) }
func FuzzDecodeCommands(f *testing.F)           { fuzzDecode(f, resource.CommandsType) }

// FuzzDecodeAccess is about what stands inside an Any of a route, which a fuzzer of
// whole routes seldom comes to.
func FuzzDecodeAccess(f *testing.F) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 6))
		f.Add(encode(f, &httprbacv3.RBACPerRoute{Rbac: randomAccess(r, rbacv3.RBAC_ALLOW)}))
	}
	empty := encode(f, &httprbacv3.RBACPerRoute{Rbac: denying(nil)})
	f.Fuzz(func(t *testing.T, value []byte) {
		r := inboundRoute(t, "/", nil, nil)
		r.TypedPerFilterConfig = map[string]*anypb.Any{
			resource.AccessDenyFilter:  {TypeUrl: "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute", Value: empty},
			resource.AccessAllowFilter: {TypeUrl: "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute", Value: value},
		}
		c, err := resource.DecodeRouteConfiguration(encode(t, routes(r)))
		if err == nil {
			checkAccess(t, c.VirtualHosts[0].Routes[0].Access)
		}
	})
}

// checkAccess makes decisions, none of which may be one without an answer.
func checkAccess(t *testing.T, a *resource.Access) {
	t.Helper()
	if a == nil {
		t.Error("accepted no access rules")
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		call := randomAccessCall(r)
		d := a.Decide(&resource.Caller{ID: call.id}, call.method, call.md)
		if d.Allowed && (d.Policy == "" || slices.Contains(poolOdd, call.method)) {
			t.Errorf("decided %+v of %+v", d, call)
		}
	}
}

func checkListener(t *testing.T, l *resource.Listener) {
	t.Helper()
	if l.Server != nil {
		if l.Server.Address == "" || l.MaxStreamDuration != 0 {
			t.Errorf("accepted %+v", l)
		}
		checkAccess(t, l.Server.Access)
	}
	if l.Name == "" || (l.RouteName == "") == (l.Routes == nil) || l.MaxStreamDuration < 0 || l.FaultFilter != (l.Fault != nil) {
		t.Errorf("accepted %+v", l)
	}
	checkFault(t, l.Fault)
	if l.Routes != nil {
		checkRoutes(t, l.Routes)
	}
}

func checkRoutes(t *testing.T, c *resource.RouteConfiguration) {
	t.Helper()
	for _, vh := range c.VirtualHosts {
		checkFault(t, vh.Fault)
		for _, r := range vh.Routes {
			checkFault(t, r.Fault)
			if r.Traffic != nil {
				checkTraffic(t, r.Traffic)
			}
			if r.Admission != nil {
				checkAdmission(t, r.Admission)
			}
			if r.Access != nil {
				checkAccess(t, r.Access)
				if r.Unsupported == "" {
					t.Errorf("a client has access rules: %+v", r)
				}
			}
			var total uint64
			for i := range r.Clusters {
				checkFault(t, r.Clusters[i].Fault)
				total += uint64(r.Clusters[i].Weight)
				if r.Clusters[i].Name == "" || r.Clusters[i].Weight == 0 {
					t.Errorf("accepted the cluster %+v", r.Clusters[i])
				}
			}
			if total != uint64(r.TotalWeight) || (total == 0) != (r.Unsupported != "") || r.Timeout != nil && *r.Timeout < 0 {
				t.Errorf("accepted the route %+v", r)
			}
			if c := r.Pick(); (c == nil) != (total == 0) {
				t.Errorf("picked %v of %+v", c, r)
			}
		}
		for _, method := range poolMethods {
			vh.Match(t.Context(), method)
		}
	}
	for _, authority := range []string{"", "voting", "voting.shop:80"} {
		c.VirtualHost(authority)
	}
}

func checkFault(t *testing.T, f *resource.Fault) {
	t.Helper()
	if f != nil && (f.DelayPerMillion > 1_000_000 || f.AbortPerMillion > 1_000_000 || f.Delay < 0 || f.AbortCode > 16 ||
		f.DelayByHeader != (f.DelayUnit > 0) || f.AbortByHeader != (f.AbortUnit > 0)) {
		t.Errorf("accepted the fault %+v", f)
	}
}

func checkEndpoints(t *testing.T, e *resource.Endpoints) {
	t.Helper()
	priority := uint32(0)
	for _, l := range e.Localities {
		if l.Weight == 0 || l.Priority != priority && l.Priority != priority+1 {
			t.Errorf("accepted the locality %+v after priority %d", l, priority)
		}
		priority = l.Priority
		for _, e := range l.Endpoints {
			if e.Weight == 0 || len(e.Addresses) == 0 {
				t.Errorf("accepted the endpoint %+v", e)
			}
		}
	}
	for _, d := range e.Drops {
		if d.PerMillion > 1_000_000 {
			t.Errorf("accepted the drop %+v", d)
		}
	}
}
