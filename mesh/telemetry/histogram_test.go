package telemetry

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"
)

// point is what a histogram of these latencies says.
func pointOf(all []time.Duration) Point {
	var h histogram
	for _, d := range all {
		h.record(d)
	}
	var p Point
	h.point(&p)
	return p
}

func TestALatencyLiesWithinTheBoundsOfItsBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.OneOf(
			rapid.Int64Range(-10, 100_000),
			rapid.Int64Range(0, int64(time.Second)),
			rapid.Int64Range(0, int64(10*time.Minute)),
			rapid.Int64(),
		).Draw(t, "latency"))
		exponent, bucket, below := place(d)
		seconds := float64(d) * 1e-9
		if below {
			if seconds > math.Exp2(minExponent) {
				t.Fatalf("%v is below", d)
			}
			return
		}
		if exponent < minExponent || exponent > maxExponent || bucket < 0 || bucket >= perOctave {
			t.Fatalf("%v is at %d, %d", d, exponent, bucket)
		}
		i := float64(exponent*perOctave + bucket)
		// What is on a bound, but for the last bit of its number, may be on either side.
		low, high := math.Exp2(i/perOctave)*(1-1e-15), math.Exp2((i+1)/perOctave)*(1+1e-15)
		if last := exponent == maxExponent && bucket == perOctave-1; seconds <= low || seconds > high && !last {
			t.Fatalf("%v is at %d, %d: in (%v, %v]", d, exponent, bucket, low, high)
		}
	})
}

func TestPowersOfTwoCloseTheirBuckets(t *testing.T) {
	for _, tt := range []struct {
		took             time.Duration
		exponent, bucket int
	}{
		{time.Second, -1, perOctave - 1},
		{time.Second + 1, 0, 0},
		{2 * time.Second, 0, perOctave - 1},
		{500 * time.Millisecond, -2, perOctave - 1},
		{time.Duration(math.MaxInt64), maxExponent, perOctave - 1},
	} {
		if e, b, below := place(tt.took); e != tt.exponent || b != tt.bucket || below {
			t.Errorf("%v is at %d, %d (below: %v), want %d, %d", tt.took, e, b, below, tt.exponent, tt.bucket)
		}
	}
}

func TestPercentilesAreWithinOnePointOnePercent(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"exponential": func() float64 { return random.ExpFloat64() * 5e-3 },
		"uniform":     func() float64 { return 10e-6 + random.Float64()*0.1 },
		"lognormal":   func() float64 { return math.Exp(random.NormFloat64()*0.8 - 6) },
		"two modes":   func() float64 { return []float64{0.001, 0.2}[random.IntN(2)] * (1 + random.Float64()/10) },
		"pareto":      func() float64 { return 0.001 * math.Pow(random.Float64(), -0.7) },
	} {
		t.Run(name, func(t *testing.T) {
			all := make([]time.Duration, 200_000)
			for i := range all {
				all[i] = min(time.Duration(draw()*1e9), 8*time.Minute)
			}
			p := pointOf(all)
			slices.Sort(all)
			for _, q := range []float64{0.1, 0.5, 0.9, 0.95, 0.99, 0.999} {
				want := all[int(math.Ceil(q*float64(len(all))))-1].Seconds()
				if want < 10e-6 || q == 0.5 && name == "two modes" { // between the modes there is nothing
					continue
				}
				if got := p.Quantile(q); math.Abs(got/want-1) > 0.011 {
					t.Errorf("p%v is %v s, want %v: %.2f %% off", 100*q, got, want, 100*(got/want-1))
				}
			}
			if p.Count != uint64(len(all)) {
				t.Errorf("count is %d of %d", p.Count, len(all))
			}
		})
	}
}

func TestMergingIsCountingTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		latency := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.OneOf(rapid.Int64Range(-5, 20_000), rapid.Int64Range(0, int64(time.Hour))).Draw(t, "ns"))
		})
		a, b := rapid.SliceOf(latency).Draw(t, "a"), rapid.SliceOf(latency).Draw(t, "b")
		got, other := pointOf(a), pointOf(b)
		before := slices.Clone(got.Buckets)
		shared := got.Buckets
		got.Merge(&other)
		want := pointOf(append(slices.Clone(a), b...))
		if !slices.Equal(got.Buckets, want.Buckets) || len(got.Buckets) > 0 && got.Offset != want.Offset ||
			got.Count != want.Count || got.Below != want.Below || math.Abs(got.Sum-want.Sum) > 1e-9*(1+want.Sum) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if !slices.Equal(shared, before) {
			t.Fatal("merging changed buckets that others may have")
		}
	})
}

func TestNothingIsLostWhenManyCountAtOnce(t *testing.T) {
	in := New(Config{Service: "web"})
	const goroutines, each = 8, 20_000
	var wait sync.WaitGroup
	for g := range goroutines {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for range each {
				in.ClientCall(ClientKey{Service: "voting", Method: []string{"a", "b", "c"}[random.IntN(3)]}).
					Record(codes.Code(random.IntN(20)), time.Duration(random.ExpFloat64()*1e6))
			}
		})
	}
	wait.Wait()
	var n uint64
	for _, p := range in.Snapshot().Points {
		n += p.Count
		if sum := p.Below; sum > p.Count {
			t.Errorf("%d of %d are below", sum, p.Count)
		}
	}
	if n != goroutines*each {
		t.Errorf("%d calls were counted, want %d", n, goroutines*each)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	in := New(Config{})
	k := AttemptKey{Service: "voting", Route: "canary", Method: "/shop.v1.Shop/Buy", Cluster: "voting/v2", Local: true}
	in.ClientAttempt(k).Record(codes.OK, time.Millisecond)
	if n := testing.AllocsPerRun(1000, func() { in.ClientAttempt(k).Record(codes.OK, time.Millisecond) }); n != 0 {
		t.Errorf("a call costs %v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	in := New(Config{})
	s := in.ClientCall(ClientKey{Service: "voting", Method: "/shop.v1.Shop/Buy"})
	b.ReportAllocs()
	took := time.Duration(0)
	for b.Loop() {
		took += 977
		s.Record(codes.OK, took&(1<<24-1))
	}
}

func BenchmarkLookUpAndRecord(b *testing.B) {
	in := New(Config{})
	for i := range 20 {
		in.ClientCall(ClientKey{Service: "voting", Method: "/shop.v1.Shop/Buy" + string(rune('a'+i))})
	}
	k := ClientKey{Service: "voting", Route: "canary", Method: "/shop.v1.Shop/Buya"}
	b.ReportAllocs()
	for b.Loop() {
		in.ClientCall(k).Record(codes.OK, time.Millisecond)
	}
}

func BenchmarkRecordInParallel(b *testing.B) {
	in := New(Config{})
	k := ClientKey{Service: "voting", Route: "canary", Method: "/shop.v1.Shop/Buya"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			in.ClientCall(k).Record(codes.OK, time.Millisecond)
		}
	})
}
