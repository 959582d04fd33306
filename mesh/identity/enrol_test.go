package identity

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

const xds = "10.0.0.5:18000"

func TestATokenGivesAnIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen(xds))()
		token := a.token(xds)
		p := start(t, n, Config{Service: "voting.shop", Instance: "one", Token: token.Reveal()})
		i := p.must()
		if i.URI != "spiffe://example.org/ns/shop/svc/voting" || i.ID.Service != "voting.shop" || !i.Bundle.Equal(a.bundle()) {
			t.Errorf("got %v", i)
		}
		if r := a.requests()[0]; r.GetService() != "voting" || r.GetNamespace() != "shop" || r.GetInstance() != "one" {
			t.Errorf("asked for %v", r)
		}
		st := p.Status()
		if st.Identity != i || st.From != "enrolment" || st.Err != nil || st.Reached.IsZero() {
			t.Errorf("status %+v", st)
		}
		if secret := strings.Split(token.Reveal(), ".")[2]; strings.Contains(p.logs.String(), secret) {
			t.Errorf("the log holds the token:\n%s", p.logs)
		}
		if err := p.stop(); err != nil {
			t.Errorf("run ends with %v", err)
		}
	})
}

func TestATokenIsRedeemedAgainWithTheSameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen(xds))()
		a.set(func(a *authority) { a.lose = 3 })
		p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
		p.must()
		if got := len(a.requests()); got != 4 {
			t.Errorf("signed %d times, want 4", got)
		}
		for _, key := range a.keys {
			if !key.Equal(a.keys[0]) {
				t.Error("a retry came with another key, for which the token is used up")
			}
		}
		_ = p.stop()
	})
}

func TestEveryLifeOfAProcessHasAKeyOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen(xds))()
		for range 2 {
			p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
			p.must()
			_ = p.stop()
		}
		if a.keys[0].Equal(a.keys[1]) {
			t.Error("two processes have the same key")
		}
	})
}

func TestServersAreAskedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen("10.0.0.6:18000"))()
		p := start(t, n, Config{Service: "voting", Servers: []string{xds, "10.0.0.6:18000"}, Token: a.token(xds).Reveal()})
		p.must()
		_ = p.stop()
	})
}

func TestATokenFileIsReadWhenItIsNeeded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	synctest.Test(t, func(t *testing.T) {
		n, a := newNetwork(), newAuthority(t, domain)
		defer a.serve(n.listen(xds))()
		p := start(t, n, Config{Service: "voting", Servers: []string{xds}, TokenFile: file})
		if _, err := p.wait(time.Minute); !contains(err, "no such file") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without the file: %v", err)
		}
		if err := os.WriteFile(file, []byte(a.token(xds).Reveal()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.must()
		if got := p.logs.count("no such file"); got != 1 {
			t.Errorf("logged %d times, want once:\n%s", got, p.logs)
		}
		_ = p.stop()
	})
}

func TestARefusalIsRetriedSlowlyAndLoggedOnce(t *testing.T) {
	for _, code := range []codes.Code{codes.PermissionDenied, codes.InvalidArgument, codes.Unauthenticated} {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a := newNetwork(), newAuthority(t, domain)
				defer a.serve(n.listen(xds))()
				a.set(func(a *authority) { a.deny = status.Error(code, "token is of service web") })
				p := start(t, n, Config{Service: "voting", Token: a.token(xds).Reveal()})
				_, err := p.wait(time.Minute)
				want := xds + ": token is of service web (" + code.String() + ")"
				if !contains(err, want) || !contains(p.Status().Err, want) {
					t.Errorf("got %v, want an error with %q", err, want)
				}
				if got := p.logs.count("token is of service web"); got != 1 {
					t.Errorf("logged %d times, want once:\n%s", got, p.logs)
				}
				// An operator mends it.
				a.set(func(a *authority) { a.deny = nil })
				time.Sleep(retryRefused)
				synctest.Wait()
				if p.Current() == nil {
					t.Error("not enrolled 15 s after it was mended")
				}
				_ = p.stop()
			})
		})
	}
}

func TestWhoCannotProveItselfIsToldWhatToDo(t *testing.T) {
	jwt := filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(jwt, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"TCP without a token": {
			Config{Service: "voting", Servers: []string{xds}},
			"no way to prove who this process is to 10.0.0.5:18000: set TULLE_TOKEN_FILE (xdsserver token create --service voting), or use the unix socket of a local xdsserver",
		},
		"a JWT without a bundle": {
			Config{Service: "voting", Servers: []string{xds}, JWTFile: jwt},
			"no way to know that 10.0.0.5:18000 is xdsserver before a JWT is shown to it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(test.config)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Run(t.Context(), nil)
			none := new(NoProofError)
			if !contains(err, test.want) || !errors.As(err, &none) || none.Server != xds {
				t.Errorf("run: got %v, want %q", err, test.want)
			}
			if _, err := s.Wait(t.Context()); !contains(err, "identity: service voting has none: enrolment: "+test.want) {
				t.Errorf("wait: got %v, want %q", err, test.want)
			}
			if err := s.Run(t.Context(), nil); !contains(err, "a second time") {
				t.Errorf("a second run: %v", err)
			}
		})
	}
}

func TestAJWTIsShownToAServerOfTheBundleOnly(t *testing.T) {
	dir := t.TempDir()
	jwt, roots := filepath.Join(dir, "jwt"), filepath.Join(dir, "roots.pem")
	synctest.Test(t, func(t *testing.T) {
		n, a, evil := newNetwork(), newAuthority(t, domain), newAuthority(t, domain)
		stop := evil.serve(n.listen(xds))
		a.jwt, evil.jwt = "head.body.signature", "head.body.signature"
		for file, content := range map[string][]byte{
			jwt:   []byte(a.jwt + "\n"),
			roots: pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: a.root.cert.Raw}),
		} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p := start(t, n, Config{Service: "voting", Servers: []string{xds}, JWTFile: jwt, BundleFile: roots})
		if _, err := p.wait(time.Minute); !contains(err, "signed by unknown authority") {
			t.Errorf("an impostor: %v", err)
		}
		if len(evil.requests()) > 0 {
			t.Error("the impostor was shown the JWT")
		}
		stop()
		defer a.serve(n.listen(xds))()
		p.must()
		_ = p.stop()
	})
}

// Each of these stands where xdsserver should, and none may learn the token.
func TestATokenIsShownToTheServerOfItsPinOnly(t *testing.T) {
	for name, test := range map[string]struct {
		change func(a, evil *authority)
		want   string
	}{
		"another authority": {
			func(a, evil *authority) { a.server = evil.server },
			"none of its certificates has the key that the join token names",
		},
		"the root's certificate copied beside a leaf of another": {
			func(a, evil *authority) {
				a.server = evil.server
				a.server.Certificate = append([][]byte{evil.server.Certificate[0]}, a.middle.cert.Raw, a.root.cert.Raw)
			},
			"signed by unknown authority",
		},
		"a service of the mesh": {
			func(a, _ *authority) {
				a.server = a.certificate(service(a.tb, domain, "web"))
				a.server.Certificate = append(a.server.Certificate, a.root.cert.Raw)
			},
			"presented spiffe://example.org/ns/default/svc/web, want spiffe://example.org/xdsserver",
		},
		"xdsserver, expired": {
			func(a, _ *authority) {
				template := named(a.tb, spiffe.ServerID(domain))
				template.NotAfter = time.Now().Add(-time.Second)
				a.server = a.certificate(template)
				a.server.Certificate = append(a.server.Certificate, a.root.cert.Raw)
			},
			"certificate of spiffe://example.org/xdsserver expired",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a := newNetwork(), newAuthority(t, domain)
				token := a.token(xds).Reveal()
				test.change(a, newAuthority(t, domain))
				defer a.serve(n.listen(xds))()
				p := start(t, n, Config{Service: "voting", Token: token})
				if _, err := p.wait(5 * time.Second); !contains(err, test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				if len(a.requests()) > 0 {
					t.Error("the token was shown")
				}
				_ = p.stop()
			})
		})
	}
}

func TestWhatASignerAnswersIsChecked(t *testing.T) {
	for name, test := range map[string]struct {
		change func(a *authority)
		want   string
	}{
		"another service": {
			func(a *authority) {
				a.forge = func(c *x509Certificate) { c.URIs = named(a.tb, spiffe.ServiceID(domain, "web")).URIs }
			},
			"signed a certificate of spiffe://example.org/ns/default/svc/web, the process is service voting",
		},
		"of another trust domain": {
			func(a *authority) {
				a.domain = "other.org"
				a.roots = []*x509Certificate{a.root.cert}
			},
			"its own is of trust domain example.org",
		},
		"by another authority than the bundle's": {
			func(a *authority) { a.middle = newAuthority(a.tb, domain).middle },
			"signed by unknown authority",
		},
		"for later": {
			func(a *authority) {
				a.forge = func(c *x509Certificate) { c.NotBefore = time.Now().Add(10 * time.Minute) }
			},
			"is not valid before 2000-01-01T00:10:00Z, in 10m0s: check the clocks of both machines",
		},
		"expired": {
			func(a *authority) {
				a.life = -10 * time.Minute
				a.forge = func(c *x509Certificate) { c.NotBefore = time.Now().Add(-time.Hour) }
			},
			"expired at 1999-12-31T23:50:00Z, 10m0s ago",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a := newNetwork(), newAuthority(t, domain)
				defer a.serve(n.listen(xds))()
				token := a.token(xds).Reveal()
				test.change(a)
				p := start(t, n, Config{Service: "voting", Token: token})
				if _, err := p.wait(100 * time.Millisecond); !contains(err, test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				_ = p.stop()
			})
		})
	}
}

func TestAChainAloneIsNotTakenForMoreThanItIs(t *testing.T) {
	a := newAuthority(t, domain)
	leaf := a.certificate(service(t, domain, "web")).Leaf
	for name, test := range map[string]struct {
		chain []*x509Certificate
		want  string
	}{
		"nothing":              {nil, "does not end in a CA"},
		"a leaf":               {[]*x509Certificate{leaf}, "does not end in a CA"},
		"no CA at its end":     {[]*x509Certificate{leaf, leaf}, "does not end in a CA"},
		"no identity":          {[]*x509Certificate{a.root.cert, a.root.cert}, "names no SPIFFE identity"},
		"of another authority": {[]*x509Certificate{leaf, newAuthority(t, domain).root.cert}, "signed by unknown authority"},
	} {
		if _, err := consistent(test.chain); !contains(err, test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestConfigsThatCannotWorkAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"no server":            {Config{}, "names no xdsserver"},
		"a damaged token":      {Config{Token: "tulle1.x@10.0.0.5:1"}, "Config.Token: token:"},
		"no canonical service": {Config{Service: "Voting", Servers: []string{xds}}, "no canonical name"},
	} {
		if _, err := New(test.config); !contains(err, test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	a := newAuthority(t, domain)
	token := a.token(xds).Reveal()
	i := a.identity("voting")
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s", i, i, i, i), fmt.Sprintf("%v %+v %#v", *i, *i, *i),
		fmt.Sprintf("%v %+v %#v", Config{Token: token}, Config{Token: token}, Config{Token: token}), i.LogValue().String(),
	} {
		for _, secret := range []string{"PrivateKey", "0x", "tulle1"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q holds %q", text, secret)
			}
		}
	}
}
