package manifest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func service(name, namespace string) model.ServiceName {
	return model.ServiceName{Namespace: namespace, Name: name}
}

func TestParseReadsWhoMayCall(t *testing.T) {
	in, err := os.ReadFile("testdata/access.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, problems := Parse("f", in)
	if len(problems) > 0 {
		t.Fatalf("problems: %+v", problems)
	}
	want := []model.Object{
		&model.Mesh{
			Name: "default", From: "f:2", AccessDefault: model.AccessDeny,
			PermissiveUntil: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC),
		},
		&model.Service{Name: service("voting", "default"), From: "f:9", Strict: true},
		&model.Service{
			Name: service("old", "default"), From: "f:15", PermissiveUntil: time.Date(2026, 12, 31, 17, 0, 0, 0, time.UTC),
		},
		&model.AccessPolicy{
			Namespace: "default", Name: "voting", From: "f:20", Services: []model.ServiceName{service("voting", "default")},
			Rules: model.AccessRules{
				HasAllow: true,
				Allow: []model.AccessRule{
					{
						From: []model.Principal{
							{Kind: model.OfService, Value: "web"},
							{Kind: model.OfService, Value: "web.shop"},
							{Kind: model.OfNamespace, Value: "ops"},
							{Kind: model.OfID, Value: "spiffe://tulle.local/backup"},
						},
						Methods:  []string{"/emojivoto.v1.VotingService/VoteDoughnut", "/emojivoto.v1.Admin/*"},
						Metadata: []model.MetadataMatch{{Name: "x-tenant", Value: "7"}, {Name: "x-reason"}},
					},
					{},
				},
				Deny: []model.AccessRule{{From: []model.Principal{
					{},
					{Kind: model.Below, Value: "spiffe://other.org/"},
					{Kind: model.Below, Value: "spiffe://tulle.local/ns/shop/"},
				}}},
			},
			Shadow: &model.AccessRules{HasAllow: true, Deny: []model.AccessRule{{Methods: []string{"/a.B/*"}}}},
		},
		&model.AccessPolicy{
			Namespace: "shop", Name: "nobody", From: "f:38",
			Services:   []model.ServiceName{service("cart", "shop"), service("voting", "default")},
			Namespaces: []string{"other"}, AllServices: true, Audit: true, Rules: model.AccessRules{HasAllow: true},
		},
		&model.AccessPolicy{
			Namespace: "default", Name: "shadow.only", From: "f:46", Services: []model.ServiceName{service("web", "default")},
			Shadow: &model.AccessRules{HasAllow: true, Allow: []model.AccessRule{{From: []model.Principal{
				{Kind: model.OfService, Value: "web"}, {Kind: model.OfService, Value: "emoji"},
			}}}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const (
	policyHead = "apiVersion: tulle/v1\nkind: AccessPolicy\nmetadata: {name: voting}\n"
	meshHead   = "apiVersion: tulle/v1\nkind: Mesh\nmetadata: {name: default}\n"
)

func policy(spec string) string { return policyHead + "spec:\n  " + spec + "\n" }

func allow(rule string) string { return policy("allow: [{" + rule + "}]") }

func mesh(spec string) string { return meshHead + "spec:\n  " + spec + "\n" }

// refusedAccess is what nobody who decides about calls could evaluate, or what
// could be meant in two ways.
var refusedAccess = []struct {
	name, yaml string
	want       []string
}{
	{"a policy without spec", policyHead, []string{"f:1:1 spec: is missing: write spec: {allow: [{from: [NAME]}]}"}},
	{"a policy that says nothing", policy("services: [voting]"), []string{"f:5:3 spec: says neither allow nor deny: write allow: "}},
	{"a field with a slip", policy("alow: []"), []string{`f:5:3 spec.alow: unknown field "alow": did you mean allow?`, "says neither"}},
	{
		"a mode nobody knows",
		policy("mode: dryrun\n  allow: []"),
		[]string{`f:5:9 spec.mode: "dryrun" is not allowed: write enforce or audit`},
	},
	{"no services", policy("services: []\n  allow: []"), []string{"f:5:13 spec.services: names no service: write one, or leave it out"}},
	{
		"text for services",
		policy("services: voting\n  allow: []"),
		[]string{"f:5:13 spec.services: must be a list, not text"},
	},
	{
		"a service with a star in it",
		policy("services: [vot*]\n  allow: []"),
		[]string{`f:5:14 spec.services[0]: "vot*" is no service: ... write voting, voting.shop, "*.shop" for a namespace or "*" for all`},
	},
	{
		"a policy without services that is named like none",
		"apiVersion: tulle/v1\nkind: AccessPolicy\nmetadata: {name: a.b}\nspec: {allow: []}\n",
		[]string{`f:3:18 metadata.name: "a.b" can be no service's, and spec.services, which says what the policy protects, is left out`},
	},
	{"a deny list of nothing", policy("deny: []"), []string{"f:5:9 spec.deny: denies nothing: write a rule, or remove it"}},
	{"a shadow of nothing", policy("allow: []\n  shadow: {}"), []string{"f:6:11 spec.shadow: says neither allow nor deny"}},
	{
		"two things on trial",
		policy("mode: audit\n  allow: []\n  shadow: {deny: [{}]}"),
		[]string{"f:7:11 spec.shadow: is on trial in place of allow and deny, which mode: audit has on trial already"},
	},
	{
		"an empty from, which could be nobody",
		allow("from: []"),
		[]string{"f:5:18 spec.allow[0].from: is empty: write an entry, or leave from out"},
	},
	{"empty methods", allow("methods: []"), []string{"spec.allow[0].methods: is empty"}},
	{"empty metadata", allow("metadata: []"), []string{"spec.allow[0].metadata: is empty"}},
	{
		"a caller with a star in it",
		allow("from: ['web*']"),
		[]string{`f:5:19 spec.allow[0].from[0]: caller "web*" is no service: ... write web, web.shop, "*.shop"`},
	},
	{"a caller that is negated", allow("from: ['!web']"), []string{`caller "!web" is no service`}},
	{"an address as caller", allow("from: [10.0.0.7/8]"), []string{`caller "10.0.0.7/8" is no service`}},
	{
		"a star behind a name",
		allow("from: ['spiffe://tulle.local/ns/shop*']"),
		[]string{`spec.allow[0].from[0]: spiffe id "spiffe://tulle.local/ns/shop"*: a star stands behind a slash`},
	},
	{
		"a star in the middle of an id",
		allow("from: ['spiffe://tulle.local/ns/*/svc/web']"),
		[]string{`segment "*" may hold only letters`},
	},
	{"a trust domain as caller", allow("from: ['spiffe://tulle.local']"), []string{"has no path: write spiffe://tulle.local/* for every"}},
	{"a trust domain of any name", allow("from: ['spiffe://*']"), []string{"does not begin with spiffe:// and a trust domain"}},
	{"an id that is escaped", allow("from: ['spiffe://tulle.local/a%2fb']"), []string{`segment "a%2fb" may hold only`}},
	{"an id that ends in a slash", allow("from: ['spiffe://tulle.local/a/']"), []string{"ends in a slash"}},
	{"an id with an empty segment", allow("from: ['spiffe://tulle.local/a//b']"), []string{`segment "" may hold only`}},
	{"an id that climbs", allow("from: ['spiffe://tulle.local/a/../b']"), []string{`segment ".." may hold only`}},
	{"a trust domain in capitals", allow("from: ['spiffe://Tulle.local/a']"), []string{`"Tulle.local" is no trust domain`}},
	{
		"a method without slash",
		allow("methods: [a.B/M]"),
		[]string{`f:5:22 spec.allow[0].methods[0]: method "a.B/M" is none that a server can decide by: write /package.Service/Method`},
	},
	{"a method with a star in it", allow("methods: [/a.B/Get*]"), []string{`method "/a.B/Get*" is none that a server can decide by`}},
	{"a service with a star in it, in a method", allow("methods: [/a.*/M]"), []string{"is none that a server can decide by"}},
	{"a method by expression", allow("methods: ['/a.B/(Get|List)']"), []string{"is none that a server can decide by"}},
	{"a method of three parts", allow("methods: [/a.B/C/M]"), []string{"is none that a server can decide by"}},
	{"every method", allow("methods: ['*']"), []string{`method "*" is any: leave methods out`}},
	{
		"metadata in capitals",
		allow("metadata: [{name: X-Tenant, value: a}]"),
		[]string{`f:5:23 spec.allow[0].metadata[0]: name "X-Tenant" is not in lower case, as all metadata is: write "x-tenant"`},
	},
	{"binary metadata", allow("metadata: [{name: a-bin}]"), []string{"is binary"}},
	{"a pseudo-header", allow("metadata: [{name: ':path'}]"), []string{"is a pseudo-header"}},
	{"gRPC's own metadata", allow("metadata: [{name: grpc-timeout}]"), []string{"is gRPC's own"}},
	{"the host", allow("metadata: [{name: host}]"), []string{"name host is the protocol's own"}},
	{"metadata without name", allow("metadata: [{value: a}]"), []string{"spec.allow[0].metadata[0].name: is missing: write name: NAME"}},
	{"metadata of an empty value", allow("metadata: [{name: a, value: ''}]"), []string{"metadata[0].value: is empty: write the value, or"}},
	{
		"metadata by expression",
		allow("metadata: [{name: a, type: RegularExpression, value: .*}]"),
		[]string{`unknown field "type": the fields here are name, value`},
	},
	{"callers that are left out", allow("notFrom: [web]"), []string{`unknown field "notFrom": the fields here are from, methods, metadata`}},
	{"a condition", allow("when: [{key: a}]"), []string{`unknown field "when": the fields here are`}},

	{
		"a Mesh of a namespace",
		"apiVersion: tulle/v1\nkind: Mesh\nmetadata: {name: default, namespace: shop}\n",
		[]string{"f:3:38 metadata.namespace: is of no meaning"},
	},
	{
		"a default nobody knows",
		mesh("access: {default: allow}"),
		[]string{`f:5:21 spec.access.default: "allow" is not allowed: write authenticated or deny`},
	},
	{"access without default", mesh("access: {}"), []string{"spec.access.default: is missing: write default: deny"}},
	{
		"permissive without an end",
		mesh("mtls: {mode: permissive}"),
		[]string{"f:5:9 spec.mtls: is permissive without an end, and would stay so: write until: 2026-12-31"},
	},
	{
		"strict with an end",
		mesh("mtls: {mode: strict, until: 2026-12-31}"),
		[]string{"f:5:31 spec.mtls.until: is when permissive ends, and the mode is strict"},
	},
	{"an end without a mode", mesh("mtls: {until: 2026-12-31}"), []string{"spec.mtls.mode: is missing: write mode: strict"}},
	{"no TLS at all", mesh("mtls: {mode: disabled}"), []string{`"disabled" is not allowed: write strict or permissive`}},
	{
		"an end that is no day",
		spec("mtls: {mode: permissive, until: tomorrow}"),
		[]string{`f:5:35 spec.mtls.until: "tomorrow" is no day and no time: write 2026-12-31, or 2026-12-31T18:00:00Z`},
	},
	{"an end of split seconds", spec("mtls: {mode: permissive, until: '2026-12-31T18:00:00.5Z'}"), []string{"is no day and no time"}},
}

func TestParseRefusesWhatNobodyCouldDecideBy(t *testing.T) {
	for _, tt := range refusedAccess {
		t.Run(tt.name, func(t *testing.T) {
			objects, problems := Parse("f", []byte(tt.yaml))
			if len(objects) != 0 {
				t.Errorf("got objects: %+v", objects)
			}
			want := make([]string, 0, len(tt.want))
			for _, w := range tt.want {
				want = append(want, "error ... "+w)
			}
			wantProblems(t, problems, want...)
		})
	}
}

// A slip must not leave open what somebody tried to close.
func TestWhatCannotBeReadIsClosed(t *testing.T) {
	voting, web := service("voting", "default"), service("web", "default")
	for _, tt := range []struct {
		name, yaml string
		services   []model.ServiceName
		namespaces []string
		all        bool
	}{
		{name: "the service that the policy is named after", yaml: policy("allow: [{from: ['!web']}]"), services: []model.ServiceName{voting}},
		{name: "those that it names", yaml: policy("services: [web, '*.shop', 'a*']\n  alow: []"), services: []model.ServiceName{web}, namespaces: []string{"shop"}},
		{name: "all", yaml: policy("services: ['*']"), all: true},
		{name: "one that is no list", yaml: policy("services: web\n  allow: []"), services: []model.ServiceName{web}},
		{name: "those under a key with a slip", yaml: policy("service: [web]\n  allow: []"), services: []model.ServiceName{web}},
		{name: "a policy without spec", yaml: policyHead, services: []model.ServiceName{voting}},
		{name: "a kind with a slip", yaml: strings.Replace(policy("allow: []"), "AccessPolicy", "AccessPolcy", 1), services: []model.ServiceName{voting}},
		{name: "an apiVersion of the future", yaml: strings.Replace(policy("allow: []"), "v1", "v2", 1), services: []model.ServiceName{voting}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := &model.AccessPolicy{
				Namespace: "default", Name: "voting", From: "f:1", Services: tt.services, Namespaces: tt.namespaces, AllServices: tt.all,
				Rules: model.AccessRules{Deny: []model.AccessRule{{}}}, Closed: true,
			}
			if diff := cmp.Diff(model.Object(want), insteadOf(t, tt.yaml)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := insteadOf(t, policy("mode: audit\n  alow: []")); got != nil {
		t.Errorf("what would have denied nobody closes nothing: got %+v", got)
	}
	if got := insteadOf(t, policy("allow: [")); got != nil {
		t.Errorf("of what is no YAML nobody knows what it is: got %+v", got)
	}
	if got := insteadOf(t, spec("timeuot: 1s")); got != nil {
		t.Errorf("a Service closes nothing: got %+v", got)
	}
	for yaml, want := range map[string]model.AccessDefault{
		mesh("access: {default: dney}"):                               model.AccessDeny,
		mesh("acces: {default: deny}"):                                model.AccessDeny,
		mesh("defaultAccess: deny"):                                   model.AccessDeny,
		mesh("mtls: {mode: permissive}"):                              model.AccessAuthenticated,
		mesh("access: {default: authenticated}\n  mtls: {mode: non}"): model.AccessAuthenticated,
		meshHead + "spec: deny\n":                                     model.AccessDeny,
	} {
		want := &model.Mesh{Name: "default", From: "f:1", AccessDefault: want, Closed: true}
		if diff := cmp.Diff(model.Object(want), insteadOf(t, yaml)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", yaml, diff)
		}
	}
}

func TestPoliciesAreReadBehindAnyNumberOfErrors(t *testing.T) {
	objects, problems := Parse("f", []byte(strings.Repeat("kind: X\n---\n", 150)+policy("allow: []")+"---\n"+
		strings.Replace(policy("alow: []"), "voting", "web", 1)+"---\n"+serviceHead))
	if len(objects) != 1 || objects[0].Ref().Kind != model.KindAccessPolicy {
		t.Errorf("got %+v, want the good policy", objects)
	}
	if last := problems[len(problems)-1]; len(problems) != maxErrors+2 || last.Instead == nil || last.Instead.Ref().Name != "web" {
		t.Errorf("got %d problems, the last %+v, want what stands for the bad policy", len(problems), last)
	}
}

// insteadOf is what stands for the document, in one of its problems.
func insteadOf(t *testing.T, yaml string) model.Object {
	t.Helper()
	objects, problems := Parse("f", []byte(yaml))
	if len(objects) > 0 || len(problems) == 0 {
		t.Fatalf("%s is read: %+v", yaml, objects)
	}
	var found model.Object
	for _, p := range problems {
		if p.Instead != nil && found != nil {
			t.Error("two stand for one")
		}
		if p.Instead != nil {
			found = p.Instead
		}
	}
	return found
}
