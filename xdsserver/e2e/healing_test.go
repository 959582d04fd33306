package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh"
)

// flaky fails three calls of ten.
const flaky = "TULLE_E2E_FAILS=0.3"

// A stock client retries as the operator says, five attempts at the most, by nothing
// but the standard retry policy.
func TestStockClientRetriesAsConfigured(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1", flaky)
	s.echo(t, "voting", "v1", flaky)
	s.awaitEndpoints(t, "voting", 2)
	client := s.stock(t, "stockclient", "shopfront")

	const calls = 300
	if got := client.call(t, "xds:///voting", calls); got["Unavailable"] < calls/5 {
		t.Errorf("without retries: %v, want about three of ten to fail", got)
	}
	s.apply(t, "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec: {retry: {on: [unavailable], attempts: 5, idempotent: true}}\n")
	// 0.3^5 of the calls still fail: two or three of a thousand.
	if got := client.call(t, "xds:///voting", calls); got["v1"] < calls-6 {
		t.Errorf("with five attempts: %v, want all but a few of %d to be answered", got, calls)
	}
}

// One limit for all callers of an instance, at twice its rate.
func TestRateLimitIsExactUnderLoad(t *testing.T) {
	const (
		limit   = offered / 2
		settle  = 3 // until the burst of a second is used up
		seconds = 10
		callers = 64
	)
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 1)
	s.apply(t, fmt.Sprintf("apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec:\n"+
		"  retry: {attempts: 1}\n  admission: {rateLimits: [{name: all, per: total, requestsPerSecond: %d}]}\n", limit))
	m, err := mesh.Join(t.Context(), mesh.Config{Service: "web", Server: s.target(), StateDir: mesh.NoState})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	conn, err := m.NewClient("mesh:///voting")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}

	var taken, refused, other atomic.Int64
	turns := make(chan struct{}, offered/10)
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for range turns {
				_, _, err := where(t.Context(), conn)
				switch status.Code(err) {
				case codes.OK:
					taken.Add(1)
				case codes.ResourceExhausted:
					refused.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	// Calls come in steps of a millisecond, as many as the clock says.
	offer := func(seconds int) (made int, took float64) {
		began := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for elapsed := time.Duration(0); elapsed < time.Duration(seconds)*time.Second; elapsed = time.Since(began) {
			for due := int(elapsed.Seconds() * offered); made < due; made++ {
				turns <- struct{}{}
			}
			<-tick.C
		}
		return made, time.Since(began).Seconds()
	}
	offer(settle)
	taken.Store(0)
	refused.Store(0)
	made, took := offer(seconds)
	rate := float64(taken.Load()) / took
	close(turns)
	wait.Wait()
	t.Logf("%d calls in %.2f s (%.0f/s): %d taken (%.1f/s of %d), %d refused, %d otherwise", made, took, float64(made)/took, taken.Load(), rate, limit, refused.Load(), other.Load())
	if off := rate/limit - 1; off < -.02 || off > .02 {
		t.Errorf("%.1f calls/s were taken, %.2f %% off the limit of %d", rate, 100*off, limit)
	}
	if other.Load() > 0 {
		t.Errorf("%d calls ended otherwise", other.Load())
	}
	if float64(made)/took < 1.2*limit {
		t.Errorf("the machine made %.0f calls/s only, too few to hold a limit of %d against", float64(made)/took, limit)
	}
}
