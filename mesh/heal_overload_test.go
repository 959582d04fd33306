package mesh_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// A service that gets three times what it can do does what it can, as fast as ever,
// and refuses the rest.
func TestAdaptiveLimitHoldsLatencyAndGoodput(t *testing.T) {
	const (
		slots    = 8
		each     = 10 * time.Millisecond
		capacity = slots * int(time.Second/each)
	)
	overload := func(t *testing.T, spec string) (unloaded, loaded results) {
		t.Helper()
		m := meshtest.New(t)
		m.Apply(service("voting", "  retry: {attempts: 1}\n"+spec))
		w := newWorker("voting", ways{slots: make(chan struct{}, slots), takes: func() time.Duration {
			return each*3/4 + about(each/4)()
		}})
		m.Serve("voting", w.register)
		conn := m.Client("mesh:///voting")
		work(t, conn, capacity/4, 5*time.Second)
		unloaded = work(t, conn, capacity/4, 5*time.Second)
		work(t, conn, 3*capacity, 5*time.Second) // finds its limit
		loaded = work(t, conn, 3*capacity, 10*time.Second)
		return unloaded, loaded
	}
	report := func(t *testing.T, what string, unloaded, loaded results) (slower, goodput float64) {
		t.Helper()
		good := loaded.good()
		slower = float64(good.at(.99)) / float64(unloaded.at(.99))
		goodput = float64(len(good)) / 10 / float64(capacity)
		t.Logf("%s: p99 %v unloaded, %v (%.2f times) at three times the capacity; goodput %.3f of the capacity", what,
			unloaded.at(.99), good.at(.99), slower, goodput)
		return slower, goodput
	}
	synctest.Test(t, func(t *testing.T) {
		unloaded, loaded := overload(t, "  admission: {concurrency: {adaptive: true}}\n")
		slower, goodput := report(t, "adaptive", unloaded, loaded)
		if slower > 2 {
			t.Errorf("p99 is %.2f times the unloaded one, want at most 2", slower)
		}
		if goodput < .9 || goodput > 1.1 {
			t.Errorf("goodput is %.3f of the capacity, want 0.9 to 1.1", goodput)
		}
		for _, r := range loaded {
			if r.err != nil && status.Code(r.err) != codes.Unavailable && status.Code(r.err) != codes.ResourceExhausted {
				t.Errorf("a call was refused with %v", r.err)
				break
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		unloaded, loaded := overload(t, "  timeout: 2s\n")
		if slower, _ := report(t, "without", unloaded, loaded); slower < 5 {
			t.Errorf("without a limit p99 is %.2f times the unloaded one: the scenario shows nothing", slower)
		}
	})
}
