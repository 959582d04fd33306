package admin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/telemetry"
)

// healthService is exempt from policies.
const healthService = "/grpc.health.v1.Health/"

// SuggestPolicy implements the API. What was denied is left out: it is what a
// policy is for.
func (s *Server) SuggestPolicy(_ context.Context, req *adminv1.SuggestPolicyRequest) (*adminv1.SuggestPolicyResponse, error) {
	_, name, err := s.known(req.GetService())
	if err != nil {
		return nil, err
	}
	var callers []telemetry.Caller
	if s.config.Callers != nil {
		callers = s.config.Callers.Callers(name.String())
	}
	domain := ""
	if s.config.Authority != nil {
		domain = s.config.Authority.Trust().Bundle.TrustDomain()
	}
	policy, notes := suggest(name, domain, callers)
	if len(policy.Rules.Allow) == 0 {
		return nil, connect.NewError(connect.CodeNotFound,
			fmt.Errorf("no allowed call to %s was reported in the last hour: let it be called, and ask again", name))
	}
	yaml, err := manifest.Marshal(policy)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("write the policy as YAML: %w", err))
	}
	return &adminv1.SuggestPolicyResponse{Yaml: string(yaml), Notes: notes}, nil
}

// suggest makes a policy of what was allowed: one rule for each set of methods, with
// those who called just these.
func suggest(name model.ServiceName, domain string, callers []telemetry.Caller) (*model.AccessPolicy, []string) {
	policy := &model.AccessPolicy{
		Namespace: name.Namespace, Name: name.Name,
		Services: []model.ServiceName{name}, Audit: true, Rules: model.AccessRules{HasAllow: true},
	}
	methods := map[model.Principal]map[string]bool{}
	var notes []string
	for _, c := range callers {
		switch {
		case strings.HasPrefix(c.Method, healthService) || c.Allowed == 0 && c.Denied == 0:
		case c.ID == "":
			notes = append(notes, fmt.Sprintf("left out: %d calls of %s from %s, which has no certificate", c.Allowed+c.Denied, c.Method, c.Address))
		case c.Method == telemetry.Other:
			notes = append(notes, fmt.Sprintf("left out: %d calls of %s of methods that the service does not have, or that are too many to tell apart",
				c.Allowed+c.Denied, c.ID))
		case c.Allowed == 0:
			notes = append(notes, fmt.Sprintf("left out: %d calls of %s by %s, which were denied", c.Denied, c.Method, c.ID))
		default:
			who := whose(c.ID, domain)
			if methods[who] == nil {
				methods[who] = map[string]bool{}
			}
			methods[who][c.Method] = true
		}
	}
	policy.Rules.Allow = group(methods)
	return policy, notes
}

// group puts callers of the same methods into one rule, in order of the callers.
func group(methods map[model.Principal]map[string]bool) []model.AccessRule {
	callers := slices.SortedFunc(maps.Keys(methods), func(a, b model.Principal) int {
		return strings.Compare(a.Value, b.Value)
	})
	var rules []model.AccessRule
	at := map[string]int{}
	for _, who := range callers {
		list := slices.Sorted(maps.Keys(methods[who]))
		key := strings.Join(list, " ")
		i, ok := at[key]
		if !ok {
			i = len(rules)
			at[key] = i
			rules = append(rules, model.AccessRule{Methods: list})
		}
		rules[i].From = append(rules[i].From, who)
	}
	return rules
}

// whose is how a policy names a caller: by its service where it is one of this mesh.
func whose(id, domain string) model.Principal {
	if parsed, err := spiffe.ParseID(id); err == nil && parsed.TrustDomain == domain && parsed.Service != "" {
		return model.Principal{Kind: model.OfService, Value: parsed.Service}
	}
	return model.Principal{Kind: model.OfID, Value: id}
}

// plaintext are the callers without a certificate that a service took.
func (s *Server) plaintext(name model.ServiceName) []*adminv1.PlaintextCaller {
	if s.config.Callers == nil {
		return nil
	}
	var out []*adminv1.PlaintextCaller
	for _, p := range s.config.Callers.Plaintext()[name.String()] {
		out = append(out, &adminv1.PlaintextCaller{Address: p.Address, Calls: p.Calls, Last: moment(p.Seen)})
	}
	return out
}

// trials are the calls to a service that rules on trial would deny.
func (s *Server) trials(name model.ServiceName) []*adminv1.Trial {
	if s.config.Callers == nil {
		return nil
	}
	var out []*adminv1.Trial
	for _, c := range s.config.Callers.Callers(name.String()) {
		if c.WouldDeny > 0 {
			out = append(out, &adminv1.Trial{
				Service: name.String(), Caller: cmp.Or(c.ID, c.Address), Method: c.Method,
				Policy: c.Policy, Calls: c.WouldDeny, Last: moment(c.Seen),
			})
		}
	}
	return out
}
