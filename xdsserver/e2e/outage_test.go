package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh"
)

// xdsserver is killed for a minute under load: no call fails, and it and its
// clients are current again within ten seconds of its return. (The kit's own
// tests do five minutes, in virtual time.)
func TestMinuteWithoutXdsserverFailsNoCall(t *testing.T) {
	t.Parallel() // it waits more than it works
	if testing.Short() {
		t.Skip("takes over a minute; run without -short")
	}
	outage(t, time.Minute, func(s *server) { s.restart(t) })
}

// The same with a server that comes back without its memory: it removes nobody.
func TestServerThatLostItsMemoryRemovesNobody(t *testing.T) {
	outage(t, 5*time.Second, func(s *server) {
		if err := os.RemoveAll(s.data); err != nil {
			t.Fatal(err)
		}
		s.restart(t)
	})
}

// pass lets time go by, under load.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func outage(t *testing.T, away time.Duration, comeBack func(*server)) {
	t.Helper()
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 2)
	m := s.join(t, mesh.Config{})
	conn := dial(t, m, "mesh:///voting")
	if _, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}

	load := startLoad(t, conn, 200)
	pass(t, 2*time.Second) // xdsserver remembers endpoints within a second
	s.kill()
	eventually(t, 10*time.Second, "the member says it is stale", func(context.Context) bool { return m.Status().Stale })
	pass(t, away)
	began := time.Now()
	comeBack(s)
	eventually(t, 10*time.Second, "the member is current again", func(context.Context) bool { return !m.Status().Stale })
	s.awaitEndpoints(t, "voting", 2)
	// A change made now reaches it.
	s.echo(t, "voting", "v2")
	s.awaitEndpoints(t, "voting", 3)
	eventually(t, 15*time.Second, "a new endpoint takes calls", func(ctx context.Context) bool {
		version, _, err := where(ctx, conn)
		return err == nil && version == "v2"
	})
	t.Logf("current again %v after the return", time.Since(began))
	load.mustNotHaveFailed(t)
}

// A process that is restarted while xdsserver is dead makes its first call
// within a second, from its disk, and says that it is stale and since when.
func TestColdStartWithoutXdsserver(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 1)
	state := filepath.Join(t.TempDir(), "state")
	run := func() (firstCall, *process) {
		t.Helper()
		p := start(t, "caller", nil, "TULLE_SERVICE=web", "TULLE_SERVER="+s.target(), "TULLE_STATE_DIR="+state, "TULLE_E2E_TARGET=voting")
		var report firstCall
		if err := json.NewDecoder(p.stdout).Decode(&report); err != nil {
			t.Fatalf("%v: %s", err, p.stderr.String())
		}
		return report, p
	}

	if first, _ := run(); first.Err != "" || first.Stale {
		t.Fatalf("with xdsserver: %+v, want an answer by current configuration", first)
	}
	s.kill()
	dead := time.Now()
	second, p := run()
	if second.Err != "" || second.Took > time.Second {
		t.Errorf("without xdsserver: %+v, want an answer within 1s", second)
	}
	if !second.Stale || second.Since.IsZero() || second.Since.After(dead.Add(time.Second)) {
		t.Errorf("status: stale %v since %v, want stale since before %v", second.Stale, second.Since, dead)
	}
	if log := p.stderr.String(); !containsAll(log, "stale", "since") {
		t.Errorf("log does not say that it is stale and since when:\n%s", log)
	}
	t.Logf("first call after %v, stale since %v", second.Took, second.Since)

	// A process that never ran here says what is missing, and does not hang.
	state = filepath.Join(t.TempDir(), "empty")
	third, _ := run()
	if !containsAll(third.Err, "mesh:", s.socket) || third.Took > 8*time.Second {
		t.Errorf("without xdsserver and memory: %+v, want an error that names %s", third, s.socket)
	}
}
