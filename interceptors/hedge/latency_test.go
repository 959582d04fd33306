package hedge_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/tulle-mesh/tulle/interceptors/hedge"
)

// bucketWidth is how many times its lower bound a bucket ends at.
var bucketWidth = math.Pow(2, 1.0/8)

func TestBucketsAdjoinAndAreANinthWide(t *testing.T) {
	for b := 1; b < hedge.Buckets-1; b++ {
		lower, upper := hedge.UpperBound(b-1), hedge.UpperBound(b)
		if got := hedge.BucketOf(lower); got != b {
			t.Errorf("the bucket of %d ns is %d, want %d", lower, got, b)
		}
		if got := hedge.BucketOf(upper - 1); got != b {
			t.Errorf("the bucket of %d ns is %d, want %d", upper-1, got, b)
		}
		if ratio := float64(upper) / float64(lower); ratio > bucketWidth*1.00002 {
			t.Errorf("bucket %d ends at %v times its begin, want %v", b, ratio, bucketWidth)
		}
	}
	for _, tt := range []struct {
		d    time.Duration
		want int
	}{
		{-time.Second, 0},
		{0, 0},
		{65 * time.Microsecond, 0},
		{66 * time.Microsecond, 1},
		{68 * time.Second, hedge.Buckets - 2},
		{69 * time.Second, hedge.Buckets - 1},
		{math.MaxInt64, hedge.Buckets - 1},
	} {
		if got := hedge.BucketOf(tt.d); got != tt.want {
			t.Errorf("the bucket of %v is %d, want %d", tt.d, got, tt.want)
		}
	}
}

func TestQuantilesAreWithinOneBucketOfTheExactOnes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	for _, tt := range []struct {
		name string
		draw func() time.Duration
	}{
		{"always the same", func() time.Duration { return 5 * time.Millisecond }},
		{"always the end of a bucket", func() time.Duration { return hedge.UpperBound(60) - 1 }},
		{"uniform", func() time.Duration { return time.Millisecond + time.Duration(rng.Int64N(int64(9*time.Millisecond))) }},
		{"lognormal", func() time.Duration {
			return time.Duration(5e6 * math.Exp(rng.NormFloat64()*0.5))
		}},
		{"exponential", func() time.Duration {
			return 100*time.Microsecond + time.Duration(rng.ExpFloat64()*20e6)
		}},
		{"one in a hundred half a second", func() time.Duration {
			if rng.IntN(100) == 0 {
				return 500 * time.Millisecond
			}
			return 4*time.Millisecond + time.Duration(rng.Int64N(2e6))
		}},
	} {
		for _, n := range []int{100, 1_000, 20_000} {
			t.Run(fmt.Sprintf("%s, %d calls", tt.name, n), func(t *testing.T) {
				var l hedge.Latency
				calls := make([]time.Duration, n)
				for i := range calls {
					calls[i] = tt.draw()
					l.Observe(now, calls[i])
				}
				slices.Sort(calls)
				for _, share := range []float64{0.5, 0.9, 0.95, 0.99, 0.999} {
					got, ok := l.Quantile(now, share)
					// The least latency that no more than the rest are above.
					exact := calls[n-1-int(float64(n)*(1-share))]
					if !ok || got <= exact || float64(got) > float64(exact)*bucketWidth*1.00002+1 {
						t.Errorf("quantile %v = %v, %v; exactly it is %v", share, got, ok, exact)
					}
					slower := 0
					for _, d := range calls {
						if d >= got {
							slower++
						}
					}
					if float64(slower) > float64(n)*(1-share)+1e-6 {
						t.Errorf("%d of %d calls take as long as quantile %v, %v", slower, n, share, got)
					}
				}
			})
		}
	}
}

func TestAnEstimateNeedsCallsThatAreNew(t *testing.T) {
	start := time.Unix(1_000_000, 0) // a window begins
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	type step struct {
		at    float64 // seconds
		calls int
		took  time.Duration
	}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		steps []step
		asked float64
		want  time.Duration // within a bucket; zero is none
	}{
		{"of none there is none", nil, 0, 0},
		{"of 99 calls there is none", []step{{0, 99, ms}}, 1, 0},
		{"of 100 calls there is one", []step{{0, 100, ms}}, 1, ms},
		{"calls of two windows count together", []step{{9, 50, ms}, {11, 50, ms}}, 12, ms},
		{"calls count to the end of the next window", []step{{1, 100, ms}}, 19.9, ms},
		{"calls of older windows do not count", []step{{1, 100, ms}}, 20, 0},
		{"a window that comes round is empty", []step{{1, 100, ms}, {21, 1, ms}}, 22, 0},
		{"a window long ago is not the one before", []step{{1, 100, ms}}, 1001, 0},
		{"new calls replace old ones", []step{{1, 100, ms}, {11, 100, 5 * ms}, {21, 100, 5 * ms}}, 22, 5 * ms},
		{"what a clock set forward counted is forgotten", []step{{100, 100, ms}, {1, 100, 5 * ms}}, 2, 5 * ms},
		{"latencies beyond all buckets have none", []step{{1, 100, time.Hour}}, 2, 0},
		{"latencies below all buckets are taken for 66 µs", []step{{1, 100, 1}}, 2, 65536},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l hedge.Latency
			for _, s := range tt.steps {
				for range s.calls {
					l.Observe(at(s.at), s.took)
				}
			}
			got, ok := l.Quantile(at(tt.asked), 0.95)
			if ok != (tt.want > 0) || got < tt.want || float64(got) > float64(tt.want)*bucketWidth {
				t.Errorf("got %v, %v, want %v", got, ok, tt.want)
			}
		})
	}
}

func TestAnEstimateIsUsedFor100Milliseconds(t *testing.T) {
	var l hedge.Latency
	start := time.Unix(1_000_000, 0)
	for range 100 {
		l.Observe(start, time.Millisecond)
	}
	first, _ := l.Quantile(start, 0.95)
	for range 1000 {
		l.Observe(start, time.Second)
	}
	if got, _ := l.Quantile(start.Add(100*time.Millisecond-1), 0.95); got != first {
		t.Errorf("just before 100 ms it is %v, want %v", got, first)
	}
	if got, _ := l.Quantile(start.Add(100*time.Millisecond), 0.95); got < time.Second {
		t.Errorf("after 100 ms it is %v, want a second", got)
	}
	if got, _ := l.Quantile(start.Add(100*time.Millisecond), 0.01); got > 2*time.Millisecond {
		t.Errorf("of another quantile it is %v, want a millisecond", got)
	}
}

func TestALatencyIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(hedge.Latency{}); size > 1408 {
		t.Errorf("it takes %d bytes, want what its comment says", size)
	}
	var hedges hedge.Hedger
	for i := range hedge.MaxMethods {
		if hedges.Latency("voting", fmt.Sprint(i)) == nil {
			t.Fatalf("method %d has none", i)
		}
	}
	if hedges.Latency("voting", "one more") != nil {
		t.Error("methods are not bounded")
	}
	if l := hedges.Latency("voting", "7"); l == nil || hedges.Latency("voting", "7") != l {
		t.Error("a method that is known has not one and the same")
	}
}

func TestLatenciesAreCountedFromManyGoroutines(t *testing.T) {
	var hedges hedge.Hedger
	var wg sync.WaitGroup
	start := time.Unix(1_000_000, 0)
	for range 4 {
		wg.Go(func() {
			for i := range 2_000 {
				now := start.Add(time.Duration(i) * 10 * time.Millisecond)
				l := hedges.Latency("voting", fmt.Sprint(i%3))
				l.Observe(now, time.Millisecond)
				if d, ok := l.Quantile(now, 0.95); ok && (d < time.Millisecond || d > 2*time.Millisecond) {
					t.Errorf("got %v", d)
				}
			}
		})
	}
	wg.Wait()
}

func TestObservingDoesNotAllocate(t *testing.T) {
	var hedges hedge.Hedger
	hedges.Latency("voting", "vote")
	now := time.Now()
	if got := testing.AllocsPerRun(100, func() {
		l := hedges.Latency("voting", "vote")
		l.Observe(now, 5*time.Millisecond)
		l.Quantile(now, 0.95)
	}); got > 0 {
		t.Errorf("it costs %v allocations", got)
	}
}

func BenchmarkObserve(b *testing.B) {
	var hedges hedge.Hedger
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		hedges.Latency("voting", "/voting.v1.Voting/Vote").Observe(now, 5*time.Millisecond)
	}
}

func BenchmarkQuantile(b *testing.B) {
	var l hedge.Latency
	now := time.Now()
	for range 200 {
		l.Observe(now, 5*time.Millisecond)
	}
	b.Run("in use", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Quantile(now, 0.95)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		shares := [2]float64{0.95, 0.9}
		for i := 0; b.Loop(); i++ {
			l.Quantile(now, shares[i&1])
		}
	})
}
