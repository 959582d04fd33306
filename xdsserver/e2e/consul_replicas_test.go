package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

// replicas starts xdsservers over one Consul.
func replicas(t *testing.T, n int, flags ...string) []*server {
	t.Helper()
	all := make([]*server, n)
	for i := range all {
		all[i] = startServer(t, flags...)
	}
	return all
}

// anyOf is TULLE_SERVER for processes that may join either.
func anyOf(servers ...*server) string {
	targets := make([]string, len(servers))
	for i, s := range servers {
		targets[i] = s.target()
	}
	return strings.Join(targets, ",")
}

// Two xdsservers over one Consul, each killed and started again ten times in turn,
// under 500 calls a second: the mesh does not notice.
func TestReplicasAreKilledInTurn(t *testing.T) {
	if raced {
		t.Skip("measures a load that the race detector would not carry")
	}
	t.Parallel() // it waits more than it works
	agent := consultest.Start(t)
	all := replicas(t, 2, "--consul", agent.Address())
	for range 3 {
		all[0].echo(t, "voting", "v1", "TULLE_SERVER="+anyOf(all...))
	}
	for _, s := range all {
		s.awaitEndpoints(t, "voting", 3)
	}
	conn := dial(t, all[0].join(t, mesh.Config{Server: anyOf(all...)}), "mesh:///voting")
	l := startLoad(t, conn, 500)
	began := time.Now()
	for i := range 20 {
		s := all[i%2]
		s.kill()
		pass(t, time.Second)
		s.restart(t)
		// The next one is killed when this one serves, and no sooner than the minute allows.
		pass(t, time.Until(began.Add(time.Duration(i+1)*3*time.Second)))
	}
	l.mustNotHaveFailed(t)
	t.Logf("20 kills in %v", time.Since(began).Round(time.Second))
	for _, s := range all {
		s.awaitEndpoints(t, "voting", 3)
	}
	sameObjects(t, all)
}

// What one takes, the other serves, and nothing is lost when both take much at once.
func TestReplicasApplyAtOnce(t *testing.T) {
	agent := consultest.Start(t)
	all := replicas(t, 2, "--consul", agent.Address())
	const appliers, each = 10, 30
	var wait sync.WaitGroup
	began := time.Now()
	for i := range appliers {
		wait.Go(func() {
			s := all[i%2]
			for j := range each {
				name := fmt.Sprintf("s-%d-%d", i, j)
				if err := s.applyAtRevision(t, name); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	wait.Wait()
	t.Logf("%d applies with check-and-set in %v", appliers*each, time.Since(began).Round(time.Millisecond))
	eventually(t, 10*time.Second, "both hold everything", func(ctx context.Context) bool {
		for _, s := range all {
			status, err := s.api.GetStatus(ctx, &adminv1.GetStatusRequest{})
			if err != nil || status.GetStoreRevision() != appliers*each {
				return false
			}
		}
		return true
	})
	text := sameObjects(t, all)
	for i := range appliers {
		for j := range each {
			if name := fmt.Sprintf("name: s-%d-%d\n", i, j); !strings.Contains(text, name) {
				t.Errorf("lost: %s", name)
			}
		}
	}
}

// applyAtRevision applies a service for the revision that was read before, and again
// when somebody else was faster: what a careful program does.
func (s *server) applyAtRevision(t *testing.T, name string) error {
	yaml := "apiVersion: tulle/v1\nkind: Service\nmetadata:\n  name: " + name + "\nspec:\n  timeout: 1s\n"
	for {
		status, err := s.api.GetStatus(t.Context(), &adminv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		_, err = s.api.Apply(t.Context(), &adminv1.ApplyRequest{
			Manifests: []*adminv1.Manifest{{Origin: name, Yaml: yaml}}, IfRevision: status.GetStoreRevision(),
		})
		if connect.CodeOf(err) != connect.CodeAborted {
			return err
		}
	}
}

// sameObjects checks that all hold the same objects, and returns them.
func sameObjects(t *testing.T, all []*server) string {
	t.Helper()
	code, first := all[0].run(t, "get", "service", "-o", "yaml")
	if code != 0 {
		t.Fatal(first)
	}
	for _, s := range all[1:] {
		if code, other := s.run(t, "get", "service", "-o", "yaml"); code != 0 || other != first {
			t.Errorf("exit code %d; one holds\n%.2000s\nand another\n%.2000s", code, first, other)
		}
	}
	return first
}
