package telemetry

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A line holds what was counted in each slot, whatever the order, also when it was
// read, closed and asked for as a whole in between.
func TestALineHoldsWhatWasCounted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := &line{keep: windowChunks}
		want := map[int64]uint64{}
		now := int64(1_000_000)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		w := newWindow()
		w.put(l)
		for range 150 {
			now += r.Int64N(20)
			w.now = now
			slot := now - r.Int64N(maxSpread)
			index := int32(r.IntN(maxIndex-zeroIndex+1) + zeroIndex)
			rec := &record{times: histogram{{index: index, count: uint64(r.IntN(100) + 1)}}}
			rec.counts[r.IntN(kinds)] = rec.times[0].count
			w.record(l, slot, rec)
			want[slot] += rec.times[0].count
			if r.IntN(10) == 0 {
				w.sweep()
			}
			from := max(now-int64(r.IntN(700)), now-windowChunks*chunkSlots+chunkSlots)
			v := l.view(&workspace{}, from, now)
			var one record
			got, whole := map[int64]uint64{}, uint64(0)
			v.each(from, now, false, &one, func(slot int64, r *record) bool {
				got[slot] += r.calls()
				if r.calls() != r.times.count() {
					rt.Fatalf("%d calls, %d of them timed", r.calls(), r.times.count())
				}
				return true
			})
			v.each(from, now, true, &one, func(_ int64, r *record) bool {
				whole += r.calls()
				return true
			})
			expected, sum := map[int64]uint64{}, uint64(0)
			for s, n := range want {
				if s >= from && s <= now {
					expected[s] = n
					sum += n
				}
			}
			if diff := cmp.Diff(expected, got); diff != "" || whole != sum {
				rt.Fatalf("%d as a whole, want %d; by slot (-want +got):\n%s", whole, sum, diff)
			}
		}
	})
}
