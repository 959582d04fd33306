package workload

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An agent serves the Workload API on a real unix socket.
type agent struct {
	pb.UnimplementedSpiffeWorkloadAPIServer

	mu      sync.Mutex
	answer  *pb.X509SVIDResponse // nil: no identity
	code    codes.Code           // ends the streams where it is not OK
	changed chan struct{}
}

func serve(t *testing.T) (*agent, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{changed: make(chan struct{})}
	server := grpc.NewServer()
	pb.RegisterSpiffeWorkloadAPIServer(server, a)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Stop()
		wg.Wait()
	})
	return a, "unix://" + path
}

func (a *agent) set(answer *pb.X509SVIDResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
	close(a.changed)
	a.changed = make(chan struct{})
}

// end ends all streams with code, also those to come.
func (a *agent) end(code codes.Code) {
	a.mu.Lock()
	a.code = code
	answer := a.answer
	a.mu.Unlock()
	a.set(answer)
}

// FetchX509SVID implements pb.SpiffeWorkloadAPIServer.
func (a *agent) FetchX509SVID(_ *pb.X509SVIDRequest, stream grpc.ServerStreamingServer[pb.X509SVIDResponse]) error {
	// The standard has servers refuse requests that a browser could be made to send.
	if md, _ := metadata.FromIncomingContext(stream.Context()); strings.Join(md.Get("workload.spiffe.io"), "") != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		a.mu.Lock()
		answer, code, changed := a.answer, a.code, a.changed
		a.mu.Unlock()
		if code != codes.OK {
			return status.Error(code, "the agent goes away")
		}
		if answer == nil {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// An issuer makes what the agent answers.
type issuer struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "spire"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, root, key}
}

func (i *issuer) svid(id string, serial int64) *pb.X509SVID {
	i.t.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		i.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}, i.root, &key.PublicKey, i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return &pb.X509SVID{SpiffeId: id, X509Svid: der, X509SvidKey: pkcs8, Bundle: i.root.Raw}
}

const voting = "spiffe://example.org/ns/default/svc/voting"

func TestAnIdentityComesFromTheWorkloadAPIAndFollowsIt(t *testing.T) {
	a, addr := serve(t)
	i := newIssuer(t)
	a.set(&pb.X509SVIDResponse{Svids: []*pb.X509SVID{i.svid(voting, 7), i.svid("spiffe://example.org/other", 8)}})
	got := make(chan *identity.Identity, 8)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	p := New(addr)
	go func() { done <- p.Run(ctx, func(i *identity.Identity) { got <- i }) }()
	first := <-got
	if first.URI != voting || first.Serial() != "07" || len(first.Bundle.Roots()) != 1 || first.ID.Service != "voting" {
		t.Errorf("got %v", first)
	}
	a.set(&pb.X509SVIDResponse{Svids: []*pb.X509SVID{i.svid(voting, 9)}})
	if second := <-got; second.Serial() != "09" {
		t.Errorf("after a rotation: serial %s", second.Serial())
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run ends with %v", err)
	}
}

func TestASourceWaitsForTheWorkloadAPIAndSaysSo(t *testing.T) {
	a, addr := serve(t)
	s, err := identity.New(identity.Config{Service: "voting", Provider: New(addr), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, nil) }()
	i := newIssuer(t)
	bad := i.svid(voting, 7)
	bad.Bundle = newIssuer(t).root.Raw
	for _, step := range []struct {
		answer *pb.X509SVIDResponse
		want   string
	}{
		{nil, "no identity issued"},
		{&pb.X509SVIDResponse{Svids: []*pb.X509SVID{bad}}, "signed by unknown authority"},
	} {
		a.set(step.answer)
		await(t, s, step.want)
	}
	a.end(codes.Canceled)
	await(t, s, "Canceled")
	a.end(codes.OK)
	a.set(&pb.X509SVIDResponse{Svids: []*pb.X509SVID{i.svid(voting, 9)}})
	if got, err := s.Wait(ctx); err != nil || got.URI != voting {
		t.Errorf("got %v, %v", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run ends with %v", err)
	}
}

// await waits until the source says why it has no identity.
func await(t *testing.T, s *identity.Source, want string) {
	t.Helper()
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		i, err := s.Wait(ctx)
		cancel()
		if err == nil {
			t.Fatalf("got %v, want an error with %q", i, want)
		}
		if strings.Contains(err.Error(), want) {
			return
		}
	}
	t.Fatalf("no error with %q", want)
}

func TestAnAddressThatCanBeNoneEndsRun(t *testing.T) {
	for _, addr := range []string{"/run/agent.sock", "http://localhost:80", "tcp://localhost:80"} {
		err := New(addr).Run(t.Context(), func(*identity.Identity) {})
		if err == nil || !strings.HasPrefix(err.Error(), "workload api: ") {
			t.Errorf("%s: got %v", addr, err)
		}
	}
}
