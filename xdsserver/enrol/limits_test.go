package enrol

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
)

// unlimited are limits that nobody meets.
func unlimited() *limits {
	l := newLimits(time.Hour)
	l.all.SetLimit(rate.Inf)
	for _, k := range []*keyed{&l.enrols, &l.renewals, &l.services} {
		k.limit = rate.Inf
	}
	return l
}

func TestLimitsHoldPerSourceAndSayWhenToComeBack(t *testing.T) {
	s := newServer(t)
	plain := csr(t, newKey(t), x509.CertificateRequest{})
	ask := func(ip string) error {
		c := remote()
		c.Addr = &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}
		_, err := s.Sign(from(t, c), &identityv1.SignRequest{Service: "web", Csr: plain})
		return err
	}
	for i := range enrolBurst {
		if err := ask("10.0.0.1"); status.Code(err) != codes.Unauthenticated {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	err := ask("10.0.0.1")
	if status.Code(err) != codes.ResourceExhausted || len(status.Convert(err).Details()) != 1 {
		t.Errorf("one too many: %v, want RESOURCE_EXHAUSTED with RetryInfo", err)
	}
	if err := ask("10.0.0.2"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("another source: %v, want its own limit", err)
	}
	// Nobody's attempts grow the memory without bound.
	for i := range 2 * maxSources {
		s.limits.enrols.of(fmt.Sprint(i))
	}
	if n := len(s.limits.enrols.byKey); n > maxSources {
		t.Errorf("%d sources are known, want at most %d", n, maxSources)
	}
}

func TestRenewalsHaveALimitOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		web := holder(t, s, "web")
		plain := csr(t, newKey(t), x509.CertificateRequest{})
		ask := func(instance string) error {
			_, err := s.Sign(from(t, web), &identityv1.SignRequest{Csr: plain, Instance: instance})
			return err
		}
		for i := range renewBurst {
			if err := ask("one"); err != nil {
				t.Fatalf("renewal %d: %v", i, err)
			}
		}
		err := ask("one")
		details := status.Convert(err).Details()
		if status.Code(err) != codes.ResourceExhausted || len(details) != 1 {
			t.Fatalf("one too many: %v, want RESOURCE_EXHAUSTED with RetryInfo", err)
		}
		if wait := details[0].(*errdetails.RetryInfo).GetRetryDelay().AsDuration(); wait != renewEvery {
			t.Errorf("to come back in %v, want %v", wait, renewEvery)
		}
		if err := ask("two"); err != nil {
			t.Errorf("another instance: %v", err)
		}
		time.Sleep(renewEvery)
		if err := ask("one"); err != nil {
			t.Errorf("later: %v", err)
		}
		// A service is no larger for calling itself by many names.
		refused := 0
		for i := range 1000 {
			if err := ask(fmt.Sprint("instance", i)); status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "instances of this service") {
				refused++
			}
		}
		if refused < 1000-signRate*runtime.GOMAXPROCS(0) {
			t.Errorf("%d of 1000 renewals at once were refused", refused)
		}
		if _, err := s.Sign(from(t, local()), &identityv1.SignRequest{Service: "voting", Csr: plain}); err != nil {
			t.Errorf("another service meanwhile: %v", err)
		}
	})
}

// What all share is not for those whom nothing attests.
func TestAllShareOneLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.limits.enrols.limit = rate.Inf
		plain := csr(t, newKey(t), x509.CertificateRequest{})
		most := 2 * signRate * runtime.GOMAXPROCS(0)
		for range 2 * most {
			if _, err := s.Sign(from(t, remote()), &identityv1.SignRequest{Service: "web", Csr: plain}); status.Code(err) != codes.Unauthenticated {
				t.Fatal(err)
			}
		}
		ask := func() error {
			_, err := s.Sign(from(t, local()), &identityv1.SignRequest{Service: "web", Csr: plain})
			return err
		}
		for i := range most {
			if err := ask(); err != nil {
				t.Fatalf("certificate %d: %v", i, err)
			}
		}
		if err := ask(); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "too many certificates") {
			t.Errorf("one too many: %v, want RESOURCE_EXHAUSTED", err)
		}
	})
}

// A leaf of seconds is renewed every few of them: the limit is the authority's.
func TestLimitOfRenewalsFollowsTheAuthority(t *testing.T) {
	ca, err := identity.NewCA(identity.Config{TrustDomain: domain, LeafTTL: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(c *Config) { c.Authority = ca })
	if got := s.limits.renewals.limit; got != rate.Every(time.Second) {
		t.Errorf("got %v a second, want 1", got)
	}
}

// Those who are refused without end neither fill the disk nor push out what it has.
func TestRefusalsAreWrittenAtTheirRateAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		audit := openAudit(t, path)
		s := newServer(t, func(c *Config) { c.Audit = audit })
		ask := func() {
			_, _ = s.Sign(from(t, remote()), &identityv1.SignRequest{Service: "web", Csr: []byte("nonsense")})
		}
		for range 1000 {
			ask()
		}
		if n := len(readAudit(t, path)); n != noteBurst {
			t.Errorf("1000 refusals are %d lines, want %d", n, noteBurst)
		}
		time.Sleep(time.Second)
		ask()
		log := readAudit(t, path)
		if last := log[len(log)-1]; last.Unwritten != 1000-noteBurst {
			t.Errorf("the next says that %d are unwritten, want %d", last.Unwritten, 1000-noteBurst)
		}
	})
}

func TestOneNetworkOfIPv6IsOneSource(t *testing.T) {
	a := &applicant{caller: &identity.Caller{UID: -1, Addr: &net.TCPAddr{IP: net.ParseIP("2001:db8::1:2"), Zone: "eth0", Port: 1}}}
	a.locate()
	if a.source != "2001:db8::/64" || a.from != "2001:db8::1:2" {
		t.Errorf("got source %s of %s", a.source, a.from)
	}
}
