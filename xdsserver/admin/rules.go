package admin

import (
	"slices"
	"time"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// The columns of a rule, as the API has them.
const (
	actionAllow = "allow"
	actionDeny  = "deny"
	modeEnforce = "enforce"
	modeAudit   = "audit"
	modeShadow  = "shadow"
)

// rulesFor are the rules in force for a service, in the order they are asked: what
// is exempt, what is denied, what is allowed, the default; then what is on trial.
func rulesFor(set *model.Set, service model.ServiceName) []*adminv1.AccessRule {
	rules := []*adminv1.AccessRule{{
		Policy: policyHealth, Action: actionAllow, Mode: modeEnforce, From: []string{"everybody"},
		Methods: []string{"/grpc.health.v1.Health/*"}, Note: "health checks are exempt, so that no policy can make a service look dead",
	}}
	var deny, allow, trial []*adminv1.AccessRule
	decides := true // the default
	for _, p := range set.Policies {
		if !p.Protects(service) {
			continue
		}
		mode := modeEnforce
		if p.Audit {
			mode = modeAudit
		}
		denied, allowed := rows(p, mode, p.Rules)
		if p.Audit {
			trial = append(trial, slices.Concat(denied, allowed)...)
		} else {
			deny, allow = append(deny, denied...), append(allow, allowed...)
			decides = decides && !p.Rules.HasAllow
		}
		if p.Shadow != nil {
			denied, allowed := rows(p, modeShadow, *p.Shadow)
			trial = append(trial, slices.Concat(denied, allowed)...)
		}
	}
	rules = slices.Concat(rules, deny, allow)
	return append(append(rules, defaultRule(set, service, decides)), trial...)
}

// defaultRule is what the mesh does where no policy says what is allowed.
func defaultRule(set *model.Set, service model.ServiceName, decides bool) *adminv1.AccessRule {
	rule := &adminv1.AccessRule{Policy: policyDefault, Action: actionAllow, Mode: modeEnforce, From: []string{"authenticated"}}
	if set.Mesh != nil {
		rule.Origin = set.Mesh.From
	}
	if set.Mesh != nil && set.Mesh.AccessDefault == model.AccessDeny {
		rule.Action, rule.From = actionDeny, []string{"everybody"}
	}
	if until := permissiveUntil(set, service); rule.GetAction() == actionAllow && time.Now().Before(until) {
		rule.From = []string{"everybody"}
		rule.Note = "takes callers without a certificate until " + until.UTC().Format(time.RFC3339)
	}
	if !decides {
		rule.Note = "is not asked: a policy says what may call " + service.String()
	}
	return rule
}

// permissiveUntil is until when a service takes calls without mutual TLS.
func permissiveUntil(set *model.Set, service model.ServiceName) time.Time {
	if s := set.Services[service]; s != nil {
		return set.Permissive(s)
	}
	return time.Time{}
}

// rows are the rules of one policy. One that allows nothing is a row, too: it denies
// what nothing else allows.
func rows(p *model.AccessPolicy, mode string, r model.AccessRules) (deny, allow []*adminv1.AccessRule) {
	row := func(action string, rule model.AccessRule) *adminv1.AccessRule {
		out := &adminv1.AccessRule{
			Policy: model.ServiceName{Namespace: p.Namespace, Name: p.Name}.String(), Action: action, Mode: mode,
			Methods: rule.Methods, Origin: p.From,
		}
		for _, from := range rule.From {
			out.From = append(out.From, principal(from))
		}
		for _, m := range rule.Metadata {
			if exact(m) {
				out.Metadata = append(out.Metadata, &adminv1.Metadata{Name: m.Name, Value: m.Value})
			}
		}
		out.OnlyIf = onlyIf(rule)
		return out
	}
	if p.Closed {
		closed := row(actionDeny, model.AccessRule{})
		closed.Note = "the policy as it is written is bad, and no good form of it is known: it denies all until that is mended"
		return append(deny, closed), nil
	}
	for _, rule := range r.Deny {
		deny = append(deny, row(actionDeny, rule))
	}
	for _, rule := range r.Allow {
		allow = append(allow, row(actionAllow, rule))
	}
	if r.HasAllow && len(r.Allow) == 0 {
		nothing := row(actionAllow, model.AccessRule{})
		nothing.From, nothing.Note = []string{"nobody"}, "allows nothing"
		allow = append(allow, nothing)
	}
	return deny, allow
}

// principal is an entry of from, with its namespace said.
func principal(p model.Principal) string {
	switch p.Kind {
	case model.Anyone:
		return "*"
	case model.OfNamespace:
		return "*." + p.Value
	case model.Below:
		return p.Value + "*"
	case model.OfService, model.OfID:
	}
	return p.Value
}
