package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// agent is a Workload API as a SPIRE agent serves it, over a unix socket.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	address string
	server  *grpc.Server

	mu       sync.Mutex
	response *workload.X509SVIDResponse // nil: the process is registered for nothing
	changed  chan struct{}
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", path)
	must(t, err)
	a := &agent{address: "unix://" + path, server: grpc.NewServer(), changed: make(chan struct{})}
	workload.RegisterSpiffeWorkloadAPIServer(a.server, a)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.server.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		a.server.Stop()
		wg.Wait()
	})
	return a
}

// FetchX509SVID sends what there is, and again when it changes.
func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if got := md.Get("workload.spiffe.io"); len(got) != 1 || got[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		a.mu.Lock()
		response, changed := a.response, a.changed
		a.mu.Unlock()
		if response == nil {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := stream.Send(response); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		}
	}
}

// give has the agent serve identities under a CA of the test's, and a bundle of
// more roots.
func (a *agent) give(t *testing.T, ca *issuer, bundle []*x509.Certificate, ids ...string) {
	t.Helper()
	r := &workload.X509SVIDResponse{}
	for _, id := range ids {
		key := newKey(t)
		leaf, err := signing{now: time.Now(), ttl: time.Hour, key: key.Public(), issuer: ca.cert, signer: ca.signer}.leaf(id)
		must(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		svid := &workload.X509SVID{SpiffeId: id, X509Svid: append(leaf.Raw, ca.cert.Raw...), X509SvidKey: der}
		for _, root := range bundle {
			svid.Bundle = append(svid.Bundle, root.Raw...)
		}
		r.Svids = append(r.Svids, svid)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.response = r
	close(a.changed)
	a.changed = make(chan struct{})
}

func newWorkload(t *testing.T, a *agent, log *logged) *Workload {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w, err := NewWorkload(ctx, WorkloadConfig{Address: a.address, TrustDomain: domain, Logger: log.logger()})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

func active(ca *CA) *issuer { return ca.view.Load().active }

func TestWorkloadAPIGivesXdsserverItsIdentityThroughARotation(t *testing.T) {
	a, log := newAgent(t), &logged{}
	first, second := inMemory(t, nil), inMemory(t, nil)
	oldRoot, newRoot := active(first).root, active(second).root
	const web = "spiffe://tulle.local/ns/default/svc/web"
	a.give(t, active(first), []*x509.Certificate{oldRoot}, web, spiffe.ServerID(domain))
	w := newWorkload(t, a, log)
	run(t, w)
	own := parse(t, w.Certificate().Certificate)
	verifies(t, w.Trust().Bundle, own)
	if got := own[0].URIs[0].String(); got != spiffe.ServerID(domain) || len(own) != 3 || !own[2].Equal(oldRoot) {
		t.Errorf("own certificate of %s, chain of %d", got, len(own))
	}
	cert := holder(t, first, voting)
	caller, server, client := shake(t, NewCredentials(w, quiet), overTLS(clientConfig(w, &cert)))
	must(t, errors.Join(server, client))
	if caller.Peer.URI != voting {
		t.Errorf("peer %+v", caller.Peer)
	}

	// Both roots, then an own certificate under the new one, then the new one only.
	for i, step := range []struct {
		ca    *issuer
		roots []*x509.Certificate
	}{
		{active(first), []*x509.Certificate{oldRoot, newRoot}},
		{active(second), []*x509.Certificate{oldRoot, newRoot}},
		{active(second), []*x509.Certificate{newRoot}},
	} {
		before := w.Certificate()
		a.give(t, step.ca, step.roots, spiffe.ServerID(domain))
		waitFor(t, func() bool {
			return w.Certificate() != before && len(w.Trust().Bundle.Roots()) == len(step.roots)
		})
		verifies(t, w.Trust().Bundle, parse(t, w.Certificate().Certificate))
		if got, want := w.Trust().Generation, []uint64{2, 2, 3}[i]; got != want {
			t.Errorf("generation %d, want %d", got, want)
		}
	}
	if _, server, _ := shake(t, NewCredentials(w, quiet), overTLS(clientConfig(w, &cert))); server == nil {
		t.Error("a certificate under the old root is still accepted")
	}
	s := w.Status()
	if s.Kind != "workload-api" || s.TrustDomain != domain || len(s.Roots) != 1 || len(s.Intermediates) != 1 || s.Problem != "" {
		t.Errorf("status %+v", s)
	}
}

// waitFor looks until something holds that another goroutine brings about.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it did not come about in 10 s")
		}
	}
}

func TestWorkloadIssuesNothing(t *testing.T) {
	a := newAgent(t)
	ca := inMemory(t, nil)
	a.give(t, active(ca), []*x509.Certificate{active(ca).root}, spiffe.ServerID(domain))
	w := newWorkload(t, a, &logged{})
	_, err := w.Issue(context.Background(), Order{ID: voting, Key: &newKey(t).PublicKey})
	none, ok := errors.AsType[*NotIssuerError](err)
	if !ok || none.Kind != "workload-api" || !strings.Contains(none.Do, "Workload API") {
		t.Errorf("got %v", err)
	}
}

func TestWorkloadKeepsWhatItHasWhenTheAgentGivesNonsense(t *testing.T) {
	a, log := newAgent(t), &logged{}
	ca, stranger := inMemory(t, nil), inMemory(t, nil)
	root := []*x509.Certificate{active(ca).root}
	a.give(t, active(ca), root, spiffe.ServerID(domain))
	w := newWorkload(t, a, log)
	run(t, w)
	own := w.Certificate()
	for want, give := range map[string]func(){
		"register spiffe://tulle.local/xdsserver for it": func() { a.give(t, active(ca), root, voting) },
		"is not valid": func() { a.give(t, active(stranger), root, spiffe.ServerID(domain)) },
	} {
		give()
		waitFor(t, func() bool { return strings.Contains(w.Status().Problem, want) })
	}
	if !w.Certificate().Leaf.Equal(own.Leaf) {
		t.Error("the last good certificate is gone")
	}
	if !strings.Contains(log.String(), "cannot be used") {
		t.Errorf("logged %q", log)
	}
}

func TestNewWorkloadSaysWhatItWaitedFor(t *testing.T) {
	a := newAgent(t)
	ca := inMemory(t, nil)
	for name, test := range map[string]struct {
		prepare func()
		config  WorkloadConfig
		want    string
	}{
		"nobody there":              {func() {}, WorkloadConfig{Address: "unix://" + filepath.Join(t.TempDir(), "none")}, "workload api"},
		"no address":                {func() {}, WorkloadConfig{}, "workload api"},
		"a trust domain of no form": {func() {}, WorkloadConfig{TrustDomain: "A/B"}, "WorkloadConfig.TrustDomain"},
		"an unregistered process":   {func() {}, WorkloadConfig{Address: a.address}, "no identity issued"},
		"another trust domain": {
			func() { a.give(t, active(ca), []*x509.Certificate{active(ca).root}, spiffe.ServerID(domain)) },
			WorkloadConfig{Address: a.address, TrustDomain: "other.org"},
			"register spiffe://other.org/xdsserver for it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a.mu.Lock()
			a.response = nil
			a.mu.Unlock()
			test.prepare()
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			test.config.Logger = quiet
			_, err := NewWorkload(ctx, test.config)
			wantError(t, err, test.want)
			if ctx.Err() != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v does not say that the wait has ended", err)
			}
		})
	}
}
