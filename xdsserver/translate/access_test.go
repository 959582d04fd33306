package translate_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

// inbound is what the service's servers have.
func inbound(t *testing.T, set *model.Set, service string) *resource.Inbound {
	t.Helper()
	name := resource.ServerListener(service)
	return &resource.Inbound{
		Listener:    decode[*resource.Listener](t, set, resource.ListenerType, name),
		VirtualHost: decode[*resource.RouteConfiguration](t, set, resource.RouteType, name).VirtualHosts[0],
	}
}

func decide(in *resource.Inbound, caller, method string, md metadata.MD) resource.Decision {
	return in.Access(method).Decide(&resource.Caller{ID: caller}, method, md)
}

const (
	idWeb     = "spiffe://tulle.local/ns/default/svc/web"
	idWebber  = "spiffe://tulle.local/ns/default/svc/webber"
	idShop    = "spiffe://tulle.local/ns/shop/svc/web"
	idShopper = "spiffe://tulle.local/ns/shopper/svc/web"
	idOther   = "spiffe://tulle.local/backup"
	idForeign = "spiffe://other.org/ns/default/svc/web"
	nobody    = ""
)

const twoServices = `
apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
---
apiVersion: tulle/v1
kind: Service
metadata: {name: web}
---
`

// policy is one of voting, with the given fields of its spec.
func policy(name, spec string) string {
	return "apiVersion: tulle/v1\nkind: AccessPolicy\nmetadata: {name: " + name + "}\nspec: {services: [voting], " + spec + "}\n---\n"
}

func mesh(spec string) string {
	return "apiVersion: tulle/v1\nkind: Mesh\nmetadata: {name: default}\nspec: {" + spec + "}\n---\n"
}

func TestPoliciesDecideAsTheyAreWritten(t *testing.T) {
	const vote, results, reset = "/a.Voting/Vote", "/a.Voting/Results", "/a.Admin/Reset"
	denyByDefault := mesh("access: {default: deny}")
	permissive := mesh("mtls: {mode: permissive, until: 2026-12-31}")
	for _, tt := range []struct {
		name, yaml     string
		caller, method string
		md             metadata.MD
		want           bool
		by             string
	}{
		{"without a policy whoever has an identity may call", "", idWeb, vote, nil, true, "mesh/default"},
		{"and any of the trust domain is one", "", idOther, vote, nil, true, "mesh/default"},
		{"one of another is none", "", idForeign, vote, nil, false, "mesh/default"},
		{"and nobody else may", "", nobody, vote, nil, false, "mesh/default"},
		{"deny by default denies", denyByDefault, idWeb, vote, nil, false, "mesh/default"},
		{"but what a policy allows", denyByDefault + policy("p", "allow: [{from: [web]}]"), idWeb, vote, nil, true, "default/p/allow/0"},
		{"health is open to everybody", denyByDefault + policy("p", "deny: [{}]"), nobody, "/grpc.health.v1.Health/Check", nil, true, "health"},
		{"and nothing else of that name", denyByDefault, nobody, "/grpc.health.v1.HealthX/Check", nil, false, "mesh/default"},
		{"an empty allow list denies", policy("p", "allow: []"), idWeb, vote, nil, false, "default/p"},
		{"an allow list leaves others out", policy("p", "allow: [{from: [web]}]"), idOther, vote, nil, false, "default/p"},
		{"a name is not the beginning of another", policy("p", "allow: [{from: [web]}]"), idWebber, vote, nil, false, "default/p"},
		{"a service of another namespace is another", policy("p", "allow: [{from: [web]}]"), idShop, vote, nil, false, "default/p"},
		{"and can be named", policy("p", "allow: [{from: [web.shop]}]"), idShop, vote, nil, true, "default/p/allow/0"},
		{"a namespace is all of it", policy("p", "allow: [{from: ['*.shop']}]"), idShop, vote, nil, true, "default/p/allow/0"},
		{"and not the beginning of another", policy("p", "allow: [{from: ['*.shop']}]"), idShopper, vote, nil, false, "default/p"},
		{"an id is one caller", policy("p", "allow: [{from: ['spiffe://tulle.local/backup']}]"), idOther, vote, nil, true, "default/p/allow/0"},
		{"all below an id are many", policy("p", "allow: [{from: ['spiffe://other.org/*']}]"), idForeign, vote, nil, true, "default/p/allow/0"},
		{"anyone has an identity", policy("p", "allow: [{from: ['*']}]"), nobody, vote, nil, false, "default/p"},
		{"a rule without from is for everybody", policy("p", "allow: [{}]"), nobody, vote, nil, true, "default/p/allow/0"},
		{"allow lists add up", policy("p", "allow: []") + policy("q", "allow: [{from: [web]}]"), idWeb, vote, nil, true, "default/q/allow/0"},
		{"a deny rule comes before an allow rule", policy("p", "allow: [{}], deny: [{from: [web]}]"), idWeb, vote, nil, false, "default/p/deny/0"},
		{"also one of another policy", policy("p", "allow: [{}]") + policy("q", "deny: [{from: [web]}]"), idWeb, vote, nil, false, "default/q/deny/0"},
		{"a deny list alone leaves the others to the default", policy("p", "deny: [{from: [web]}]"), idOther, vote, nil, true, "mesh/default"},
		{"to deny anyone is to deny strangers, too", permissive + policy("p", "deny: [{from: ['*']}]"), nobody, vote, nil, false, "default/p/deny/0"},
		{"a method is that one", policy("p", "allow: [{methods: [/a.Voting/Vote]}]"), idWeb, vote, nil, true, "default/p/allow/0"},
		{"and no other", policy("p", "allow: [{methods: [/a.Voting/Vote]}]"), idWeb, results, nil, false, "default/p"},
		{"nor one that begins like it", policy("p", "allow: [{methods: [/a.Voting/Vote]}]"), idWeb, vote + "s", nil, false, "default/p"},
		{"a star is every method of the service", policy("p", "allow: [{methods: [/a.Voting/*]}]"), idWeb, results, nil, true, "default/p/allow/0"},
		{"and of no other", policy("p", "allow: [{methods: [/a.Voting/*]}]"), idWeb, reset, nil, false, "default/p"},
		{"one of several methods will do", policy("p", "allow: [{methods: [/a.Admin/Reset, /a.Voting/*]}]"), idWeb, vote, nil, true, "default/p/allow/0"},
		{
			"all metadata must be there, and a method",
			policy("p", "allow: [{methods: [/x.Y/Z, /a.Voting/*], metadata: [{name: x-a, value: '1'}, {name: x-b}]}]"),
			idWeb, vote, metadata.Pairs("x-a", "1", "x-b", "any"), true, "default/p/allow/0",
		},
		{
			"without one it does not hold",
			policy("p", "allow: [{methods: [/a.Voting/*], metadata: [{name: x-a, value: '1'}, {name: x-b}]}]"),
			idWeb, vote, metadata.Pairs("x-a", "1"), false, "default/p",
		},
		{
			"nor with another value",
			policy("p", "allow: [{metadata: [{name: x-a, value: '1'}]}]"),
			idWeb, vote, metadata.Pairs("x-a", "11"), false, "default/p",
		},
		{"a policy of every service is about this one", strings.Replace(policy("p", "allow: []"), "[voting]", "['*']", 1), idWeb, vote, nil, false, "default/p"},
		{"so is one of its namespace", strings.Replace(policy("p", "allow: []"), "[voting]", "['*.default']", 1), idWeb, vote, nil, false, "default/p"},
		{"one of another is not", strings.Replace(policy("p", "allow: []"), "[voting]", "['*.shop', web]", 1), idWeb, vote, nil, true, "mesh/default"},
		{"while it is permissive strangers may call", permissive, nobody, vote, nil, true, "mesh/default"},
		{"unless a policy says who may", permissive + policy("p", "allow: [{from: [web]}]"), nobody, vote, nil, false, "default/p"},
		{"or the default denies", mesh("access: {default: deny}, mtls: {mode: permissive, until: 2026-12-31}"), nobody, vote, nil, false, "mesh/default"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := decide(inbound(t, load(t, "f", []byte(twoServices+tt.yaml)), "voting"), tt.caller, tt.method, tt.md)
			if got.Allowed != tt.want || got.Policy != tt.by || got.WouldPolicy != "" || got.WouldDeny {
				t.Errorf("got %+v, want allowed: %v, by %q, and nothing on trial", got, tt.want, tt.by)
			}
		})
	}
}

// The four silent failures of Istio's proxyless mode.

func TestAllowNothingDeniesAll(t *testing.T) {
	in := inbound(t, load(t, "f", []byte(twoServices+policy("p", "allow: []"))), "voting")
	for _, caller := range []string{idWeb, idOther, nobody} {
		if got := decide(in, caller, "/a.B/M", nil); got.Allowed || got.Policy != "default/p" {
			t.Errorf("%q: got %+v", caller, got)
		}
	}
}

func TestDryRunDenyDeniesNobody(t *testing.T) {
	for name, yaml := range map[string]string{
		"in audit":      policy("p", "mode: audit, deny: [{}]"),
		"in shadow":     policy("p", "shadow: {deny: [{}]}"),
		"allow nothing": policy("p", "mode: audit, allow: []"),
	} {
		got := decide(inbound(t, load(t, "f", []byte(twoServices+yaml)), "voting"), idWeb, "/a.B/M", nil)
		if !got.Allowed || got.Policy != "mesh/default" {
			t.Errorf("%s: got %+v, want allowed", name, got)
		}
	}
}

func TestAuditIsNeitherLostNorEnforced(t *testing.T) {
	for name, tt := range map[string]struct {
		yaml string
		want resource.Decision
	}{
		"a deny rule": {
			policy("p", "mode: audit, deny: [{from: [web]}]"),
			resource.Decision{Allowed: true, Policy: "mesh/default", WouldDeny: true, WouldPolicy: "default/p/deny/0"},
		},
		"an allow list without the caller": {
			policy("p", "mode: audit, allow: [{from: [voting]}]"),
			resource.Decision{Allowed: true, Policy: "mesh/default", WouldDeny: true, WouldPolicy: "default/p"},
		},
		"an allow list with the caller": {
			policy("p", "mode: audit, allow: [{from: [web]}]"),
			resource.Decision{Allowed: true, Policy: "mesh/default", WouldPolicy: "default/p/allow/0"},
		},
		"beside what is enforced": {
			policy("p", "allow: [{from: [web]}]") + policy("q", "mode: audit, deny: [{}]"),
			resource.Decision{Allowed: true, Policy: "default/p/allow/0", WouldDeny: true, WouldPolicy: "default/q/deny/0"},
		},
		"a shadow that would let in": {
			policy("p", "allow: [], shadow: {allow: [{from: [web]}]}"),
			resource.Decision{Policy: "default/p", WouldPolicy: "default/p/allow/0"},
		},
		"a shadow in place of what is enforced": {
			policy("p", "deny: [{from: [web]}], shadow: {deny: [{from: [voting]}]}"),
			resource.Decision{Policy: "default/p/deny/0", WouldPolicy: "mesh/default"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := decide(inbound(t, load(t, "f", []byte(twoServices+tt.yaml)), "voting"), idWeb, "/a.B/M", nil)
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// What no server could evaluate never gets here; manifest and model have the long
// list. Were it served all the same, it would have to be open or closed to all.
func TestPolicyThatNobodyCouldEvaluateIsRefusedAndCloses(t *testing.T) {
	for _, rule := range []string{"{from: ['!web']}", "{methods: ['/a.B/Get.*']}", "{when: [{key: request.headers}]}", "{from: ['10.0.0.0/8']}"} {
		objects, problems := manifest.Parse("f", []byte(twoServices+policy("p", "allow: ["+rule+"]")))
		if len(problems) == 0 {
			t.Fatalf("%s is accepted", rule)
		}
		for _, p := range problems {
			if p.Instead != nil {
				objects = append(objects, p.Instead)
			}
		}
		set := model.Validate(objects, nil, nil)
		set.Trust = trust(t)
		if got := decide(inbound(t, set, "voting"), idWeb, "/a.B/M", nil); got.Allowed || got.Policy != "default/p/deny/0" {
			t.Errorf("%s: got %+v, want all calls denied", rule, got)
		}
		if got := decide(inbound(t, set, "web"), idWeb, "/a.B/M", nil); !got.Allowed {
			t.Errorf("%s: another service is closed, too: %+v", rule, got)
		}
	}
}

// encoded are the bytes of all resources, by type and name.
func encoded(t *testing.T, set *model.Set) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, r := range translate.Translate(set) {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Message)
		if err != nil {
			t.Fatal(err)
		}
		all[r.TypeURL[strings.LastIndexByte(r.TypeURL, '.')+1:]+" "+r.Name] = b
	}
	return all
}

// changed are the resources that differ, in order.
func changed(a, b map[string][]byte) []string {
	var names []string
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			names = append(names, name)
		}
	}
	for name := range b {
		if a[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A stock server drains all its connections when its Listener changes.
func TestPoliciesChangeRoutesAlone(t *testing.T) {
	services := strings.Replace(twoServices, "{name: voting}", "{name: voting}\nspec: {endpoints: [{address: '10.0.0.1:80'}]}", 1)
	before := encoded(t, load(t, "f", []byte(services)))
	ours, both := []string{"RouteConfiguration tulle/server/voting"}, []string{
		"Listener tulle/server/voting", "Listener tulle/server/web", "RouteConfiguration tulle/server/voting", "RouteConfiguration tulle/server/web",
	}
	for yaml, want := range map[string][]string{
		policy("p", "allow: []"):                              ours,
		policy("p", "deny: [{}]"):                             ours,
		policy("p", "mode: audit, allow: []"):                 ours,
		policy("p", "allow: [], shadow: {deny: [{}]}"):        ours,
		mesh("access: {default: deny}"):                       both[2:],
		mesh("mtls: {mode: permissive, until: '2026-12-31'}"): both, // and no stock server's Listener
	} {
		if got := changed(before, encoded(t, load(t, "f", []byte(services+yaml)))); !slices.Equal(got, want) {
			t.Errorf("%s changes %q, want %q", yaml, got, want)
		}
	}
	// Roots come and go without a Listener or a Cluster that changes.
	set := load(t, "f", []byte(services))
	set.Trust.Authorities = append(set.Trust.Authorities, set.Trust.Authorities[0])
	if got := changed(before, encoded(t, set)); !slices.Equal(got, []string{"TrustBundle tulle.local"}) {
		t.Errorf("another root changes %q", got)
	}
}

func TestPolicyNamesLeadBackToObjects(t *testing.T) {
	access := func(namespace, name string) model.Ref {
		return model.Ref{Kind: model.KindAccessPolicy, Namespace: namespace, Name: name}
	}
	for name, want := range map[string]model.Ref{
		"mesh/default":         {Kind: model.KindMesh, Namespace: "default", Name: "default"},
		"shop/p.q/allow/12":    access("shop", "p.q"),
		"default/p/deny/0":     access("default", "p"),
		"default/p":            access("default", "p"), // where none of its rules matched
		"mesh/default/allow/0": access("mesh", "default"),
		"health":               {},
		"":                     {},
		"default/p, shop/q":    {},
		"default/":             {},
		"a/b/c/d":              {},
	} {
		if got, ok := translate.PolicyRef(name); got != want || ok != (want != model.Ref{}) {
			t.Errorf("%q: got %v, %v, want %v", name, got, ok, want)
		}
	}
}

func BenchmarkInbound10000Policies(b *testing.B) {
	var yaml strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&yaml, "%s", policy(fmt.Sprint("p", i), fmt.Sprintf("allow: [{from: [s%d], methods: [/a.B/M%d]}]", i, i)))
	}
	set := load(b, "bench", []byte(twoServices+yaml.String()))
	b.ReportAllocs()
	for b.Loop() {
		for _, in := range translate.Inputs(set) {
			in.Inbound()
		}
	}
}
