package model

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// protecting is a policy of voting.
func protecting(change func(*AccessPolicy)) *AccessPolicy {
	p := &AccessPolicy{
		Namespace: "default", Name: "p", From: "f:1", Services: []ServiceName{name("voting")}, Rules: AccessRules{HasAllow: true},
	}
	if change != nil {
		change(p)
	}
	return p
}

func allowing(r AccessRule) *AccessPolicy {
	return protecting(func(p *AccessPolicy) { p.Rules.Allow = []AccessRule{r} })
}

func from(principals ...Principal) AccessRule { return AccessRule{From: principals} }

func TestValidatePolicies(t *testing.T) {
	web := Principal{OfService, "web"}
	for _, tt := range []struct {
		name   string
		policy *AccessPolicy
		want   []string
	}{
		{"an allow list of nobody is good", protecting(nil), nil},
		{"a rule with everything is good", allowing(AccessRule{
			From:     []Principal{web, {OfNamespace, "shop"}, {}, {OfID, "spiffe://td/a"}, {Below, "spiffe://td/"}},
			Methods:  []string{"/a.B/M", "/a.B/*", "/C/m"},
			Metadata: []MetadataMatch{{Name: "x-a", Value: "1"}, {Name: "x-b"}},
		}), nil},
		{"rules on trial alone are good", protecting(func(p *AccessPolicy) { p.Rules, p.Shadow = AccessRules{}, &AccessRules{HasAllow: true} }), nil},
		{"a name is a DNS name", protecting(func(p *AccessPolicy) { p.Name = "a/b" }), []string{"metadata.name: is no DNS name"}},
		{
			"the name of the Mesh's default is taken",
			protecting(func(p *AccessPolicy) { p.Namespace, p.Name = "mesh", "default" }),
			[]string{"metadata.name: mesh/default is what the default of the Mesh is called"},
		},
		{"a policy protects somebody", protecting(func(p *AccessPolicy) { p.Services = nil }), []string{"spec.services: names no service"}},
		{
			"a service is protected once",
			protecting(func(p *AccessPolicy) { p.Services = append(p.Services, p.Services[0]) }),
			[]string{"spec.services: names voting twice"},
		},
		{
			"a namespace is a DNS label",
			protecting(func(p *AccessPolicy) { p.Namespaces = []string{"a*"} }),
			[]string{"spec.services: is no DNS label"},
		},
		{"a policy says something", protecting(func(p *AccessPolicy) { p.Rules = AccessRules{} }), []string{"spec: says neither allow nor deny"}},
		{
			"one thing is on trial at a time",
			protecting(func(p *AccessPolicy) { p.Audit, p.Shadow = true, &AccessRules{HasAllow: true} }),
			[]string{"spec.shadow: is on trial in place of allow and deny"},
		},
		{
			"rules on trial say something",
			protecting(func(p *AccessPolicy) { p.Shadow = &AccessRules{} }),
			[]string{"spec.shadow: says neither allow nor deny"},
		},
		{"a caller is there once", allowing(from(web, web)), []string{"spec.allow[0].from[1]: is the same as from[0]"}},
		{"a service is written in one way", allowing(from(Principal{OfService, "web.default"})), []string{"is written web"}},
		{"a prefix ends behind a slash", allowing(from(Principal{Below, "spiffe://td/a"})), []string{"a star stands behind a slash"}},
		{"an id is of SPIFFE", allowing(from(Principal{OfID, "td/a"})), []string{"does not begin with spiffe://"}},
		{"anyone has no name", allowing(from(Principal{Anyone, "web"})), []string{`caller "web" is said to be anyone`}},
		{"a kind of caller is known", allowing(from(Principal{Below + 1, "a"})), []string{"is of unknown kind"}},
		{"a method is no expression", allowing(AccessRule{Methods: []string{"/a.*/M"}}), []string{"spec.allow[0].methods[0]: method"}},
		{"a method is there once", allowing(AccessRule{Methods: []string{"/a.B/M", "/a.B/M"}}), []string{"is the same as methods[0]"}},
		{
			"metadata is matched once",
			allowing(AccessRule{Metadata: []MetadataMatch{{Name: "a", Value: "1"}, {Name: "a"}}}),
			[]string{"spec.allow[0].metadata[1].name: a is matched by metadata[0] too"},
		},
		{"metadata can be sent", allowing(AccessRule{Metadata: []MetadataMatch{{Name: "a", Value: "ü"}}}), []string{"can never be sent"}},
		{"a rule with exceptions and finer matches is good", allowing(AccessRule{
			From: []Principal{{}}, NotFrom: []Principal{web}, Path: &PathMatch{PathExpression, "/a\\.B/.*"},
			Metadata: []MetadataMatch{
				{Name: "x-a", Kind: ValuePrefix, Value: "1"}, {Name: "x-a", Kind: ValueSuffix, Value: "2"}, {Name: "x-b", Kind: ValueAny, Invert: true},
			},
			Unless: []CallMatch{{Methods: []string{"/a.B/M"}}, {Path: &PathMatch{PathPrefix, "/a.B/N"}}},
		}), nil},
		{"an exception is there once", allowing(AccessRule{NotFrom: []Principal{web, web}}), []string{"spec.allow[0].notFrom[1]: is the same as notFrom[0]"}},
		{"a path begins with a slash", allowing(AccessRule{Path: &PathMatch{Value: "a"}}), []string{"spec.allow[0].path: \"a\" does not begin with a slash"}},
		{"a path says something", allowing(AccessRule{Path: &PathMatch{}}), []string{"spec.allow[0].path: is empty"}},
		{"a path is of a known kind", allowing(AccessRule{Path: &PathMatch{Kind: 9, Value: "/"}}), []string{"spec.allow[0].path: is of unknown kind 9"}},
		{"a path's expression is one", allowing(AccessRule{Path: &PathMatch{PathExpression, "("}}), []string{"spec.allow[0].path: \"(\" is no RE2"}},
		{
			"metadata's expression is one",
			allowing(AccessRule{Metadata: []MetadataMatch{{Name: "a", Kind: ValueExpression, Value: "("}}}),
			[]string{"spec.allow[0].metadata[0].value: \"(\" is no RE2"},
		},
		{
			"a prefix is not empty",
			allowing(AccessRule{Metadata: []MetadataMatch{{Name: "a", Kind: ValuePrefix}}}),
			[]string{"spec.allow[0].metadata[0]: value \"\" is none for its kind"},
		},
		{
			"metadata is matched in a known way",
			allowing(AccessRule{Metadata: []MetadataMatch{{Name: "a", Kind: 9, Value: "1"}}}),
			[]string{"spec.allow[0].metadata[0]: is of unknown kind 9"},
		},
		{
			"a rule is not for no call at all",
			allowing(AccessRule{Unless: []CallMatch{{}}}),
			[]string{"spec.allow[0].unless[0]: is every call"},
		},
		{
			"a match of Unless is checked",
			allowing(AccessRule{Unless: []CallMatch{{Methods: []string{"x"}}}}),
			[]string{"spec.allow[0].unless[0].methods[0]: method"},
		},
		{
			"an excepted service has a name",
			protecting(func(p *AccessPolicy) { p.AllServices, p.Services, p.Except = true, nil, []ServiceName{{}} }),
			[]string{"spec.except.name: is no DNS label"},
		},
		{
			"rules on trial are checked, too",
			protecting(func(p *AccessPolicy) { p.Shadow = &AccessRules{Deny: []AccessRule{{Methods: []string{"x"}}}} }),
			[]string{"spec.shadow.deny[0].methods[0]: method"},
		},
		{
			"rules are bounded",
			protecting(func(p *AccessPolicy) { p.Rules.Allow = make([]AccessRule, maxAccessRules+1) }),
			[]string{"spec.allow: has 257 entries"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := Validate([]Object{service("voting", "f:1"), service("web", "f:2"), tt.policy}, nil, nil)
			var errors []Problem
			for _, p := range set.Problems {
				if !p.Warning && !strings.Contains(p.Message, "is denied until it is corrected") {
					errors = append(errors, p)
				}
			}
			wantProblems(t, errors, tt.want...)
			if got := len(set.Policies) == 1 && set.Policies[0] == tt.policy; got != (tt.want == nil) {
				t.Errorf("accepted: %v", got)
			}
		})
	}
}

func TestExceptLeavesServicesOut(t *testing.T) {
	shop := ServiceName{Namespace: "shop", Name: "cart"}
	for _, tt := range []struct {
		name    string
		policy  AccessPolicy
		service ServiceName
		want    bool
	}{
		{"one of all", AccessPolicy{AllServices: true, Except: []ServiceName{shop}}, shop, false},
		{"another of all", AccessPolicy{AllServices: true, Except: []ServiceName{shop}}, name("web"), true},
		{"one of a namespace", AccessPolicy{Namespaces: []string{"shop"}, Except: []ServiceName{shop}}, shop, false},
		{"one that is named all the same", AccessPolicy{AllServices: true, Services: []ServiceName{shop}, Except: []ServiceName{shop}}, shop, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.policy.Protects(tt.service); got != tt.want {
				t.Errorf("got %v", got)
			}
			if got := tt.policy.Close().Protects(tt.service); got != tt.want {
				t.Errorf("closed: got %v", got)
			}
		})
	}
}

func TestPolicyIsKeptForServicesNobodyKnows(t *testing.T) {
	p := allowing(from(Principal{OfService, "wbe"}))
	p.Services = append(p.Services, name("payments"))
	set := Validate([]Object{p, service("voting", "f:2"), service("web", "f:3")}, nil, nil)
	wantProblems(t, set.Problems,
		"warning AccessPolicy p f:1 spec.services: no service payments is known: the policy protects it once it starts",
		"warning ... spec.allow[0].from[0]: no service wbe is known: did you mean web? If not, the rule holds once it calls",
	)
	if len(set.Policies) != 1 || !set.Policies[0].Protects(name("payments")) {
		t.Errorf("got %+v", set.Policies)
	}
	// One that is set aside is known, and has its own problem.
	set = Validate([]Object{protecting(nil), service("voting", "f:2", Endpoint{})}, nil, nil)
	wantProblems(t, set.Problems, "error Service voting ... has no address")
}

func TestBadPolicyKeepsItsLastGoodFormOrCloses(t *testing.T) {
	services := []Object{service("voting", "f:2"), service("web", "f:3")}
	good := allowing(from(Principal{OfService, "web"}))
	before := Validate(append(services, good), nil, nil)
	bad := allowing(from(Principal{OfService, "we b"}))

	after := Validate(append(services, bad), nil, before)
	wantProblems(t, after.Problems, `error AccessPolicy p f:1 spec.allow[0].from[0]: service name "we b"`)
	if len(after.Policies) != 1 || after.Policies[0] != good {
		t.Errorf("got %+v, want the last good form", after.Policies)
	}

	after = Validate(append(services, bad), nil, nil)
	const denied = "error AccessPolicy p f:1 spec.services: no good form of the policy is in use, so every call to voting is denied until"
	wantProblems(t, after.Problems, "service name", denied)
	want := []*AccessPolicy{{
		Namespace: "default", Name: "p", From: "f:1", Services: []ServiceName{name("voting")},
		Rules: AccessRules{Deny: []AccessRule{{}}}, Closed: true,
	}}
	if d := cmp.Diff(want, after.Policies); d != "" {
		t.Errorf("from the start (-want +got):\n%s", d)
	}
	// It stays closed for as long as it is bad, and no longer.
	after = Validate(append(services, bad), nil, after)
	wantProblems(t, after.Problems, "service name", denied)
	after = Validate(append(services, good), nil, after)
	wantProblems(t, after.Problems)
	if len(after.Policies) != 1 || after.Policies[0] != good {
		t.Errorf("mended: got %+v", after.Policies)
	}

	// What stands for a document that nobody could read has its problem told already.
	unread := protecting(nil).Close()
	after = Validate(append(services, unread), nil, before)
	wantProblems(t, after.Problems)
	if len(after.Policies) != 1 || after.Policies[0] != good {
		t.Errorf("unread: got %+v, want the last good form", after.Policies)
	}
	after = Validate(append(services, unread), nil, nil)
	wantProblems(t, after.Problems, denied)
	if len(after.Policies) != 1 || !after.Policies[0].Closed {
		t.Errorf("unread from the start: got %+v", after.Policies)
	}

	// On trial it would have denied nobody.
	bad = allowing(from(Principal{OfService, "we b"}))
	bad.Audit = true
	after = Validate(append(services, bad), nil, nil)
	wantProblems(t, after.Problems, "service name")
	if len(after.Policies) != 0 {
		t.Errorf("on trial: got %+v", after.Policies)
	}
}

func TestMeshIsOneAndBadOnesClose(t *testing.T) {
	mesh := func(n string, d AccessDefault) *Mesh { return &Mesh{Name: n, From: "f:1", AccessDefault: d} }
	until := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	open := &Mesh{Name: "default", From: "f:9", PermissiveUntil: until}
	before := Validate([]Object{open}, nil, nil)
	for _, tt := range []struct {
		name    string
		objects []Object
		before  *Set
		want    *Mesh
		told    []string
	}{
		{"none is the defaults", nil, nil, nil, nil},
		{"one is good", []Object{mesh("default", AccessDeny)}, nil, mesh("default", AccessDeny), nil},
		{
			"another name is none, and what it closes stays closed",
			[]Object{mesh("prod", AccessDeny)},
			nil,
			&Mesh{Name: "default", From: "f:1", AccessDefault: AccessDeny, Closed: true},
			[]string{`error Mesh prod f:1 metadata.name: "prod" is not default: there is one Mesh`},
		},
		{
			"of two the one with the name is good",
			[]Object{mesh("prod", AccessDeny), mesh("default", AccessAuthenticated)},
			nil,
			mesh("default", AccessAuthenticated),
			[]string{`"prod" is not default`},
		},
		{
			"of two of one name the first is good",
			[]Object{mesh("default", AccessDeny), open},
			nil,
			mesh("default", AccessDeny),
			[]string{"Mesh default f:9 metadata.name: Mesh default is written twice"},
		},
		{
			"a bad one keeps the last good form",
			[]Object{mesh("default", AccessDeny+1)},
			before,
			open,
			[]string{"spec.access.default: is neither"},
		},
		{
			"a bad default denies",
			[]Object{mesh("default", AccessDeny+1)},
			nil,
			&Mesh{Name: "default", From: "f:1", AccessDefault: AccessDeny, Closed: true},
			[]string{"spec.access.default: is neither"},
		},
		{
			"an end in the past century is a slip, and nothing is permissive",
			[]Object{&Mesh{Name: "default", From: "f:1", PermissiveUntil: until.AddDate(-100, 0, 0)}},
			nil,
			&Mesh{Name: "default", From: "f:1", Closed: true},
			[]string{"spec.mtls.until: ... is out of range"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := Validate(tt.objects, nil, tt.before)
			wantProblems(t, set.Problems, tt.told...)
			if d := cmp.Diff(tt.want, set.Mesh); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestPermissiveIsAsTheServiceSaysAndThenTheMesh(t *testing.T) {
	mesh, own := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	inherits, strict, itself := service("a", "f:1"), service("b", "f:2"), service("c", "f:3")
	strict.Strict, itself.PermissiveUntil = true, own
	set := Validate([]Object{inherits, strict, itself, &Mesh{Name: "default", From: "f:4", PermissiveUntil: mesh}}, nil, nil)
	wantProblems(t, set.Problems)
	without := Validate([]Object{inherits, strict, itself}, nil, nil)
	for s, want := range map[*Service][2]time.Time{inherits: {mesh, {}}, strict: {{}, {}}, itself: {own, own}} {
		if got := [2]time.Time{set.Permissive(s), without.Permissive(s)}; got != want {
			t.Errorf("%s: got %v, want %v", s.Name, got, want)
		}
	}
	// Of one that is set aside nobody knows what it said.
	aside := Validate(
		[]Object{service("e", "f:6", Endpoint{}), &Mesh{Name: "default", PermissiveUntil: mesh}},
		[]Endpoint{registered("e", "a", "10.0.0.1:80", "")}, nil,
	)
	if got := aside.Permissive(aside.Services[name("e")]); !got.IsZero() {
		t.Errorf("set aside: got %v", got)
	}
	both := service("d", "f:5")
	both.Strict, both.PermissiveUntil = true, own
	wantProblems(t, Validate([]Object{both}, nil, nil).Problems, "error Service d f:5 spec.mtls: is strict and permissive at once")
}

func TestWhatServersCannotTellIsWarnedOf(t *testing.T) {
	until := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	static := func(s string, permissive time.Time) *Service {
		x := service(s, "f:2", Endpoint{Addresses: []string{"10.0.0.1:80"}})
		x.PermissiveUntil = permissive
		return x
	}
	web := []AccessRule{from(Principal{OfService, "web"})}
	for _, tt := range []struct {
		name    string
		objects []Object
		want    []string
	}{
		{"an enforced policy and a strict service", []Object{static("voting", time.Time{}), protecting(nil)}, nil},
		{
			"audit of a static endpoint",
			[]Object{static("voting", time.Time{}), protecting(func(p *AccessPolicy) { p.Audit = true })},
			[]string{"warning AccessPolicy p f:1 spec.mode: is not evaluated by stock servers, as those at static endpoints of voting may be"},
		},
		{
			"a shadow of many static endpoints",
			[]Object{
				static("a", time.Time{}), static("b", time.Time{}), static("c", time.Time{}), static("d", time.Time{}),
				protecting(func(p *AccessPolicy) { p.Services, p.AllServices, p.Shadow = nil, true, &AccessRules{HasAllow: true} }),
			},
			[]string{"spec.shadow: is not evaluated by stock servers, as those at static endpoints of a, b, c and 1 more may be"},
		},
		{
			"a permissive service with static endpoints",
			[]Object{static("voting", until)},
			[]string{"warning Service voting f:2 spec.mtls: static endpoints of this service stay strict"},
		},
		{
			"a permissive mesh with static endpoints",
			[]Object{static("voting", time.Time{}), &Mesh{Name: "default", From: "f:9", PermissiveUntil: until}},
			[]string{"warning Mesh default f:9 spec.mtls: static endpoints of voting stay strict"},
		},
		{
			"a deny rule for a service, while callers without identity are let in",
			[]Object{
				&Service{Name: name("voting"), PermissiveUntil: until}, service("web", "f:3"),
				protecting(func(p *AccessPolicy) { p.Rules.Deny = web }),
			},
			[]string{"spec.deny: does not hold for callers without an identity, whom voting takes until 2026-12-31T00:00:00Z"},
		},
		{
			"a deny rule for everybody holds",
			[]Object{
				&Service{Name: name("voting"), PermissiveUntil: until},
				protecting(func(p *AccessPolicy) { p.Rules.Deny = []AccessRule{{}, from(Principal{})} }),
			},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantProblems(t, Validate(tt.objects, nil, nil).Problems, tt.want...)
		})
	}
}

func TestPrincipalsAreReadAsTheyAreWritten(t *testing.T) {
	for s, want := range map[string]Principal{
		"*":                   {Anyone, ""},
		"web":                 {OfService, "web.shop"},
		"web.default":         {OfService, "web"},
		"web.other":           {OfService, "web.other"},
		"*.shop":              {OfNamespace, "shop"},
		"spiffe://td/a/b":     {OfID, "spiffe://td/a/b"},
		"spiffe://td/*":       {Below, "spiffe://td/"},
		"spiffe://td/ns/a/*":  {Below, "spiffe://td/ns/a/"},
		"spiffe://a-b.c_1/A.": {OfID, "spiffe://a-b.c_1/A."},
	} {
		got, err := ParsePrincipal(s, "shop")
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
		if text := got.Text("shop"); text != s {
			t.Errorf("%s is written %s", s, text)
		}
	}
}

func FuzzPrincipal(f *testing.F) {
	for _, s := range []string{"*", "web", "web.shop", "*.shop", "spiffe://td/a/b", "spiffe://td/*", "spiffe://*", "!web", "a*", "spiffe://td/../*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePrincipal(s, "shop")
		if err != nil {
			return
		}
		if again, err := ParsePrincipal(p.Text("shop"), "shop"); err != nil || again != p {
			t.Errorf("%q is %v, written %q, and read as %v, %v", s, p, p.Text("shop"), again, err)
		}
		if p.Kind != Anyone && strings.ContainsAny(p.Value, "*\\ %") {
			t.Errorf("%q leads to %v, which no server could match", s, p)
		}
	})
}

func BenchmarkValidate10000Policies(b *testing.B) {
	objects := []Object{}
	for i := range 10_000 {
		s := fmt.Sprint("s", i)
		objects = append(objects, service(s, "f:1"), &AccessPolicy{
			Namespace: "default", Name: s, From: "f:1", Services: []ServiceName{name(s)},
			Rules: AccessRules{HasAllow: true, Allow: []AccessRule{from(Principal{OfService, "s0"}, Principal{OfService, "s1"})}},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		Validate(objects, nil, nil)
	}
}
