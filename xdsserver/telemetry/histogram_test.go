package telemetry

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func drawHistogram(rt *rapid.T, name string) histogram {
	counts := rapid.MapOfN(rapid.Int32Range(zeroIndex, maxIndex), rapid.Uint64Range(1, 1<<20), 0, 40).Draw(rt, name)
	h := histogram{}
	for i, n := range counts {
		h = append(h, bucket{index: i, count: n})
	}
	slices.SortFunc(h, func(a, b bucket) int { return int(a.index - b.index) })
	return h
}

func TestHistogramsAddAndSubtract(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawHistogram(rt, "a"), drawHistogram(rt, "b")
		both := slices.Clone(a)
		both.add(b)
		if both.count() != a.count()+b.count() || !slices.IsSortedFunc(both, func(a, b bucket) int { return int(a.index - b.index) }) {
			rt.Fatalf("%v and %v are %v", a, b, both)
		}
		rest, ok := minus(histogram{}, both, a)
		if diff := cmp.Diff(b, rest, cmp.AllowUnexported(bucket{})); !ok || diff != "" {
			rt.Fatalf("%v (-want +got):\n%s", ok, diff)
		}
		if _, ok := minus(nil, a, both); ok && b.count() > 0 {
			rt.Fatalf("%v is not less than %v", a, both)
		}
		r := record{times: both}
		r.counts[3], r.counts[otherCode] = a.count(), b.count()
		var got record
		if !got.decode(r.append(nil)) || got.counts != r.counts || cmp.Diff(both, got.times, cmp.AllowUnexported(bucket{})) != "" && len(both) > 0 {
			rt.Fatalf("%v came back as %v", r, got)
		}
	})
}

// Whatever was measured, a percentile is within 2 % of what it is.
func TestPercentilesAreWithinTwoPercent(t *testing.T) {
	for name, draw := range map[string]func(*rand.Rand) float64{
		"of anything":            func(r *rand.Rand) float64 { return math.Exp(r.Float64()*18 - 11) },
		"of one value":           func(*rand.Rand) float64 { return 0.0301 },
		"at the edge of buckets": func(r *rand.Rand) float64 { return math.Exp2(float64(r.IntN(200)-100)/(1<<scale)) * (1 + 1e-9) },
		"at their other edge":    func(r *rand.Rand) float64 { return math.Exp2(float64(r.IntN(200)-100) / (1 << scale)) },
		"of two kinds":           func(r *rand.Rand) float64 { return []float64{0.001, 2}[r.IntN(2)] },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			for n := range 300 {
				var h histogram
				var took []time.Duration
				for range n + 1 {
					d := time.Duration(draw(r) * 1e9)
					took = append(took, d)
					h.add(histogram{{index: bucketOf(d.Seconds()), count: 1}})
				}
				for _, q := range []float64{0, 0.5, 0.9, 0.95, 0.99, 1} {
					if got, want := 1000*h.percentile(q), exact(took, q); math.Abs(got-want) > 0.02*want {
						t.Fatalf("percentile %v of %d: %v ms, want %v", q, n+1, got, want)
					}
				}
			}
		})
	}
}

// Damage does not make a record that breaks those who use it.
func FuzzRecord(f *testing.F) {
	r := record{times: histogram{{index: zeroIndex, count: 1}, {index: 5, count: 31}, {index: 200, count: 1 << 40}}}
	r.counts[0] = 3
	f.Add(r.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if !r.decode(b) {
			return
		}
		for i, b := range r.times {
			if b.count == 0 || b.index < zeroIndex || b.index > maxIndex || i > 0 && b.index <= r.times[i-1].index {
				t.Fatalf("%v", r.times)
			}
		}
		var again record
		if !again.decode(r.append(nil)) || again.counts != r.counts || !slices.Equal(again.times, r.times) {
			t.Fatalf("%v came back as %v", r, again)
		}
		c := chunk{period: 1, data: b}
		var one record
		c.each(0, slotEndless, &one, func(int64, *record) bool { return true })
	})
}
