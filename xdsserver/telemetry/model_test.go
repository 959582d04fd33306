package telemetry

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// world is a mesh of processes that are killed, restarted and not heard, with an
// xdsserver that is too, and an exact account of what it ought to know.
type world struct {
	t       *testing.T
	dir     string
	server  *Server
	alive   []*process
	made    int
	old     [][]byte // messages that were sent, with whose they are
	oldFrom []string
	// ended since the last save: what they reported is lost with a crash.
	ended bool
	took  map[string][]time.Duration // by destination, of calls that were reported or will be
	fails map[string]uint64
}

func (w *world) start(service string) {
	w.made++
	w.alive = append(w.alive, newProcess(service, fmt.Sprintf("%s-%d", service, w.made)))
}

func (w *world) report(p *process) {
	m := p.message()
	if n := send(w.t, w.server, p.service, m); n > 0 {
		w.t.Fatalf("%d points were refused", n)
	}
	w.old, w.oldFrom = append(w.old, m), append(w.oldFrom, p.service)
}

func (w *world) check(rt *rapid.T) {
	for _, p := range w.alive {
		w.report(p)
	}
	g := w.server.Graph(Window, time.Now())
	for dest, took := range w.took {
		var edges, failures uint64
		var golden *adminv1.Golden
		for _, e := range g.GetEdges() {
			if e.GetDestination() == dest {
				edges += e.GetCalls().GetCalls()
				if a := e.GetAttempts().GetCalls(); a != e.GetCalls().GetCalls() {
					rt.Fatalf("%s: %d attempts, %d calls", dest, a, e.GetCalls().GetCalls())
				}
				failures += e.GetCalls().GetFailures()
			}
		}
		for _, s := range g.GetServices() {
			if s.GetService() == dest {
				golden = s.GetInbound()
			}
		}
		if edges != uint64(len(took)) || golden.GetCalls() != edges || failures != w.fails[dest] || golden.GetFailures() != failures {
			rt.Fatalf("%s: %d calls by edges and %d by node, %d and %d failures; want %d and %d",
				dest, edges, golden.GetCalls(), failures, golden.GetFailures(), len(took), w.fails[dest])
		}
		for q, got := range map[float64]float64{0.5: golden.GetP50Ms(), 0.95: golden.GetP95Ms(), 0.99: golden.GetP99Ms()} {
			if want := exact(took, q); math.Abs(got-want) > 0.02*want {
				rt.Fatalf("%s: the percentile %v is %v ms, want %v", dest, q, got, want)
			}
		}
		var points uint64
		stats := w.server.Service(dest, Window, time.Now())
		for _, p := range stats.GetPoints() {
			points += p.GetGolden().GetCalls()
			var buckets uint64
			for _, n := range p.GetBuckets() {
				buckets += n
			}
			if buckets != p.GetGolden().GetCalls() {
				rt.Fatalf("%s: %d calls in the buckets of a point of %d", dest, buckets, p.GetGolden().GetCalls())
			}
		}
		if points != edges || len(stats.GetPoints()) > maxSteps {
			rt.Fatalf("%s: %d calls in %d points, want %d", dest, points, len(stats.GetPoints()), edges)
		}
	}
}

// bubble runs a property in a bubble: rapid ends one that fails with a panic, which
// must come out of the bubble first.
func bubble(t *testing.T, property func(t *testing.T)) {
	var failure any
	synctest.Test(t, func(t *testing.T) {
		defer func() { failure = recover() }()
		property(t)
	})
	if failure != nil {
		panic(failure)
	}
}

// Whatever is killed, lost, late or sent twice, in whatever order: what was called is
// counted once, and percentiles are right.
func TestNumbersAreRightWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		bubble(t, func(t *testing.T) {
			w := &world{t: t, dir: t.TempDir(), took: map[string][]time.Duration{}, fails: map[string]uint64{}}
			w.server = open(t, w.dir)
			w.server.save()
			time.Sleep(time.Millisecond)
			w.start("web")
			w.start("web")
			w.start("voting")
			steps := rapid.IntRange(1, 60).Draw(rt, "steps")
			for range steps {
				w.step(rt)
			}
			w.check(rt)
		})
	})
}

func (w *world) step(rt *rapid.T) {
	pick := func() int { return rapid.IntRange(0, len(w.alive)-1).Draw(rt, "process") }
	switch rapid.SampledFrom([]string{
		"call", "call", "call", "call", "report", "report", "report twice", "late report", "wait", "outage",
		"restart a process", "restart", "crash", "save",
	}).Draw(rt, "step") {
	case "call":
		p := w.alive[pick()]
		dest := rapid.SampledFrom([]string{"emoji", "db"}).Draw(rt, "destination")
		code := rapid.SampledFrom([]string{"OK", "OK", "OK", "UNAVAILABLE", "NOT_FOUND"}).Draw(rt, "code")
		for range rapid.IntRange(1, 40).Draw(rt, "calls") {
			took := time.Duration(math.Exp(rapid.Float64Range(math.Log(10e3), math.Log(90e9)).Draw(rt, "took")))
			p.call(dest, "/e/Get", code, took)
			w.took[dest] = append(w.took[dest], took)
			if code == "UNAVAILABLE" {
				w.fails[dest]++
			}
		}
	case "report":
		w.report(w.alive[pick()])
	case "report twice":
		p := w.alive[pick()]
		w.report(p)
		w.report(p)
	case "late report":
		if len(w.old) > 0 {
			i := rapid.IntRange(0, len(w.old)-1).Draw(rt, "message")
			send(w.t, w.server, w.oldFrom[i], w.old[i])
		}
	case "wait":
		time.Sleep(time.Duration(rapid.IntRange(1, 8000).Draw(rt, "ms")) * time.Millisecond)
	case "outage":
		time.Sleep(time.Duration(rapid.IntRange(10, 90).Draw(rt, "seconds")) * time.Second)
	case "restart a process":
		i := pick()
		p := w.alive[i]
		w.report(p) // its last
		w.ended = true
		w.alive = append(w.alive[:i], w.alive[i+1:]...)
		time.Sleep(time.Millisecond)
		w.start(p.service)
	case "restart":
		if err := w.server.Close(); err != nil {
			w.t.Fatal(err)
		}
		w.ended = false
		w.server = open(w.t, w.dir)
	case "crash":
		if !w.ended {
			w.server = open(w.t, w.dir)
		}
	case "save":
		w.server.save()
		w.ended = false
	}
}
