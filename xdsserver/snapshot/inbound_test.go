package snapshot

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

// protect puts a policy on a service: who may call, or nobody.
func (w *world) protect(s string, callers ...string) {
	p := &model.AccessPolicy{
		Namespace: model.DefaultNamespace, Name: s, From: "mesh.yaml:20",
		Services: []model.ServiceName{name(s)}, Rules: model.AccessRules{HasAllow: true},
	}
	for _, c := range callers {
		p.Rules.Allow = append(p.Rules.Allow, model.AccessRule{From: []model.Principal{{Kind: model.OfService, Value: c}}})
	}
	w.policies = []*model.AccessPolicy{p}
}

const (
	serverVoting = "tulle/server/voting"
	stockVoting  = "tulle/server/voting/10.0.0.7:80"
)

// badRules is a RouteConfiguration that no server takes.
func badRules(name string) proto.Message { return routeTo(name, "voting", badRegex) }

func TestWhatServersHaveIsAcceptedByGrpcGo(t *testing.T) {
	b := builder(t, true)
	w := newWorld("web", "voting")
	w.services["voting"].Endpoints = []model.Endpoint{{Addresses: []string{"10.0.0.7:80", "[2001:db8::7]:80"}}}
	w.services["web"].PermissiveUntil = time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	every := model.AccessRules{
		HasAllow: true,
		Allow: []model.AccessRule{{}, {
			From: []model.Principal{
				{},
				{Kind: model.OfService, Value: "web"},
				{Kind: model.OfNamespace, Value: "shop"},
				{Kind: model.OfID, Value: "spiffe://tulle.local/backup"},
				{Kind: model.Below, Value: "spiffe://tulle.local/"},
			},
			Methods:  []string{"/a.B/M", "/a.B/*"},
			Metadata: []model.MetadataMatch{{Name: "x-a", Value: "1"}, {Name: "x-b"}},
		}},
		Deny: []model.AccessRule{{Metadata: []model.MetadataMatch{{Name: "x-c"}}}},
	}
	w.policies = []*model.AccessPolicy{
		{Namespace: "default", Name: "a", AllServices: true, Rules: every, Shadow: &every},
		{Namespace: "default", Name: "b", AllServices: true, Audit: true, Rules: model.AccessRules{HasAllow: true}},
	}
	snap, _ := w.build(t, b, 0)
	for _, u := range b.units {
		for _, m := range u.inbound {
			if !m.judged {
				t.Errorf("%s %q was not judged", m.kind, m.resource.Name)
			}
		}
	}
	for _, n := range []string{stockVoting, "tulle/server/voting/0.0.0.0:80", "tulle/server/voting/[::]:80", "tulle/server/voting/[2001:db8::7]:80"} {
		if snap.Resource(resource.ListenerType, n) == nil {
			t.Errorf("no Listener %s", n)
		}
	}
}

func TestPoliciesAreNewRoutesAndOldListeners(t *testing.T) {
	b := builder(t, true)
	w := newWorld("web", "voting")
	before, _ := w.build(t, b, 0)
	w.protect("voting", "web")
	after, _ := w.build(t, b, 0)
	for typeURL, resources := range before.Types {
		for name, r := range resources {
			changed := typeURL == resource.RouteType && name == serverVoting
			if same := after.Resource(typeURL, name) == r; same == changed {
				t.Errorf("%s %q: the same value: %t", kindOf(typeURL), name, same)
			}
		}
	}
}

func TestRefusedRulesKeepTheirPreviousFormAndNothingElseWaits(t *testing.T) {
	b := builder(t, true)
	bad := &switched{m: badRules(serverVoting)}
	spoil(b, resource.RouteType, serverVoting, bad.get)
	w := newWorld("web", "voting")
	before, _ := w.build(t, b, 0)

	bad.on = true
	w.protect("voting", "web")
	w.service("voting", 7)
	after, problems := w.build(t, b, 2)
	for i, want := range []model.Ref{w.services["voting"].Ref(), w.policies[0].Ref()} {
		if p := problems[i]; p.Object != want || p.Warning || !strings.Contains(p.Message, "a server would refuse it") ||
			!strings.Contains(p.Message, "stays in use") {
			t.Errorf("got %+v, want one of %v", p, want)
		}
	}
	for _, typeURL := range []string{resource.ListenerType, resource.RouteType} {
		if after.Resource(typeURL, serverVoting) != before.Resource(typeURL, serverVoting) {
			t.Errorf("%s of the servers has changed", kindOf(typeURL))
		}
	}
	if got := maxRequests(t, after, "voting"); got != 7 {
		t.Errorf("what clients have waits: got %d", got)
	}
}

func TestRulesThatAreRefusedFromTheStartCloseTheService(t *testing.T) {
	b := builder(t, true)
	spoil(b, resource.RouteType, serverVoting, func() proto.Message { return badRules(serverVoting) })
	w := newWorld("web", "voting")
	w.services["voting"].Endpoints = []model.Endpoint{{Addresses: []string{"10.0.0.7:80"}}}
	snap, problems := w.build(t, b, 1)
	if got := problems[0].Message; !strings.Contains(got, "its servers take no calls") {
		t.Errorf("got %q", got)
	}
	for _, n := range []string{serverVoting, stockVoting} {
		if snap.Resource(resource.ListenerType, n) != nil {
			t.Errorf("Listener %s leads to no rules", n)
		}
	}
	if snap.Resource(resource.ListenerType, "voting") == nil || snap.Resource(resource.RouteType, "tulle/server/web") == nil {
		t.Error("others suffer")
	}
}

func TestRefusedServerListenerLetsRulesGoOn(t *testing.T) {
	b := builder(t, true)
	bad := &switched{m: &listenerv3.Listener{Name: stockVoting}}
	spoil(b, resource.ListenerType, stockVoting, bad.get)
	w := newWorld("web", "voting")
	w.services["voting"].Endpoints = []model.Endpoint{{Addresses: []string{"10.0.0.7:80"}}}
	before, _ := w.build(t, b, 0)
	bad.on = true
	w.protect("voting")
	after, _ := w.build(t, b, 2)
	if after.Resource(resource.ListenerType, stockVoting) != before.Resource(resource.ListenerType, stockVoting) {
		t.Error("the Listener has changed")
	}
	if after.Resource(resource.RouteType, serverVoting) == before.Resource(resource.RouteType, serverVoting) {
		t.Error("the policy waits for it")
	}
}

func TestRefusedRouteLetsPoliciesGoOn(t *testing.T) {
	b := builder(t, true)
	bad := &switched{m: badRules("voting")}
	spoil(b, resource.RouteType, "voting", bad.get)
	w := newWorld("voting")
	before, _ := w.build(t, b, 0)
	bad.on = true
	w.service("voting", 7)
	w.protect("voting")
	after, problems := w.build(t, b, 1)
	if !strings.Contains(problems[0].Message, "a client would refuse it") {
		t.Errorf("got %+v", problems)
	}
	if after.Resource(resource.RouteType, serverVoting) == before.Resource(resource.RouteType, serverVoting) {
		t.Error("the policy waits for the route")
	}
}

func TestTrustBundleIsPublishedAndABadOneKeepsTheLast(t *testing.T) {
	b := builder(t, false)
	w := newWorld("voting")
	before, _ := w.build(t, b, 0)
	r := before.Resource(resource.TrustBundleType, "tulle.local")
	if r == nil {
		t.Fatal("not published")
	}
	asked := *testTrust
	asked.RenewBefore = time.Unix(1_700_000_000, 0)
	w.trust = &asked
	after, _ := w.build(t, b, 0)
	for typeURL, resources := range before.Types {
		for name, r := range resources {
			changed := typeURL == resource.TrustBundleType
			if same := after.Resource(typeURL, name) == r; same == changed {
				t.Errorf("%s %q: the same value: %t", kindOf(typeURL), name, same)
			}
		}
	}
	w.trust = &model.Trust{Domain: "tulle.local", Authorities: [][]byte{[]byte("no certificate")}}
	bad, problems := w.build(t, b, 1)
	if bad.Resource(resource.TrustBundleType, "tulle.local") != after.Resource(resource.TrustBundleType, "tulle.local") {
		t.Error("the last good bundle is gone")
	}
	if got := problems[0]; got.Warning || !strings.Contains(got.Message, "stays in use") {
		t.Errorf("got %+v", got)
	}
	fresh, problems := w.build(t, builder(t, false), 1)
	if len(fresh.Types[resource.TrustBundleType]) != 0 || !strings.Contains(problems[0].Message, "nobody can be verified") {
		t.Errorf("from the start: got %+v", problems)
	}
}

func TestWithoutTrustServersHaveNothing(t *testing.T) {
	w := newWorld("voting")
	w.trust = nil
	snap, _ := w.build(t, builder(t, true), 0)
	if snap.Resource(resource.ListenerType, serverVoting) != nil || snap.Resource(resource.RouteType, serverVoting) != nil {
		t.Error("servers have rules about identities that nobody has")
	}
}

// What grpc-go takes and refuses of the forms that are about identities; what it
// takes and should not is refused by our own decoder.
func TestJudgeKnowsIdentities(t *testing.T) {
	set := newWorld("voting").set()
	service := set.Services[name("voting")]
	service.Endpoints = []model.Endpoint{{Addresses: []string{"10.0.0.7:80"}}}
	made := map[string]proto.Message{}
	for _, r := range translate.Translate(set) {
		made[kindOf(r.TypeURL).String()+" "+r.Name] = r.Message
	}
	listener := func(change func(*listenerv3.Listener)) proto.Message {
		l := proto.CloneOf(made["Listener "+stockVoting].(*listenerv3.Listener))
		change(l)
		return l
	}
	cluster := func(change func(*tlsv3.UpstreamTlsContext)) proto.Message {
		c := proto.CloneOf(made["Cluster voting"].(*clusterv3.Cluster))
		var tls tlsv3.UpstreamTlsContext
		if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(&tls); err != nil {
			t.Fatal(err)
		}
		change(&tls)
		if err := c.GetTransportSocket().GetTypedConfig().MarshalFrom(&tls); err != nil {
			t.Fatal(err)
		}
		return c
	}
	j := startJudge(t)
	for _, tt := range []struct {
		name    string
		message proto.Message
		want    string // of the judge; empty takes it
		ours    string // of our own decoder
	}{
		{"a server's Listener", made["Listener "+serverVoting], "", ""},
		{"a stock server's Listener", made["Listener "+stockVoting], "", ""},
		{"a server's rules", made["RouteConfiguration "+serverVoting], "", ""},
		{"a Cluster with an identity", made["Cluster voting"], "", ""},
		{
			"a Listener without address",
			listener(func(l *listenerv3.Listener) { l.Address = nil }),
			"no address field", "address: is missing",
		},
		{
			"a Listener without chains",
			listener(func(l *listenerv3.Listener) { l.FilterChains = nil }),
			"no supported filter chains", "filter_chains",
		},
		{
			"a Listener in plain text",
			listener(func(l *listenerv3.Listener) { l.GetFilterChains()[0].TransportSocket = nil }),
			"", "transport_socket: is missing",
		},
		{
			"a Cluster of any identity",
			cluster(func(c *tlsv3.UpstreamTlsContext) {
				c.GetCommonTlsContext().GetValidationContext().MatchSubjectAltNames = nil
			}),
			"", "match_subject_alt_names: is empty",
		},
		{
			"a Cluster with another provider",
			cluster(func(c *tlsv3.UpstreamTlsContext) {
				c.GetCommonTlsContext().GetTlsCertificateProviderInstance().InstanceName = "other"
			}),
			`"other" missing in bootstrap`, `"other" is not known`,
		},
		{
			"rules by expression",
			routeTo(serverVoting, "voting", &routev3.RouteMatch{PathSpecifier: badRegex.GetPathSpecifier()}),
			"((", "((",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			typeURL := "type.googleapis.com/" + string(tt.message.ProtoReflect().Descriptor().FullName())
			c := candidateOf(t, tt.message.(interface{ GetName() string }).GetName(), tt.message)
			if err := j.try(t.Context(), typeURL, []*candidate{c}); err != nil {
				t.Fatal(err)
			}
			if (c.refusal == "") != (tt.want == "") || !strings.Contains(c.refusal, tt.want) {
				t.Errorf("grpc-go: got %q, want %q", c.refusal, tt.want)
			}
			_, err := resource.Decode(typeURL, c.value)
			if (err == nil) != (tt.ours == "") || err != nil && !strings.Contains(err.Error(), tt.ours) {
				t.Errorf("ours: got %v, want %q", err, tt.ours)
			}
		})
	}
}
