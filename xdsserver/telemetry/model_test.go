package telemetry

import (
	"fmt"
	"math"
	"math/rand/v2"
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
	began   time.Time
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

func (w *world) check() error {
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
					return fmt.Errorf("%s: %d attempts, %d calls", dest, a, e.GetCalls().GetCalls())
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
			return fmt.Errorf("%s: %d calls by edges and %d by node, %d and %d failures; want %d and %d",
				dest, edges, golden.GetCalls(), failures, golden.GetFailures(), len(took), w.fails[dest])
		}
		for q, got := range map[float64]float64{0.5: golden.GetP50Ms(), 0.95: golden.GetP95Ms(), 0.99: golden.GetP99Ms()} {
			if want := exact(took, q); math.Abs(got-want) > 0.02*want {
				return fmt.Errorf("%s: the percentile %v is %v ms, want %v", dest, q, got, want)
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
				return fmt.Errorf("%s: %d calls in the buckets of a point of %d", dest, buckets, p.GetGolden().GetCalls())
			}
		}
		if points != edges || len(stats.GetPoints()) > maxSteps {
			return fmt.Errorf("%s: %d calls in %d points, want %d", dest, points, len(stats.GetPoints()), edges)
		}
	}
	return nil
}

// A step is drawn before the bubble, in which it is taken, begins.
type step struct {
	kind       string
	which, n   int
	seed       uint64
	dest, code string
}

func (s step) String() string {
	if s.kind == "call" {
		return fmt.Sprintf("%d calls of %s by %d: %s", s.n, s.dest, s.which, s.code)
	}
	return fmt.Sprintf("%s %d %d", s.kind, s.which, s.n)
}

func (s step) GoString() string { return s.String() }

func drawSteps(rt *rapid.T) []step {
	// A slice left to itself is short.
	n := rapid.IntRange(1, 60).Draw(rt, "length")
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		return step{
			kind: rapid.SampledFrom([]string{
				"call", "call", "call", "call", "report", "report", "report twice", "late report", "wait", "outage",
				"restart a process", "restart", "crash", "save",
			}).Draw(rt, "kind"),
			which: rapid.IntRange(0, 100).Draw(rt, "which"),
			n:     rapid.IntRange(1, 90).Draw(rt, "n"),
			seed:  rapid.Uint64().Draw(rt, "seed"),
			dest:  rapid.SampledFrom([]string{"emoji", "db"}).Draw(rt, "destination"),
			code:  rapid.SampledFrom([]string{"OK", "UNAVAILABLE", "NOT_FOUND"}).Draw(rt, "code"),
		}
	}), n, n).Draw(rt, "steps")
}

// Whatever is killed, lost, late or sent twice, in whatever order: what was called is
// counted once, and percentiles are right.
func TestNumbersAreRightWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt)
		var err error
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, began: time.Now(), dir: t.TempDir(), took: map[string][]time.Duration{}, fails: map[string]uint64{}}
			w.server = open(t, w.dir)
			w.server.save(false)
			time.Sleep(time.Millisecond)
			w.start("web")
			w.start("web")
			w.start("voting")
			for _, s := range steps {
				w.take(s)
			}
			err = w.check()
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func (w *world) take(s step) {
	synctest.Wait()
	i := s.which % len(w.alive)
	p := w.alive[i]
	switch s.kind {
	case "call":
		r := rand.New(rand.NewPCG(s.seed, 0))
		for range s.n {
			took := time.Duration(10e3 * math.Pow(9e6, r.Float64())) // from 10 us to 90 s
			p.call(s.dest, "/e/Get", s.code, took)
			w.took[s.dest] = append(w.took[s.dest], took)
			if s.code == "UNAVAILABLE" {
				w.fails[s.dest]++
			}
		}
	case "report":
		w.report(p)
	case "report twice":
		w.report(p)
		w.report(p)
	case "late report":
		if len(w.old) > 0 {
			i = s.which % len(w.old)
			send(w.t, w.server, w.oldFrom[i], w.old[i])
		}
	case "wait":
		time.Sleep(time.Duration(s.n) * 97 * time.Millisecond)
	case "outage":
		if time.Since(w.began) < Window-10*time.Minute { // what is older than the window is not in it
			time.Sleep(time.Duration(s.n) * time.Second)
		}
	case "restart a process":
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
		w.server.save(false)
		w.ended = false
	}
}
