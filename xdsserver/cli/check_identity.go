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

// checkIdentity judges who may be who, and who may call whom.
func checkIdentity(s *adminv1.Security) []resultLine {
	authority := s.GetAuthority()
	now := s.GetNow().AsTime()
	return []resultLine{
		checkSigns(authority),
		checkLife(authority, now),
		checkRotation(authority, now),
		checkRootKey(authority, now),
		checkClocks(s, now),
		checkRenewal(s, now),
		checkPermissive(s, now),
		checkPolicies(s),
		checkTrials(s),
		checkEnrolment(s),
		checkAdmin(s),
	}
}

func checkSigns(a *adminv1.Authority) resultLine {
	line := resultLine{
		Description: "the authority can sign identities",
		Result:      success,
		Anchor:      anchor("authority-signs"),
	}
	switch {
	case a == nil:
		line.fail("xdsserver has no authority")
		line.Hint = "update xdsserver: this command is newer"
	case a.GetKind() == "workload-api":
		line.Description = "identities come from the SPIFFE Workload API"
		if a.GetProblem() != "" {
			line.fail(a.GetProblem())
			line.Hint = "look after the SPIFFE agent of this machine; certificates that are there last until they expire"
		}
	case a.GetProblem() != "":
		line.fail(a.GetProblem())
		line.Hint = "processes go on with the certificates they have until those expire"
	default:
		line.Description += fmt.Sprintf(" (%s, trust domain %s)", a.GetKind(), a.GetTrustDomain())
	}
	return line
}

// checkLife warns while there is still time: a quarter of a life is what every
// automatic renewal has left when it has failed for a while.
func checkLife(a *adminv1.Authority, now time.Time) resultLine {
	line := resultLine{
		Description: "roots and intermediates have more than a quarter of their life left",
		Result:      success,
		Anchor:      anchor("authority-life"),
	}
	look := func(what string, c *adminv1.CACertificate) {
		switch rest := remaining(c.GetNotBefore(), c.GetNotAfter(), now); {
		case c.GetPhase() == "retiring":
		case rest <= 0:
			line.fail(fmt.Sprintf("%s %s expired at %s", what, c.GetName(), clock(c.GetNotAfter())))
		case rest <= 0.25:
			line.warn(fmt.Sprintf("%s %s expires in %s", what, c.GetName(), left(c.GetNotAfter())))
		}
	}
	for _, c := range a.GetRoots() {
		look("root", c)
	}
	for _, c := range a.GetIntermediates() {
		look("intermediate", c)
	}
	if line.Result != success {
		line.Hint = "run 'xdsserver ca rotate'; nothing needs a restart"
	}
	return line
}

func checkRotation(a *adminv1.Authority, now time.Time) resultLine {
	line := resultLine{
		Description: "no rotation of the authority is stuck",
		Result:      success,
		Anchor:      anchor("rotation-not-stuck"),
	}
	r := a.GetRotation()
	switch {
	case r == nil:
	case r.GetSince() != nil && now.Sub(r.GetSince().AsTime()) > stuckAfter(a):
		line.warn(fmt.Sprintf("%s, for %s", rotationLine(r), units(now.Sub(r.GetSince().AsTime()))))
		line.Hint = "see below which client has not acknowledged what it was sent; at the latest the rotation goes on without it"
	default:
		line.Description += fmt.Sprintf(" (that of the %s is under way)", r.GetLevel())
	}
	return line
}

// stuckAfter is how long one step of a rotation may take before it is worth a
// word: the last waits until what the old certificate signed has expired.
func stuckAfter(a *adminv1.Authority) time.Duration {
	if a.GetRotation().GetPhase() == "prepared" {
		return time.Hour
	}
	return a.GetLeafTtl().AsDuration() + time.Hour
}

func checkRootKey(a *adminv1.Authority, now time.Time) resultLine {
	line := resultLine{
		Description: "the root's key is there when it is needed",
		Result:      success,
		Anchor:      anchor("root-key"),
	}
	switch {
	case a.GetKind() != builtIn:
		line.Description = "the root's key is not xdsserver's to keep"
	case a.GetRootOnline():
		line.Description += " (in the data directory; 'xdsserver ca export-root --remove' moves it away)"
	case a.GetIssuesUntil() == nil:
		line.Description += " (kept elsewhere)"
	default:
		detail := fmt.Sprintf("it is kept elsewhere, and identities are issued until %s", clock(a.GetIssuesUntil()))
		switch rest := a.GetIssuesUntil().AsTime().Sub(now); {
		case rest <= 0:
			line.fail(detail)
		case rest < rootKeyWithin:
			line.warn(detail)
		default:
			line.Description += fmt.Sprintf(" (kept elsewhere, needed before %s)", clock(a.GetIssuesUntil()))
		}
		if line.Result != success {
			line.Hint = "bring it back with 'xdsserver ca import', or import an intermediate that it signed"
		}
	}
	return line
}

// rootKeyWithin is how long before it is needed an operator is told to fetch the
// root's key: time to find who has it.
const rootKeyWithin = 7 * 24 * time.Hour

func checkClocks(s *adminv1.Security, now time.Time) resultLine {
	line := resultLine{
		Description: "clocks agree: no certificate begins in the future",
		Result:      success,
		Anchor:      anchor("clocks-agree"),
	}
	late := func(who string, begins *timestamppb.Timestamp) {
		if begins == nil {
			return
		}
		if ahead := begins.AsTime().Sub(now); ahead > clockSlack {
			line.fail(fmt.Sprintf("%s begins in %s", who, units(ahead)))
		}
	}
	for _, c := range slices.Concat(s.GetAuthority().GetRoots(), s.GetAuthority().GetIntermediates()) {
		late("the authority's certificate "+c.GetName(), c.GetNotBefore())
	}
	for _, i := range s.GetIdentities() {
		late("the certificate of "+i.GetNode(), i.GetNotBefore())
	}
	if here := time.Since(now).Abs(); s.GetNow() != nil && here > time.Minute {
		line.warn(fmt.Sprintf("this command's clock and xdsserver's are %s apart", units(here)))
	}
	if line.Result != success {
		line.Hint = "set the clocks of these machines by NTP"
	}
	return line
}

func checkRenewal(s *adminv1.Security, now time.Time) resultLine {
	line := resultLine{
		Description: "every connected client renews its certificate in time",
		Result:      success,
		Anchor:      anchor("clients-renew"),
	}
	for _, i := range s.GetIdentities() {
		if i.GetNotAfter() == nil {
			continue
		}
		rest := remaining(i.GetNotBefore(), i.GetNotAfter(), now)
		if life := s.GetAuthority().GetLeafTtl().AsDuration(); life > 0 && rest > 0 {
			// A certificate begins before it was issued, which is much of a short life.
			rest = max(rest, float64(i.GetNotAfter().AsTime().Sub(now))/float64(life))
		}
		switch {
		case rest <= 0:
			line.fail(fmt.Sprintf("%s at %s: its certificate expired at %s", i.GetNode(), i.GetPeer(), clock(i.GetNotAfter())))
		case rest <= 0.25:
			line.warn(fmt.Sprintf("%s at %s: its certificate expires in %s", i.GetNode(), i.GetPeer(), left(i.GetNotAfter())))
		}
	}
	if line.Result != success {
		line.Hint = "renewal is due half-way: the process's log says why it fails"
	} else {
		line.Description += fmt.Sprintf(" (%s)", count(len(s.GetIdentities()), "client"))
	}
	return line
}

func checkPermissive(s *adminv1.Security, now time.Time) resultLine {
	line := resultLine{
		Description: "no service takes calls without mutual TLS",
		Result:      success,
		Anchor:      anchor("mtls-strict"),
	}
	for _, p := range s.GetPermissive() {
		if now.After(p.GetUntil().AsTime()) {
			line.fail(fmt.Sprintf("%s was permissive until %s and is strict since: take mtls.mode out", p.GetService(), clock(p.GetUntil())))
			line.Hint = "an end date that has passed is forgotten, and comes as a surprise when it is copied"
			continue
		}
		detail := fmt.Sprintf("%s does until %s, in %s", p.GetService(), clock(p.GetUntil()), left(p.GetUntil()))
		if len(p.GetCallers()) == 0 {
			detail += "; no such call in the last hour"
		}
		line.warn(detail)
		for _, c := range p.GetCallers() {
			line.Details = append(line.Details, fmt.Sprintf("  %s to %s from %s, the last %s ago",
				count(int(c.GetCalls()), "call"), p.GetService(), c.GetAddress(), age(c.GetLast())))
		}
		if line.Hint == "" {
			line.Hint = "mesh the callers, then take mtls.mode out of the object"
		}
	}
	return line
}

// checkPolicies tells rather than warns: a mesh without policies is how everyone
// starts, and everybody in it is at least known.
func checkPolicies(s *adminv1.Security) resultLine {
	line := resultLine{
		Description: "access is allowed by policies, or by default to all who are authenticated",
		Result:      success,
		Anchor:      anchor("access-policies"),
	}
	switch n := len(s.GetOpenServices()); {
	case s.GetAccessDefault() == "deny":
		line.Description = "access is denied unless a policy allows it"
	case n == 0:
		line.Description = "no service is without an access policy"
	case n <= 3:
		line.Description = "access is by default to all who are authenticated, without a policy, for " + strings.Join(s.GetOpenServices(), ", ")
	default:
		line.Description = fmt.Sprintf("access is by default to all who are authenticated, without a policy, for %d services", n)
	}
	return line
}

// checkTrials tells what a trial is for: whom its end would shut out.
func checkTrials(s *adminv1.Security) resultLine {
	line := resultLine{
		Description: "no call would be denied by what is on trial",
		Result:      success,
		Anchor:      anchor("access-trials"),
	}
	for _, t := range s.GetTrials() {
		line.warn(fmt.Sprintf("%s of %s to %s of %s, by %s, the last %s ago",
			count(int(t.GetCalls()), "call"), t.GetCaller(), t.GetMethod(), t.GetService(), t.GetPolicy(), age(t.GetLast())))
	}
	if line.Result != success {
		line.Hint = "allow these callers, or enforce the rules when they are meant to be shut out"
	}
	return line
}

func checkEnrolment(s *adminv1.Security) resultLine {
	line := resultLine{
		Description: "processes have a way to join",
		Result:      success,
		Anchor:      anchor("enrolment"),
	}
	switch {
	case len(s.GetEnrolment()) > 0:
		line.Description += ": " + strings.Join(s.GetEnrolment(), ", ")
	case s.GetAuthority().GetKind() == "workload-api":
		line.Description = "processes join with identities of the SPIFFE Workload API"
	default:
		line.warn("xdsserver takes none: only processes with a certificate go on")
		line.Hint = "start xdsserver with --enrol socket,token"
	}
	return line
}

func checkAdmin(s *adminv1.Security) resultLine {
	line := resultLine{
		Description: "the admin API is for xdsserver's own user only",
		Result:      success,
		Anchor:      anchor("admin-closed"),
	}
	if s.GetAdminOpen() != "" {
		line.warn(s.GetAdminOpen())
		line.Hint = "run xdsserver on a machine of its own, or on Linux"
	}
	return line
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
