package control

import (
	"math"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/bench/report"
)

// Every engine brings every change to every client, in both forms, and again when clients
// come back.
func TestEnginesBringChangesToAll(t *testing.T) {
	const streams = 20
	for _, f := range []*form{sotw, delta} {
		t.Run(f.name, func(t *testing.T) {
			r := &run{Config: Config{Log: t.Logf}, out: new(report.Report)}
			b := bout{form: f, world: world{services: 30, endpoints: 40}, streams: streams, updates: 2, routes: 2, returns: 1, storm: 300 * time.Millisecond}
			if err := r.bout(t.Context(), b, engines); err != nil {
				t.Fatal(err)
			}
			if len(r.out.Notes) > 0 || len(r.results) != len(engines) {
				t.Fatalf("%d results; %v", len(r.results), r.out.Notes)
			}
			for _, res := range r.results {
				switch s := res.storms[0]; {
				case s.made == 0 || s.lost > 0:
					t.Errorf("%s: %d changes made, %d clients without the last state", res.engine, s.made, s.lost)
				case len(s.stale) < s.made*streams/res.world.services:
					t.Errorf("%s: %d arrivals of %d changes, which are for a third of %d streams", res.engine, len(s.stale), s.made, streams)
				case len(res.endpoint.p99) != 2 || len(res.route.p99) != 2 || res.endpoint.p99[0] <= 0 || res.route.p50[0] <= 0:
					t.Errorf("%s: %+v, %+v", res.engine, res.endpoint, res.route)
				}
			}
		})
	}
}

func TestReportHasFiguresAndCurves(t *testing.T) {
	r := &run{out: new(report.Report)}
	for _, n := range sizes {
		for i, engine := range engines {
			at := report.Sample{float64(n * (i + 1))}
			r.results = append(r.results, &result{
				bout: bout{form: sotw, world: plain, streams: n}, engine: engine, heap: at, stack: at,
				endpoint: updates{p50: at, p99: at, cpu: report.Sample{float64(i + 1)}}, sync: costs{took: at, cpu: at},
			})
		}
	}
	r.report()
	if len(r.out.Figures) != 6 || r.out.Figures[0].Value.Median != 3 {
		t.Errorf("figures: %+v", r.out.Figures)
	}
	growth := r.out.Tables[len(r.out.Tables)-1]
	if len(r.out.Charts) != 3 || math.Abs(growth.Rows[0].Cells[0].Median-1) > 1e-9 {
		t.Errorf("%d charts, %+v", len(r.out.Charts), growth)
	}
}

func TestExponentIsThatOfAPowerLaw(t *testing.T) {
	var x, y []float64
	for _, n := range sizes {
		x, y = append(x, float64(n)), append(y, 3*math.Pow(float64(n), 1.5))
	}
	if got := exponent(x, y); math.Abs(got-1.5) > 1e-9 {
		t.Errorf("exponent is %v, want 1.5", got)
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte{0x12, 0x02, 0x0a, 0x00}, true)
	f.Fuzz(func(_ *testing.T, b []byte, ofDelta bool) {
		r := response{form: sotw}
		if ofDelta {
			r.form = delta
		}
		_ = r.parse(b)
	})
}
