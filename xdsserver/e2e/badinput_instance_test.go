package e2e

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh"
)

// Of two processes with one instance id the second is refused, and told so in its
// own log and the server's; the first takes every call, also when the second ends.
func TestSecondProcessWithAnInstanceIDIsRefused(t *testing.T) {
	s := startServer(t)
	_, address := s.echo(t, "voting", "v1", "TULLE_INSTANCE=one")
	s.awaitEndpoints(t, "voting", 1)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")
	if _, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	load := startLoad(t, conn, 100)

	second, _ := s.echo(t, "voting", "v2", "TULLE_INSTANCE=one")
	says := []string{`instance \"one\" of voting`, address, "give each process an instance id of its own"}
	eventually(t, 15*time.Second, "both logs say so", func(context.Context) bool {
		return containsAll(second.stderr.String(), append(says, "endpoint refused by xdsserver")...) &&
			containsAll(s.stderr.String(), append(says, "endpoint refused")...)
	})
	onlyTheFirst := func() {
		t.Helper()
		if got := s.endpoints(t.Context(), "voting"); len(got) != 1 || got[address] != "healthy" {
			t.Errorf("endpoints %v, want only %s", got, address)
		}
	}
	onlyTheFirst()
	second.stop(t)
	onlyTheFirst()
	if version, got, err := where(t.Context(), conn); err != nil || version != "v1" || got != address {
		t.Errorf("%s %s, %v, want v1 at %s", version, got, err, address)
	}
	eventually(t, 15*time.Second, "it is called on", func(context.Context) bool { return load.calls.Load() > 50 })
	load.mustNotHaveFailed(t)
}
