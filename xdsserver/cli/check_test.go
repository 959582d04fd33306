package cli_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tulle-mesh/tulle/mesh/api"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// healthySecurity is that of a mesh in which all is well.
func healthySecurity() *adminv1.Security {
	return &adminv1.Security{
		Authority: healthyAuthority(), Enrolment: []string{"socket", "token"}, AccessDefault: "authenticated",
		OpenServices: []string{"voting"}, Now: timestamppb.Now(),
		Identities: []*adminv1.Identity{{Node: "web-1", Service: "web", NotBefore: in(-time.Hour), NotAfter: in(23 * time.Hour), Peer: "10.0.0.9:1"}},
	}
}

func TestCheckJudgesIdentity(t *testing.T) {
	tests := []struct {
		name   string
		change func(*adminv1.Security)
		mark   string // of the line that is looked for
		want   []string
	}{
		{"all is well", func(*adminv1.Security) {}, "√", []string{
			"√ the authority can sign identities (built-in, trust domain tulle.local)",
			"√ roots and intermediates have more than a quarter of their life left",
			"√ no rotation of the authority is stuck",
			"√ the root's key is there when it is needed (in the data directory;",
			"√ clocks agree: no certificate begins in the future",
			"√ every connected client renews its certificate in time (1 client)",
			"√ no service takes calls without mutual TLS",
			"√ access is by default to all who are authenticated, without a policy, for voting",
			"√ processes have a way to join: socket, token",
			"√ the admin API is for xdsserver's own user only",
		}},
		{"the authority cannot sign", func(s *adminv1.Security) { s.Authority.Problem = "intermediate-1.key is gone: restore it" }, "×", []string{
			"× the authority can sign identities", "    intermediate-1.key is gone: restore it",
			"    processes go on with the certificates they have until those expire", "    see docs/checks.md#authority-signs",
		}},
		{"there is no authority", func(s *adminv1.Security) { s.Authority = nil }, "×", []string{"× the authority can sign identities", "    xdsserver has no authority"}},
		{"an intermediate nears its end", func(s *adminv1.Security) { s.Authority.Intermediates[0].NotAfter = in(12 * time.Hour) }, "‼", []string{
			"‼ roots and intermediates have", "    intermediate intermediate-1 expires in 12h0m", "    see docs/checks.md#authority-life",
		}},
		{"an intermediate of another xdsserver has expired", func(s *adminv1.Security) {
			s.Authority.Intermediates = append(s.Authority.Intermediates, &adminv1.CACertificate{
				Name: "intermediate-2", Phase: "active", NotBefore: in(-30 * day), NotAfter: in(-time.Hour), Replica: "west",
			})
		}, "√", []string{"√ roots and intermediates have", "√ clocks agree"}},
		{"an intermediate is not signed yet", func(s *adminv1.Security) {
			s.Authority.Intermediates = append(s.Authority.Intermediates, &adminv1.CACertificate{Name: "intermediate-2", Phase: "requested", Online: true})
		}, "√", []string{"√ roots and intermediates have", "√ clocks agree"}},
		{"a root has expired", func(s *adminv1.Security) { s.Authority.Roots[0].NotAfter = in(-time.Hour) }, "×", []string{
			"× roots and intermediates have", "    root root-1 expired at ",
		}},
		{"one that retires may end", func(s *adminv1.Security) {
			s.Authority.Intermediates[0].NotAfter, s.Authority.Intermediates[0].Phase = in(time.Hour), "retiring"
		}, "√", []string{"√ roots and intermediates have"}},
		{"a rotation is under way", func(s *adminv1.Security) {
			s.Authority.Rotation = &adminv1.Rotation{Level: "root", Phase: "prepared", Since: in(-time.Minute)}
		}, "√", []string{"√ no rotation of the authority is stuck (that of the root is under way)"}},
		{"a rotation is stuck", func(s *adminv1.Security) {
			s.Authority.Rotation = &adminv1.Rotation{Level: "root", Phase: "prepared", Since: in(-3*time.Hour - time.Minute), Waiting: "1 client"}
		}, "‼", []string{"‼ no rotation", "    The new root is prepared: it waits for 1 client, for 3h0m", "    see docs/checks.md#rotation-not-stuck"}},
		{"the root's key is away and not needed yet", func(s *adminv1.Security) {
			s.Authority.RootOnline, s.Authority.IssuesUntil = false, in(12*day)
		}, "√", []string{"√ the root's key is there when it is needed (kept elsewhere, needed before "}},
		{"the root's key is needed soon", func(s *adminv1.Security) {
			s.Authority.RootOnline, s.Authority.IssuesUntil = false, in(2*day)
		}, "‼", []string{"‼ the root's key is there when it is needed", "    bring it back with 'xdsserver ca import'", "    see docs/checks.md#root-key"}},
		{"a clock is ahead", func(s *adminv1.Security) { s.Identities[0].NotBefore = in(10 * time.Minute) }, "×", []string{
			"× clocks agree", "    the certificate of web-1 begins in 10m", "    see docs/checks.md#clocks-agree",
		}},
		{"this clock is another", func(s *adminv1.Security) { s.Now = in(-10 * time.Minute) }, "‼", []string{"‼ clocks agree", "    this command's clock and xdsserver's are 9m"}},
		{"a client does not renew", func(s *adminv1.Security) {
			s.Identities[0].NotBefore, s.Identities[0].NotAfter = in(-23*time.Hour), in(time.Hour)
		}, "‼", []string{
			"‼ every connected client renews", "    web-1 at 10.0.0.9:1: its certificate expires in 1h0m", "    see docs/checks.md#clients-renew",
		}},
		{"a client's certificate has expired", func(s *adminv1.Security) { s.Identities[0].NotAfter = in(-time.Hour) }, "×", []string{"× every connected client renews"}},
		{"a service is permissive", func(s *adminv1.Security) {
			s.Permissive = []*adminv1.Permissive{{Service: "voting", Until: in(3 * day), Callers: []*adminv1.PlaintextCaller{{Address: "10.0.0.7", Calls: 5, Last: in(-time.Minute)}}}}
		}, "‼", []string{
			"‼ no service takes calls without mutual TLS", "    voting does until ", "      5 calls to voting from 10.0.0.7, the last 30s ago",
			"    mesh the callers, then take mtls.mode out of the object", "    see docs/checks.md#mtls-strict",
		}},
		{"a service was permissive", func(s *adminv1.Security) {
			s.Permissive = []*adminv1.Permissive{{Service: "voting", Until: in(-time.Hour)}}
		}, "×", []string{"× no service takes calls without mutual TLS", "    voting was permissive until "}},
		{"access is denied by default", func(s *adminv1.Security) { s.AccessDefault, s.OpenServices = "deny", nil }, "√", []string{
			"√ access is denied unless a policy allows it",
		}},
		{"every service has a policy", func(s *adminv1.Security) { s.OpenServices = nil }, "√", []string{"√ no service is without an access policy"}},
		{"rules on trial would deny somebody", func(s *adminv1.Security) {
			s.Trials = []*adminv1.Trial{{Service: "voting", Caller: "spiffe://tulle.local/ns/default/svc/emoji", Method: "/v.V/Vote", Policy: "default/voting", Calls: 3, Last: in(-time.Minute)}}
		}, "‼", []string{
			"‼ no call would be denied", "    3 calls of spiffe://tulle.local/ns/default/svc/emoji to /v.V/Vote of voting, by default/voting, the last 30s ago",
			"    see docs/checks.md#access-trials",
		}},
		{"nobody can join", func(s *adminv1.Security) { s.Enrolment = nil }, "‼", []string{
			"‼ processes have a way to join", "    start xdsserver with --enrol socket,token", "    see docs/checks.md#enrolment",
		}},
		{"others can read the admin API", func(s *adminv1.Security) { s.AdminOpen = "everybody can" }, "‼", []string{
			"‼ the admin API is for xdsserver's own user only", "    everybody can", "    see docs/checks.md#admin-closed",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			security := healthySecurity()
			test.change(security)
			f := &fakeServer{status: &adminv1.GetStatusResponse{Version: api.Version, Snapshot: "1", Security: security}}
			code, out, errs := f.run(t, "check")
			if failed := test.mark == "×"; (code == 1) != failed {
				t.Errorf("exit %d, %s", code, errs)
			}
			_, out, _ = strings.Cut(out, "identity\n--------\n")
			out, _, _ = strings.Cut(out, "\n\n")
			at := 0
			for _, want := range test.want {
				i := strings.Index(out[at:], want)
				if i < 0 {
					t.Fatalf("no %q, at its place, in\n%s", want, out)
				}
				at += i
			}
			if wrong := strings.Count(out, "‼") + strings.Count(out, "×"); test.mark != "√" && test.name != "there is no authority" && wrong != 1 {
				t.Errorf("%d lines are marked, want the one:\n%s", wrong, out)
			}
		})
	}
}
