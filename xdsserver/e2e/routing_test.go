package e2e

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh"
)

// A 90/10 split over 10,000 calls stays within three standard deviations, and a
// header match takes every call.
func TestCallsFollowWeightsAndHeaders(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v2")
	s.awaitEndpoints(t, "voting", 2)
	s.apply(t, canary)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")

	// A sound split is beyond three deviations once in 370 samples: then another
	// is taken, and both are once in 100,000.
	off := deviations(t, conn)
	if off > 3 {
		off = deviations(t, conn)
	}
	if off > 3 {
		t.Errorf("the share of v2 is %.1f standard deviations off twice in a row, want at most 3", off)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-tester", "yes")
	for range 1000 {
		if version, _, err := where(ctx, conn); err != nil || version != "v2" {
			t.Fatalf("with the header: %q, %v, want v2", version, err)
		}
	}
}

// deviations makes 10,000 calls and returns how far the share of v2 is from a
// tenth, in standard deviations.
func deviations(t *testing.T, conn *grpc.ClientConn) float64 {
	t.Helper()
	const calls, share = 10_000, 0.1
	v2 := 0
	for range calls {
		version, _, err := where(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if version == "v2" {
			v2++
		}
	}
	off := math.Abs(float64(v2)-calls*share) / math.Sqrt(calls*share*(1-share))
	t.Logf("%d of %d calls at v2: %.1f standard deviations from %.0f", v2, calls, off, calls*share)
	return off
}

// A live change reaches a client in under 100 ms at the median, counted from the
// request that applies it, and no call fails during 100 changes in a row.
func TestLiveChangeReachesClientsAndFailsNoCall(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v2")
	s.awaitEndpoints(t, "voting", 2)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")
	s.apply(t, onlyVersion("v1"))
	eventually(t, 10*time.Second, "calls go to v1", func(ctx context.Context) bool {
		version, _, err := where(ctx, conn)
		return err == nil && version == "v1"
	})

	load := startLoad(t, conn, 200)
	var took []time.Duration
	for i := range 100 {
		want := []string{"v2", "v1"}[i%2]
		began := time.Now()
		s.apply(t, onlyVersion(want))
		eventually(t, 5*time.Second, "calls go to "+want, func(ctx context.Context) bool {
			version, _, err := where(ctx, conn)
			return err == nil && version == want
		})
		took = append(took, time.Since(began))
	}
	load.mustNotHaveFailed(t)
	slices.Sort(took)
	t.Logf("change to client: median %v, p90 %v, max %v", took[50], took[90], took[99])
	if took[50] > 100*time.Millisecond {
		t.Errorf("median %v, want under 100ms", took[50])
	}
}

func onlyVersion(version string) string {
	return fmt.Sprintf(`
apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
---
apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: voting-version}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
    - backendRefs: [{name: voting, version: %s}]
`, version)
}
