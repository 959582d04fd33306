package identity

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestAnIdentityIsRenewedAtHalfItsLife(t *testing.T) {
	for _, life := range []time.Duration{24 * time.Hour, time.Hour, 10 * time.Second} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a := newNetwork(), newAuthority(t, domain)
				defer a.serve(n.listen(xds))()
				a.set(func(a *authority) { a.life = life })
				p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
				first := p.must()
				time.Sleep(life*45/100 - time.Millisecond)
				synctest.Wait()
				if p.Current() != first {
					t.Fatal("renewed before 45 % of its life")
				}
				time.Sleep(life/10 + 2*time.Millisecond)
				synctest.Wait()
				second := p.Current()
				if second == first {
					t.Fatalf("not renewed after 55 %% of its life; log:\n%s", p.logs)
				}
				if a.keys[0].Equal(a.keys[1]) {
					t.Error("renewed with the old key")
				}
				if st := p.Status(); st.From != "renewal" || !st.RenewAt.After(time.Now()) || a.requests()[1].GetAttestation() != nil {
					t.Errorf("status %+v", st)
				}
				_ = p.stop()
			})
		})
	}
}

// The certificate is back-dated by thirty times its life.
func TestAnIdentityOfTwoSecondsNeverExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen(xds))()
		a.set(func(a *authority) { a.life = 2 * time.Second })
		p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
		p.must()
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if i := p.Current(); i.expired(time.Now()) {
				t.Fatalf("%v has expired at %v", i, time.Now())
			}
		}
		if got := len(a.requests()); got < 40 || got > 100 {
			t.Errorf("signed %d times in a minute, want about 60", got)
		}
		_ = p.stop()
	})
}

func TestAnIdentityOutlivesXdsserverAndSaysWhyItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		stop := a.serve(n.listen(xds))
		began := time.Now()
		p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
		i := p.must()
		stop()
		time.Sleep(time.Until(i.NotAfter))
		synctest.Wait()
		if _, err := p.usable(t.Context()); err != nil {
			t.Errorf("in its last moment: %v", err)
		}
		if got := p.logs.count(`level=WARN msg="identity is not renewed"`); got != 3 {
			t.Errorf("%d warnings, want one at half, a quarter and a tenth of its life:\n%s", got, p.logs)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		_, err := p.usable(t.Context())
		want := "own certificate of spiffe://example.org/ns/default/svc/voting expired at 2000-01-02T00:00:00Z, " +
			"xdsserver was last reached " + began.UTC().Format(time.RFC3339) + ": enrolment: 10.0.0.5:18000: "
		if !contains(err, want) || !contains(err, "connection refused") {
			t.Errorf("after its end: got %v, want %q", err, want)
		}
		if got := p.logs.count("level=ERROR"); got != 1 {
			t.Errorf("%d errors logged, want one:\n%s", got, p.logs)
		}
		_ = p.stop()
	})
}

func TestAnExpiredProcessEnrolsAgainWithinSecondsOfXdsserversReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		stop := a.serve(n.listen(xds))
		a.set(func(a *authority) { a.life = time.Hour })
		token := a.token(xds).Reveal()
		p := start(t, n, Config{Service: "voting", Token: token})
		p.must()
		stop()
		time.Sleep(65 * time.Minute)
		a.set(func(a *authority) { a.tokens[token] = nil }) // one of several uses
		defer a.serve(n.listen(xds))()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, err := p.usable(t.Context()); err != nil {
			t.Error(err)
		}
		_ = p.stop()
	})
}

func TestARenewalIsTriedAgainUntilXdsserverIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		stop := a.serve(n.listen(xds))
		p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
		first := p.must()
		stop()
		time.Sleep(20 * time.Hour)
		defer a.serve(n.listen(xds))()
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if p.Current() == first || p.Status().Err != nil {
			t.Errorf("not renewed; log:\n%s", p.logs)
		}
		_ = p.stop()
	})
}

func TestARefusedRenewalEnrolsAnewWhereThereIsAWay(t *testing.T) {
	for name, test := range map[string]struct {
		uses int
	}{
		"a token with another use":      {2},
		"a token that has been used up": {1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a := newNetwork(), newAuthority(t, domain)
				defer a.serve(n.listen(xds))()
				token := a.token(xds).Reveal()
				p := start(t, n, Config{Service: "voting", Token: token})
				first := p.must()
				a.set(func(a *authority) {
					a.denyRenewal = status.Error(codes.Unauthenticated, "serial is revoked")
					if test.uses > 1 {
						a.tokens[token] = nil
					}
				})
				time.Sleep(14 * time.Hour)
				synctest.Wait()
				if test.uses > 1 {
					if p.Current() == first || p.Status().Err != nil || p.Status().From != "enrolment" {
						t.Errorf("status %+v", p.Status())
					}
				} else {
					if err := p.Status().Err; !contains(err, "renewal: serial is revoked (Unauthenticated)") {
						t.Errorf("status says %v", err)
					}
					if p.Current() != first {
						t.Error("the identity is gone before its time")
					}
				}
				_ = p.stop()
			})
		})
	}
}

func trustOf(a *authority, renewBefore time.Time, roots ...*x509.Certificate) *resource.TrustBundle {
	return &resource.TrustBundle{TrustDomain: a.domain, Authorities: append(roots, a.root.cert), RenewBefore: renewBefore}
}

func TestSetTrustReplacesTheBundleOfItsOwnTrustDomainOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, other := newNetwork(), newAuthority(t, domain), newAuthority(t, "other.org")
		defer a.serve(n.listen(xds))()
		file := filepath.Join(t.TempDir(), "state", "voting.pem")
		p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal(), StateFile: file})
		p.SetTrust(trustOf(a, time.Time{})) // nobody to set it for yet
		first := p.must()
		p.SetTrust(trustOf(other, time.Time{}))
		p.SetTrust(&resource.TrustBundle{TrustDomain: domain})
		p.SetTrust(nil)
		if p.Current() != first {
			t.Error("the bundle of another trust domain is taken")
		}
		changed := p.Changed()
		p.SetTrust(trustOf(a, time.Time{}))
		select {
		case <-changed:
			t.Error("the same bundle is taken for a change")
		default:
		}
		next := newCA(t, nil, "next root")
		p.SetTrust(trustOf(a, time.Time{}, next.cert))
		<-changed
		second := p.Current()
		if len(second.Bundle.Roots()) != 2 || second.Certificate.Leaf != first.Certificate.Leaf || len(first.Bundle.Roots()) != 1 {
			t.Errorf("got %d roots, want both, and the old value untouched", len(second.Bundle.Roots()))
		}
		synctest.Wait()
		st, err := readState(file, "voting", time.Now())
		if err != nil || !st.bundle.Equal(second.Bundle) {
			t.Errorf("the bundle is not kept: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := len(a.requests()); got != 1 {
			t.Errorf("signed %d times, want once: nobody asked for a renewal", got)
		}
		_ = p.stop()
	})
}

func TestARenewalThatIsAskedForHappensWithinAMinute(t *testing.T) {
	for name, test := range map[string]struct {
		life, within time.Duration
		before       time.Duration // RenewBefore, from the moment of issue
		want         int
	}{
		"a long life, within a minute":                     {24 * time.Hour, time.Minute, time.Second, 2},
		"a short life, within a tenth of it":               {20 * time.Second, 2 * time.Second, time.Second, 2},
		"issued after that moment, never":                  {24 * time.Hour, time.Hour, -2 * time.Minute, 1},
		"a moment that is to come asks once, and not more": {24 * time.Hour, time.Hour, 10 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a := newNetwork(), newAuthority(t, domain)
				defer a.serve(n.listen(xds))()
				a.set(func(a *authority) { a.life = test.life })
				p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
				i := p.must()
				for range 3 {
					p.SetTrust(trustOf(a, i.issued.Add(test.before)))
				}
				time.Sleep(test.within + time.Millisecond)
				synctest.Wait()
				if got := len(a.requests()); got != test.want {
					t.Errorf("signed %d times, want %d; log:\n%s", got, test.want, p.logs)
				}
				_ = p.stop()
			})
		})
	}
}

// The answer to a renewal and the configuration's stream race: what came last on
// the stream is not undone by an answer that was on its way.
func TestABundleThatComesDuringARenewalIsKept(t *testing.T) {
	a := newAuthority(t, domain)
	s, err := New(Config{Service: "voting", Servers: []string{xds}, Logger: textLogger(&logs{})})
	if err != nil {
		t.Fatal(err)
	}
	s.accept(a.identity("voting"), fromEnrolment, 0)
	next, other := newCA(t, nil, "next root"), newCA(t, nil, "other root")
	for name, test := range map[string]struct {
		roots []*x509.Certificate
		want  int
	}{
		"with the new identity's root":    {[]*x509.Certificate{a.root.cert, next.cert}, 2},
		"without the new identity's root": {[]*x509.Certificate{next.cert, other.cert, newCA(t, nil, "third root").cert}, 1},
	} {
		demand := s.demand()
		answer := a.identity("voting")
		s.SetTrust(&resource.TrustBundle{TrustDomain: domain, Authorities: test.roots})
		s.accept(answer, fromRenewal, demand)
		if got := len(s.Current().Bundle.Roots()); got != test.want {
			t.Errorf("%s: %d roots, want %d", name, got, test.want)
		}
	}
	s.demand()
	s.accept(a.identity("voting"), fromRenewal, 0)
	if got := len(s.Current().Bundle.Roots()); got != 1 {
		t.Errorf("a bundle that came before the renewal began hides the answer's: %d roots", got)
	}
}

func TestProcessesThatAreAskedTogetherRenewApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen(xds))()
		const processes = 20
		for range processes {
			p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
			i := p.must()
			p.SetTrust(trustOf(a, i.issued.Add(time.Second)))
			defer func() { _ = p.stop() }()
		}
		asked := time.Now()
		time.Sleep(time.Minute + time.Millisecond)
		synctest.Wait()
		halves := [2]int{}
		a.set(func(a *authority) {
			for _, at := range a.times[processes:] {
				if at.Sub(asked) < 30*time.Second {
					halves[0]++
				} else {
					halves[1]++
				}
			}
		})
		if halves[0]+halves[1] != processes || halves[0] == 0 || halves[1] == 0 {
			t.Errorf("%d renewed in the first half of the minute, %d in the second", halves[0], halves[1])
		}
	})
}

func TestAnIdentityThatPeersWouldRefuseIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen(xds))()
		token := a.token(xds).Reveal()
		p := start(t, n, Config{Service: "voting", Token: token})
		p.must()
		root := newCA(t, nil, "next root")
		p.SetTrust(&resource.TrustBundle{TrustDomain: domain, Authorities: []*x509.Certificate{root.cert}})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !strings.Contains(p.logs.String(), "identity is asked to be renewed") {
			t.Errorf("log:\n%s", p.logs)
		}
		_ = p.stop()
	})
}

// A xdsserver whose folder was removed starts with another root under the same
// name, and its processes have identities of the old one on disk.
func TestAProcessEnrolsAnewAtAnXdsserverWithAnotherRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := newNetwork(), newAuthority(t, domain), newAuthority(t, domain)
		stop := a.serve(n.listen(xds))
		file := filepath.Join(t.TempDir(), "voting.pem")
		if err := os.Chmod(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal(), StateFile: file})
		p.must()
		_ = p.stop()
		stop()
		defer b.serve(n.listen(xds))()
		q := start(t, n, Config{Service: "voting", Token: b.token(xds).Reveal(), StateFile: file})
		if i := q.must(); !i.Bundle.Equal(a.bundle()) {
			t.Fatal("the state file is not used")
		}
		conn := control(t, q.Source)
		defer conn.Close()
		conn.Connect() // what the configuration's stream does
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if i := q.Current(); !i.Bundle.Equal(b.bundle()) {
			t.Errorf("still of the old root; log:\n%s", q.logs)
		}
		_ = q.stop()
	})
}
