package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

// Consul signs, and makes another root under load, twice: no call fails, and every
// process proves itself by the newest.
func TestConsulsRootRotatesUnderLoad(t *testing.T) {
	t.Parallel() // it waits more than it works
	agent := consultest.Start(t)
	connect := agent.Client(t).Connect()
	all := replicas(t, 2, "--consul", agent.Address(), "--ca", "consul")
	s := all[0]
	for _, where := range all {
		where.echo(t, "voting", "v1")
	}
	for _, where := range all {
		where.awaitEndpoints(t, "voting", 2)
	}
	// A policy that names the caller, and one that a token makes: both write identities.
	s.apply(t, "apiVersion: tulle/v1\nkind: AccessPolicy\nmetadata: {name: voting}\nspec: {allow: [{from: [tester]}]}\n")
	m := s.join(t, mesh.Config{})
	conn := dial(t, m, "mesh:///voting")
	l := startLoad(t, conn, 200)
	for i, bits := range []int{384, 521} {
		pass(t, 2*time.Second)
		if n := l.failed.Load(); n > 0 {
			t.Fatalf("%d calls failed before rotation %d, the first with: %v", n, i+1, *l.first.Load())
		}
		before, held := roots(t, s), m.Status().Identity.Identity.Serial()
		_, err := connect.CASetConfig(&api.CAConfig{Provider: "consul", Config: map[string]any{"PrivateKeyType": "ec", "PrivateKeyBits": bits}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		eventually(t, 20*time.Second, "both xdsservers know the new root", func(context.Context) bool {
			return len(roots(t, all[0])) == len(before)+1 && len(roots(t, all[1])) == len(before)+1
		})
		known := time.Since(began)
		eventually(t, 90*time.Second, "the process has a certificate of it", func(context.Context) bool {
			return m.Status().Identity.Identity.Serial() != held
		})
		t.Logf("rotation %d: known after %v, renewed after %v", i+1, known.Round(time.Millisecond), time.Since(began).Round(time.Second))
	}
	l.mustNotHaveFailed(t)
	if id := m.Status().Identity.Identity.URI; !strings.HasSuffix(id, ".consul/ns/default/dc/dc1/svc/tester") {
		t.Errorf("the process is %s", id)
	}
}

// Who starts while Consul is away proves itself by what Consul signed before, and serves
// what Consul said before.
func TestXdsserverStartsWhileConsulsAuthorityIsAway(t *testing.T) {
	t.Parallel() // it waits more than it works
	agent := consultest.Start(t)
	s := startServer(t, "--consul", agent.Address(), "--ca", "consul")
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 1)
	m := s.join(t, mesh.Config{})
	conn := dial(t, m, "mesh:///voting")
	// What never heard of the service cannot call it while nobody tells: Consul's authority
	// may take seconds to sign for the first time.
	eventually(t, 20*time.Second, "a first call is answered", func(ctx context.Context) bool {
		_, _, err := where(ctx, conn)
		return err == nil
	})
	l := startLoad(t, conn, 50)
	agent.Stop(t)
	s.process.kill()
	s.restart(t)
	s.awaitEndpoints(t, "voting", 1)
	eventually(t, 20*time.Second, "a process takes xdsserver for who it was", func(context.Context) bool { return !m.Status().Stale })
	if _, out := s.run(t, "check"); !strings.Contains(out, "consul") {
		t.Errorf("check does not tell that Consul is away:\n%s", out)
	}
	agent.Restart(t)
	agent.Ready(t)
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 2)
	l.mustNotHaveFailed(t)
}

// roots are the authority's as an operator sees them.
func roots(t *testing.T, s *server) []*adminv1.CACertificate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	answer, err := s.api.GetAuthority(ctx, &adminv1.GetAuthorityRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetAuthority().GetRoots()
}
