package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/telemetry"
)

var voting = model.ServiceName{Namespace: model.DefaultNamespace, Name: "voting"}

// set is what a mesh of one service makes of objects.
func set(t *testing.T, yaml string) *model.Set {
	t.Helper()
	objects, problems := manifest.Parse("mesh.yaml", []byte("{apiVersion: tulle/v1, kind: Service, metadata: {name: voting}}\n---\n"+yaml))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return model.Validate(objects, nil, nil)
}

func TestRulesAreListedInTheOrderTheyAreAsked(t *testing.T) {
	const policy = "apiVersion: tulle/v1\nkind: AccessPolicy\nmetadata: {name: voting}\nspec:\n"
	const exempt, byDefault = "health allow enforce everybody /grpc.health.v1.Health/*", "mesh/default allow enforce authenticated any"
	for name, test := range map[string]struct {
		yaml string
		want []string
	}{
		"nothing is said": {"", []string{exempt, byDefault}},
		"a policy": {
			policy + "  allow: [{from: [web, \"*.shop\"], methods: [/vote.v1.Votes/*]}]\n  deny: [{from: [\"spiffe://other.test/*\"]}]\n",
			[]string{exempt, "voting deny enforce spiffe://other.test/* any", "voting allow enforce web,*.shop /vote.v1.Votes/*", byDefault + " (not asked)"},
		},
		"one that allows nothing": {policy + "  allow: []\n", []string{exempt, "voting allow enforce nobody any", byDefault + " (not asked)"}},
		"one on trial":            {policy + "  mode: audit\n  allow: [{from: [web]}]\n", []string{exempt, byDefault, "voting allow audit web any"}},
		"one with a shadow": {
			policy + "  allow: [{from: [\"*\"]}]\n  shadow: {deny: [{from: [web]}]}\n",
			[]string{exempt, "voting allow enforce * any", byDefault + " (not asked)", "voting deny shadow web any"},
		},
		"one of another service": {policy + "  services: [emoji]\n  allow: []\n", []string{exempt, byDefault}},
		"a mesh that denies": {
			"{apiVersion: tulle/v1, kind: Mesh, metadata: {name: default}, spec: {access: {default: deny}}}",
			[]string{exempt, "mesh/default deny enforce everybody any"},
		},
		"a mesh that is permissive": {
			"{apiVersion: tulle/v1, kind: Mesh, metadata: {name: default}, spec: {mtls: {mode: permissive, until: 2099-01-01}}}",
			[]string{exempt, "mesh/default allow enforce everybody any (takes callers without a certificate)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range rulesFor(set(t, test.yaml), voting) {
				got = append(got, line(r))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// line is a rule as one line.
func line(r *adminv1.AccessRule) string {
	text := func(entries []string) string {
		if len(entries) == 0 {
			return "any"
		}
		return strings.Join(entries, ",")
	}
	s := strings.Join([]string{r.GetPolicy(), r.GetAction(), r.GetMode(), text(r.GetFrom()), text(r.GetMethods())}, " ")
	switch {
	case strings.HasPrefix(r.GetNote(), "is not asked"):
		s += " (not asked)"
	case strings.HasPrefix(r.GetNote(), "takes callers without"):
		s += " (takes callers without a certificate)"
	}
	return s
}

func TestASuggestedPolicyAllowsWhatWasAllowed(t *testing.T) {
	const web, admin, other = "spiffe://tulle.local/ns/default/svc/web", "spiffe://tulle.local/ns/shop/svc/admin", "spiffe://other.test/job"
	policy, notes := suggest(voting, "tulle.local", []telemetry.Caller{
		{ID: web, Method: "/vote.v1.Votes/Cast", Allowed: 9},
		{ID: web, Method: "/vote.v1.Votes/List", Allowed: 1, Denied: 1},
		{ID: admin, Method: "/vote.v1.Votes/List", Allowed: 3},
		{ID: admin, Method: "/vote.v1.Votes/Cast", Allowed: 3},
		{ID: other, Method: "/vote.v1.Votes/List", Allowed: 1},
		{ID: other, Method: "/vote.v1.Votes/Reset", Denied: 4},
		{ID: web, Method: telemetry.Other, Allowed: 2},
		{ID: web, Method: "/grpc.health.v1.Health/Check", Allowed: 100},
		{Address: "10.0.0.9", Method: "/vote.v1.Votes/Cast", Allowed: 5},
	})
	yaml, err := manifest.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	want := model.AccessRules{HasAllow: true, Allow: []model.AccessRule{
		{
			From:    []model.Principal{{Kind: model.OfService, Value: "admin.shop"}, {Kind: model.OfService, Value: "web"}},
			Methods: []string{"/vote.v1.Votes/Cast", "/vote.v1.Votes/List"},
		},
		{From: []model.Principal{{Kind: model.OfID, Value: other}}, Methods: []string{"/vote.v1.Votes/List"}},
	}}
	if diff := cmp.Diff(want, policy.Rules); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wantNotes := []string{
		"left out: 4 calls of /vote.v1.Votes/Reset by spiffe://other.test/job, which were denied",
		"left out: 2 calls of " + web + " of methods that the service does not have, or that are too many to tell apart",
		"left out: 5 calls of /vote.v1.Votes/Cast from 10.0.0.9, which has no certificate",
	}
	if diff := cmp.Diff(wantNotes, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	// What is suggested can be applied as it is, and is on trial.
	again := set(t, string(yaml))
	if len(again.Policies) != 1 || !again.Policies[0].Audit || !again.Policies[0].Protects(voting) {
		t.Errorf("%s is read as %+v, with %v", yaml, again.Policies, again.Problems)
	}
}

func TestATokensState(t *testing.T) {
	now := time.Now()
	for want, token := range map[string]enrol.Token{
		"usable":  {Uses: 1, Expires: now.Add(time.Minute)},
		"expired": {Uses: 1, Expires: now.Add(-time.Minute)},
		"used up": {Uses: 1, Expires: now.Add(-time.Minute), Redemptions: []enrol.Redemption{{}}},
		"revoked": {Uses: 1, Expires: now.Add(time.Minute), Revoked: true},
	} {
		if got := stateOf(token, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
