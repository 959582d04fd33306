package identity_test

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	identityv1 "github.com/tulle-mesh/tulle/mesh/api/identity/v1"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	authority "github.com/tulle-mesh/tulle/xdsserver/identity"
)

// xdsserver serves the real thing on l.
func xdsserver(t *testing.T, l net.Listener, socket bool) (*authority.CA, *enrol.Server) {
	t.Helper()
	ca, err := authority.NewCA(authority.Config{TrustDomain: "example.org", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return ca, xdsserverOf(t, ca, l, socket)
}

// xdsserverOf is xdsserver with another authority.
func xdsserverOf(t *testing.T, ca authority.Authority, l net.Listener, socket bool) *enrol.Server {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	e, err := enrol.New(enrol.Config{Authority: ca, Socket: socket, TokensAllowed: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	unary, stream := authority.Interceptors()
	server := grpc.NewServer(grpc.Creds(authority.NewCredentials(ca, logger)), grpc.UnaryInterceptor(unary), grpc.StreamInterceptor(stream))
	identityv1.RegisterIdentityServiceServer(server, e)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Stop()
		wg.Wait()
	})
	return e
}

// A literal authority signs what is named in a request, as Consul's does, for
// identities of Consul's form.
type literal struct{ *authority.CA }

func (l literal) Trust() *authority.Trust {
	t := *l.CA.Trust()
	t.Datacenter = "dc1"
	return &t
}

func (l literal) Issue(ctx context.Context, o authority.Order) ([][]byte, error) {
	csr, err := x509.ParseCertificateRequest(o.Request)
	if err != nil || len(csr.URIs) != 1 || csr.URIs[0].String() != o.ID {
		return nil, authority.ErrUnnamed
	}
	return l.CA.Issue(ctx, o)
}

func TestAnIdentityIsNamedWhereTheAuthorityWantsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const addr = "10.0.0.5:18000"
		l := bufconn.Listen(64 << 10)
		ca, err := authority.NewCA(authority.Config{TrustDomain: "example.org", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		e := xdsserverOf(t, literal{ca}, l, false)
		// One use is enough: it is one key that asks twice.
		token, _, err := e.CreateToken(t.Context(), enrol.TokenRequest{Service: "voting.shop", TTL: time.Hour, Uses: 1, Address: addr})
		if err != nil {
			t.Fatal(err)
		}
		dial := func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }
		_, i := run(t, identity.Config{Service: "voting.shop", Token: token.Reveal(), Dial: dial},
			"passthrough:///"+addr, grpc.WithContextDialer(dial))
		if i.URI != "spiffe://example.org/ns/shop/dc/dc1/svc/voting" || i.ID.Service != "voting.shop" {
			t.Errorf("got %v", i)
		}
	})
}

// run starts a source, and returns it with its first identity.
func run(t *testing.T, config identity.Config, target string, opts ...grpc.DialOption) (*identity.Source, *identity.Identity) {
	t.Helper()
	config.Logger = slog.New(slog.DiscardHandler)
	s, err := identity.New(config)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(s.ControlCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx, conn) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		conn.Close()
	})
	short, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	i, err := s.Wait(short)
	if err != nil {
		t.Fatal(err)
	}
	return s, i
}

func TestTheRealXdsserverEnrolsByTokenAndRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const addr = "10.0.0.5:18000"
		l := bufconn.Listen(64 << 10)
		ca, e := xdsserver(t, l, false)
		token, _, err := e.CreateToken(t.Context(), enrol.TokenRequest{Service: "voting.shop", TTL: time.Hour, Uses: 1, Address: addr})
		if err != nil {
			t.Fatal(err)
		}
		dial := func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }
		s, first := run(t, identity.Config{Service: "voting.shop", Token: token.Reveal(), Dial: dial},
			"passthrough:///"+addr, grpc.WithContextDialer(dial))
		if first.URI != "spiffe://example.org/ns/shop/svc/voting" || !first.Bundle.Equal(ca.Trust().Bundle) {
			t.Errorf("got %v", first)
		}
		time.Sleep(5 * time.Minute) // renewals are rare by limit
		s.SetTrust(&resource.TrustBundle{TrustDomain: "example.org", Authorities: first.Bundle.Roots(), RenewBefore: time.Now()})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if st := s.Status(); st.Identity == first || st.From != "renewal" || st.Err != nil {
			t.Errorf("not renewed when asked: %+v", st)
		}
		second := s.Current()
		time.Sleep(14 * time.Hour)
		synctest.Wait()
		if st := s.Status(); st.Identity == second || st.Err != nil {
			t.Errorf("not renewed at half its life: %+v", st)
		}
	})
}

func TestTheRealXdsserverEnrolsByTheKernelsWord(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says whose process is at the other end")
	}
	path := filepath.Join(t.TempDir(), "xds.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ca, _ := xdsserver(t, l, true)
	s, i := run(t, identity.Config{Service: "voting", Servers: []string{"unix://" + path}}, "unix://"+path)
	if i.URI != "spiffe://example.org/ns/default/svc/voting" || !i.Bundle.Equal(ca.Trust().Bundle) || s.Status().From != "enrolment" {
		t.Errorf("got %v", i)
	}
}
