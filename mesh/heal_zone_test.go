package mesh_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// inZone returns the share of the calls that workers of a zone answered.
func (r results) inZone(zone string) float64 {
	n := 0
	for i := range r {
		if strings.HasPrefix(r[i].who, zone) {
			n++
		}
	}
	return float64(n) / float64(len(r))
}

// Endpoints of the caller's zone die one by one. What is left of them can take less
// and less of the load, and the other zone the rest of it.
func TestZoneFailsOverInProportionAndReturns(t *testing.T) {
	const (
		perZone   = 4
		perSecond = 350 // of 20 ms each: 7 calls open, under two for each endpoint of a zone
	)
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Apply(service("voting", "  retry: {on: [unavailable], attempts: 3, idempotent: true}\n"))
		start := func(zone string, i int) *meshtest.Instance {
			w := newWorker(fmt.Sprintf("%s-%d", zone, i), ways{takes: func() time.Duration { return 20 * time.Millisecond }})
			return m.ServeAs(mesh.Config{Service: "voting", Zone: zone}, w.register)
		}
		var near []*meshtest.Instance
		for i := range perZone {
			near = append(near, start("a", i))
			start("b", i)
		}
		caller := m.Join(mesh.Config{Service: "web", Zone: "a"})
		conn, err := caller.NewClient("mesh:///voting")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })

		failed := 0
		step := func(conn *grpc.ClientConn) (away float64) {
			unsettled := work(t, conn, perSecond, 3*time.Second)
			settled := work(t, conn, perSecond, 5*time.Second)
			for _, r := range []results{unsettled, settled} {
				n, err := r.failed()
				if failed += n; err != nil {
					t.Logf("a call failed: %v", err)
				}
			}
			return settled.inZone("b")
		}
		away := []float64{step(conn)}
		for _, in := range near {
			in.Kill()
			away = append(away, step(conn))
		}
		back := make([]float64, 0, perZone)
		for i := range perZone {
			start("a", perZone+i)
			back = append(back, step(conn))
		}
		t.Logf("share of the other zone, with 4 to 0 endpoints left in the own: %.3f; with 1 to 4 back: %.3f", away, back)
		if failed > 0 {
			t.Errorf("%d calls failed that might have been tried again", failed)
		}
		if away[0] > .1 || away[perZone] < 1 {
			t.Errorf("%.1f %% went away while all were there and %.1f %% when none was, want under 10 and 100", 100*away[0], 100*away[perZone])
		}
		for i := 1; i <= perZone; i++ {
			if away[i] < away[i-1] {
				t.Errorf("with %d left %.3f went away, less than before: %.3f", perZone-i, away[i], away[i-1])
			}
			// An endpoint has two open calls at the most: those that are gone are made up for.
			if want := float64(i) / perZone; away[i] < want-.2 || away[i] > want+.2 {
				t.Errorf("with %d left %.3f went away, want %.2f give or take 0.2", perZone-i, away[i], want)
			}
		}
		if last := back[perZone-1]; last > .1 {
			t.Errorf("with all back %.1f %% still go away, want under 10", 100*last)
		}
	})
}
