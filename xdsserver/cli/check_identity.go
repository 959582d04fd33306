package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// clockSlack is how far a certificate may begin in the server's future before its
// clock, or the issuer's, is called wrong. Issuers back-date by a minute.
const clockSlack = 5 * time.Second

func checkSigns(f *facts, l *resultLine) {
	a := f.status.GetSecurity().GetAuthority()
	switch {
	case a == nil:
		l.fail("xdsserver has no authority")
		l.Hint = "update xdsserver: this command is newer"
	case a.GetKind() == "workload-api":
		l.Description = "identities come from the SPIFFE Workload API"
		if a.GetProblem() != "" {
			l.fail(a.GetProblem())
			l.Hint = "look after the SPIFFE agent of this machine; certificates that are there last until they expire"
		}
	case a.GetProblem() != "":
		l.fail(a.GetProblem())
	default:
		l.Description += fmt.Sprintf(" (%s, trust domain %s)", a.GetKind(), a.GetTrustDomain())
	}
}

// checkLife warns while there is still time: a quarter of a life is what every
// automatic renewal has left when it has failed for a while. An intermediate of another
// xdsserver is that one's to renew, and to warn of: it may be gone for good.
func checkLife(f *facts, l *resultLine) {
	a := f.status.GetSecurity().GetAuthority()
	now := f.status.GetSecurity().GetNow().AsTime()
	look := func(what string, c *adminv1.CACertificate) {
		switch rest := remaining(c.GetNotBefore(), c.GetNotAfter(), now); {
		case c.GetPhase() == "retiring", c.GetReplica() != "":
		case c.GetNotAfter() == nil: // it is not signed yet
		case rest <= 0:
			l.fail(fmt.Sprintf("%s %s expired at %s", what, c.GetName(), clock(c.GetNotAfter())))
		case rest <= 0.25:
			l.warn(fmt.Sprintf("%s %s expires in %s", what, c.GetName(), left(c.GetNotAfter())))
		}
	}
	for _, c := range a.GetRoots() {
		look("root", c)
	}
	for _, c := range a.GetIntermediates() {
		look("intermediate", c)
	}
}

func checkRotation(f *facts, l *resultLine) {
	a := f.status.GetSecurity().GetAuthority()
	now := f.status.GetSecurity().GetNow().AsTime()
	r := a.GetRotation()
	switch {
	case r == nil:
	case r.GetSince() != nil && now.Sub(r.GetSince().AsTime()) > stuckAfter(a):
		l.warn(fmt.Sprintf("%s, for %s", rotationLine(r), units(now.Sub(r.GetSince().AsTime()))))
	default:
		l.Description += fmt.Sprintf(" (that of the %s is under way)", r.GetLevel())
	}
}

// stuckAfter is how long one step of a rotation may take before it is worth a
// word: the last waits until what the old certificate signed has expired.
func stuckAfter(a *adminv1.Authority) time.Duration {
	if a.GetRotation().GetPhase() == "prepared" {
		return time.Hour
	}
	return a.GetLeafTtl().AsDuration() + time.Hour
}

func checkRootKey(f *facts, l *resultLine) {
	a := f.status.GetSecurity().GetAuthority()
	now := f.status.GetSecurity().GetNow().AsTime()
	l.about(f.status.GetDataDir())
	switch {
	case a.GetKind() != builtIn:
		l.Description = "the root's key is not xdsserver's to keep"
	case a.GetRootOnline():
		l.Description += " (in the data directory; 'xdsserver ca export-root --remove' moves it away)"
	case a.GetIssuesUntil() == nil:
		l.Description += " (kept elsewhere)"
	default:
		detail := fmt.Sprintf("it is kept elsewhere, and identities are issued until %s", clock(a.GetIssuesUntil()))
		switch rest := a.GetIssuesUntil().AsTime().Sub(now); {
		case rest <= 0:
			l.fail(detail)
		case rest < rootKeyWithin:
			l.warn(detail)
		default:
			l.Description += fmt.Sprintf(" (kept elsewhere, needed before %s)", clock(a.GetIssuesUntil()))
		}
	}
}

// rootKeyWithin is how long before it is needed an operator is told to fetch the
// root's key: time to find who has it.
const rootKeyWithin = 7 * 24 * time.Hour

func checkClocks(f *facts, l *resultLine) {
	s := f.status.GetSecurity()
	now := f.status.GetSecurity().GetNow().AsTime()
	late := func(who string, begins *timestamppb.Timestamp) {
		if begins == nil {
			return
		}
		if ahead := begins.AsTime().Sub(now); ahead > clockSlack {
			l.fail(fmt.Sprintf("%s begins in %s", who, units(ahead)))
		}
	}
	for _, c := range slices.Concat(s.GetAuthority().GetRoots(), s.GetAuthority().GetIntermediates()) {
		late("the authority's certificate "+c.GetName(), c.GetNotBefore())
	}
	for _, i := range s.GetIdentities() {
		late("the certificate of "+i.GetNode(), i.GetNotBefore())
	}
	if here := time.Since(now).Abs(); s.GetNow() != nil && here > time.Minute {
		l.warn(fmt.Sprintf("this command's clock and xdsserver's are %s apart", units(here)))
	}
}

func checkRenewal(f *facts, l *resultLine) {
	s := f.status.GetSecurity()
	now := f.status.GetSecurity().GetNow().AsTime()
	for _, i := range s.GetIdentities() {
		if i.GetNotAfter() == nil {
			continue
		}
		rest := remaining(i.GetNotBefore(), i.GetNotAfter(), now)
		if life := s.GetAuthority().GetLeafTtl().AsDuration(); life > 0 && rest > 0 {
			// A certificate begins before it was issued, which is much of a short life.
			rest = max(rest, float64(i.GetNotAfter().AsTime().Sub(now))/float64(life))
		}
		if rest <= 0.25 {
			l.about(i.GetService())
		}
		switch {
		case rest <= 0:
			l.fail(fmt.Sprintf("%s at %s: its certificate expired at %s", i.GetNode(), i.GetPeer(), clock(i.GetNotAfter())))
		case rest <= 0.25:
			l.warn(fmt.Sprintf("%s at %s: its certificate expires in %s", i.GetNode(), i.GetPeer(), left(i.GetNotAfter())))
		}
	}
	if l.Result == success {
		l.Description += fmt.Sprintf(" (%s)", count(len(s.GetIdentities()), "client"))
	}
}

func checkPermissive(f *facts, l *resultLine) {
	s := f.status.GetSecurity()
	now := f.status.GetSecurity().GetNow().AsTime()
	for _, p := range s.GetPermissive() {
		if now.After(p.GetUntil().AsTime()) {
			l.about(p.GetService())
			l.fail(fmt.Sprintf("%s was permissive until %s and is strict since: take mtls.mode out", p.GetService(), clock(p.GetUntil())))
			l.Hint = "an end date that has passed is forgotten, and comes as a surprise when it is copied"
			continue
		}
		l.about(p.GetService())
		detail := fmt.Sprintf("%s does until %s, in %s", p.GetService(), clock(p.GetUntil()), left(p.GetUntil()))
		if len(p.GetCallers()) == 0 {
			detail += "; no such call in the last hour"
		}
		l.warn(detail)
		for _, c := range p.GetCallers() {
			l.Details = append(l.Details, fmt.Sprintf("  %s to %s from %s, the last %s ago",
				count(int(c.GetCalls()), "call"), p.GetService(), c.GetAddress(), age(c.GetLast())))
		}
	}
}

// checkPolicies tells rather than warns: a mesh without policies is how everyone
// starts, and everybody in it is at least known.
func checkPolicies(f *facts, l *resultLine) {
	s := f.status.GetSecurity()
	switch n := len(s.GetOpenServices()); {
	case s.GetAccessDefault() == "deny":
		l.Description = "access is denied unless a policy allows it"
	case n == 0:
		l.Description = "no service is without an access policy"
	case n <= 3:
		l.Description = "access is by default to all who are authenticated, without a policy, for " + strings.Join(s.GetOpenServices(), ", ")
	default:
		l.Description = fmt.Sprintf("access is by default to all who are authenticated, without a policy, for %d services", n)
	}
}

// checkTrials tells what a trial is for: whom its end would shut out.
func checkTrials(f *facts, l *resultLine) {
	s := f.status.GetSecurity()
	for _, t := range s.GetTrials() {
		l.about(t.GetService())
		l.warn(fmt.Sprintf("%s of %s to %s of %s, by %s, the last %s ago",
			count(int(t.GetCalls()), "call"), t.GetCaller(), t.GetMethod(), t.GetService(), t.GetPolicy(), age(t.GetLast())))
	}
}

func checkEnrolment(f *facts, l *resultLine) {
	s := f.status.GetSecurity()
	switch {
	case len(s.GetEnrolment()) > 0:
		l.Description += ": " + strings.Join(s.GetEnrolment(), ", ")
	case s.GetAuthority().GetKind() == "workload-api":
		l.Description = "processes join with identities of the SPIFFE Workload API"
	default:
		l.warn("xdsserver takes none: only processes with a certificate go on")
	}
}

func checkAdmin(f *facts, l *resultLine) {
	s := f.status.GetSecurity()
	if s.GetAdminOpen() != "" {
		l.warn(s.GetAdminOpen())
	}
}

// remaining is the part of a life that is left, 0 to 1. Of a certificate whose
// beginning is not known it is 1 until it ends.
func remaining(notBefore, notAfter *timestamppb.Timestamp, now time.Time) float64 {
	rest := notAfter.AsTime().Sub(now)
	if rest <= 0 {
		return 0
	}
	life := notAfter.AsTime().Sub(notBefore.AsTime())
	if notBefore == nil || life <= 0 {
		return 1
	}
	return float64(rest) / float64(life)
}

// clock is a moment for people, in UTC.
func clock(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) }
