package cli

import (
	"fmt"
	"strings"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func (p *explainer) endpoints() error {
	if len(p.answer.GetBackends()) == 0 {
		return nil
	}
	p.title("endpoints")
	for _, b := range p.answer.GetBackends() {
		p.linef(3, "%s", b.GetBackend().GetCluster())
		if b.GetError() != "" {
			p.linef(5, "cannot be used: %s", b.GetError())
			continue
		}
		for _, note := range b.GetNotes() {
			p.linef(5, "%s", note)
		}
		if err := p.candidates(b.GetCandidates()); err != nil {
			return err
		}
	}
	return nil
}

func (p *explainer) candidates(candidates []*adminv1.Candidate) error {
	if len(candidates) == 0 {
		p.linef(5, "none")
		return nil
	}
	l := newList(p.w, 5)
	l.row("INSTANCE", "ADDRESS", "ZONE", "STATE", "WEIGHT", "USE")
	for i, c := range candidates {
		if i == mostCandidates {
			break
		}
		use := c.GetUse()
		if use == "standby" {
			use = fmt.Sprintf("standby, priority %d", c.GetPriority())
		}
		l.row(orDash(c.GetInstance()), strings.Join(c.GetAddresses(), ","), orDash(zoneText(c.GetRegion(), c.GetZone())),
			c.GetState(), fmt.Sprint(c.GetWeight()), use)
	}
	if err := l.flush(); err != nil {
		return err
	}
	if more := len(candidates) - mostCandidates; more > 0 {
		p.linef(5, "and %d more; -o json has all", more)
	}
	return nil
}

// access prints what the services make of the call, each once.
func (p *explainer) access() error {
	seen := map[string]bool{}
	var reached []*adminv1.BackendStep
	for _, b := range p.answer.GetBackends() {
		if b.GetService() != "" && b.GetError() == "" && !seen[b.GetService()] {
			seen[b.GetService()] = true
			reached = append(reached, b)
		}
	}
	if len(reached) == 0 {
		return nil
	}
	p.title("access")
	for _, b := range reached {
		verdict, service := b.GetAccess(), b.GetService()
		switch {
		case verdict == nil && p.answer.GetCaller().GetId() == "":
			p.linef(3, "%s: who calls is not said: name it by --from or --instance", service)
		case verdict == nil:
			p.linef(3, "%s: not asked", service)
		case verdict.GetAllowed():
			p.linef(3, "%s: allowed: %s", service, verdict.GetReason())
		default:
			p.linef(3, "%s: denied: %s", service, verdict.GetReason())
		}
		if verdict.GetWouldDeny() {
			p.linef(5, "would be denied by %s, were it enforced", verdict.GetWouldPolicy())
		}
		for _, limit := range limitTexts(b.GetAdmission()) {
			p.linef(5, "%s", limit)
		}
	}
	return nil
}

// limitTexts are the limits of a service that a call is under.
func limitTexts(a *policyv1.Admission) []string {
	var out []string
	for _, l := range a.GetRateLimits() {
		out = append(out, fmt.Sprintf("rate limit %s: %s, %s", l.GetName(), rateText(l.GetRate()), perText(l)))
	}
	if c := a.GetConcurrency(); c.GetAdaptive() {
		out = append(out, fmt.Sprintf("open calls: adaptive, %d to %d, from %d on", c.GetMin(), c.GetMax(), c.GetLimit()))
	} else if c != nil {
		out = append(out, fmt.Sprintf("open calls: %d", c.GetLimit()))
	}
	if f := a.GetFault(); f.GetDelayPerMillion() > 0 {
		out = append(out, fmt.Sprintf("on purpose: delay %s %s", durationText(f.GetDelay()), perMillionText(f.GetDelayPerMillion())))
	}
	if f := a.GetFault(); f.GetAbortPerMillion() > 0 {
		out = append(out, fmt.Sprintf("on purpose: abort %s %s", resource.CodeName(f.GetAbortCode()), perMillionText(f.GetAbortPerMillion())))
	}
	return out
}

// perText is what a limit counts apart.
func perText(l *policyv1.RateLimit) string {
	switch l.GetPer() {
	case policyv1.RateLimit_PER_IDENTITY:
		return "each caller"
	case policyv1.RateLimit_PER_METHOD:
		return "each method"
	case policyv1.RateLimit_PER_METADATA:
		return "each value of " + l.GetMetadataKey()
	case policyv1.RateLimit_PER_UNSPECIFIED, policyv1.RateLimit_PER_TOTAL:
	}
	return "all calls of one process together"
}
