package mesh_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// tailed is about 5 ms, and one time in a hundred half a second.
func tailed() time.Duration {
	if rand.Float64() < .01 {
		return 500 * time.Millisecond
	}
	return 2*time.Millisecond + about(3*time.Millisecond)()
}

func TestHedgingCutsTheTail(t *testing.T) {
	measure := func(t *testing.T, spec string) (results, float64) {
		t.Helper()
		m := meshtest.New(t)
		m.Apply(service("voting", spec))
		var workers []*worker
		for _, name := range []string{"a", "b", "c"} {
			w := newWorker(name, ways{takes: tailed})
			m.Serve("voting", w.register)
			workers = append(workers, w)
		}
		conn := m.Client("mesh:///voting")
		work(t, conn, 400, 5*time.Second) // learns what calls take
		var before, after int64
		for _, w := range workers {
			before += w.served.Load()
		}
		got := work(t, conn, 400, 25*time.Second)
		for _, w := range workers {
			after += w.served.Load()
		}
		return got, float64(after-before)/float64(len(got)) - 1
	}
	var plain, hedged results
	var extra float64
	synctest.Test(t, func(t *testing.T) { plain, _ = measure(t, "  retry: {attempts: 1}\n") })
	synctest.Test(t, func(t *testing.T) {
		hedged, extra = measure(t, "  retry: {idempotent: true}\n  hedge: {quantile: 0.95}\n")
	})
	fall := float64(plain.at(.999)) / float64(hedged.at(.999))
	t.Logf("p99.9 %v without, %v with hedging (%.1f times less); p50 %v, %v; %.2f %% more calls",
		plain.at(.999), hedged.at(.999), fall, plain.at(.5), hedged.at(.5), 100*extra)
	if fall < 5 {
		t.Errorf("p99.9 fell %.1f times, want 5", fall)
	}
	if extra > .06 {
		t.Errorf("%.2f %% more calls, want at most 6 %%", 100*extra)
	}
	for _, r := range []results{plain, hedged} {
		if n, err := r.failed(); n > 0 {
			t.Errorf("%d calls failed: %v", n, err)
		}
	}
}
