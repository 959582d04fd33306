package retry_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A ledger is a budget that forgets nothing, and counts in whole numbers.
type ledger struct {
	start   time.Time
	policy  resource.RetryBudget
	entries []entry
}

type entry struct {
	tick  int64
	taken bool
}

func (l *ledger) tick(now time.Time) int64 { return int64(now.Sub(l.start) / (l.policy.Window / 10)) }

// held counts what lies in the ten buckets that end with now's.
func (l *ledger) held(now time.Time) (calls, taken int64) {
	for _, e := range l.entries {
		if l.tick(now)-e.tick >= 10 {
			continue
		}
		if e.taken {
			taken++
		} else {
			calls++
		}
	}
	return calls, taken
}

func (l *ledger) deposit(now time.Time) { l.entries = append(l.entries, entry{tick: l.tick(now)}) }

func (l *ledger) withdraw(now time.Time) bool {
	calls, taken := l.held(now)
	if 100*(taken+1) > int64(l.policy.Percent)*calls+100*int64(l.policy.MinPerSecond)*int64(l.policy.Window/time.Second) {
		return false
	}
	l.entries = append(l.entries, entry{tick: l.tick(now), taken: true})
	return true
}

func TestBudgetIsTheLedgers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := resource.RetryBudget{
			Percent:      float64(rapid.IntRange(0, 100).Draw(t, "percent")),
			MinPerSecond: float64(rapid.IntRange(0, 3).Draw(t, "minPerSecond")),
			Window:       time.Duration(rapid.IntRange(1, 60).Draw(t, "window")) * time.Second,
		}
		now := time.Unix(rapid.Int64Range(0, 1<<31).Draw(t, "start"), 0)
		budget, ledger := retry.NewBudget(policy.Window, now), ledger{start: now, policy: policy}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3:
				budget.Deposit(now)
				ledger.deposit(now)
			case 4, 5, 6, 7:
				if got, want := budget.Withdraw(now, policy), ledger.withdraw(now); got != want {
					t.Fatalf("withdrawn: %v, want %v", got, want)
				}
			case 8:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(policy.Window/5)).Draw(t, "little")))
			case 9:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*policy.Window)).Draw(t, "much")))
			}
		}
	})
}

func TestBudgetBeginsWithItsMinimum(t *testing.T) {
	policy, now := resource.DefaultRetryBudget(), time.Unix(1000, 0)
	b := retry.NewBudget(policy.Window, now)
	taken := 0
	for b.Withdraw(now, policy) {
		taken++
	}
	if taken != 100 {
		t.Errorf("%d retries without a call, want 10 for each of 10 seconds", taken)
	}
	for range 1000 {
		b.Deposit(now)
	}
	for b.Withdraw(now, policy) {
		taken++
	}
	if taken != 300 {
		t.Errorf("%d retries of 1000 calls, want 20 %% and 100", taken)
	}
	if now = now.Add(policy.Window - 1); b.Withdraw(now, policy) {
		t.Error("a retry is forgotten before the window is over")
	}
	if now = now.Add(1); !b.Withdraw(now, policy) {
		t.Error("a retry is not forgotten when the window is over")
	}
}

func TestBudgetTellsPoliciesApart(t *testing.T) {
	now := time.Unix(1000, 0)
	b := retry.NewBudget(10*time.Second, now)
	for range 10 {
		b.Deposit(now)
	}
	strict, lax := resource.RetryBudget{Percent: 10}, resource.RetryBudget{Percent: 50}
	for i, want := range []struct {
		policy resource.RetryBudget
		ok     bool
	}{{strict, true}, {strict, false}, {lax, true}, {strict, false}, {lax, true}, {lax, true}, {lax, true}, {lax, false}} {
		if got := b.Withdraw(now, want.policy); got != want.ok {
			t.Errorf("withdrawal %d: got %v, want %v", i, got, want.ok)
		}
	}
}

func TestBudgetCountsWholeShares(t *testing.T) {
	for percent := range 101 {
		now := time.Unix(1000, 0)
		b := retry.NewBudget(10*time.Second, now)
		for range 100 {
			b.Deposit(now)
		}
		taken := 0
		for b.Withdraw(now, resource.RetryBudget{Percent: float64(percent)}) {
			taken++
		}
		if taken != percent {
			t.Errorf("%d %% of 100 are %d", percent, taken)
		}
	}
}

// Goroutines withdraw as fast as they can while time goes on and calls come in. At no
// moment does the window hold more than it may, and what is refused takes nothing.
func TestBudgetIsNeverExceededByManyAtOnce(t *testing.T) {
	policy := resource.RetryBudget{Percent: 20, MinPerSecond: 1, Window: 10 * time.Second}
	start := time.Unix(1000, 0)
	for _, calls := range []int{0, 100, 5000} {
		t.Run(fmt.Sprint(calls, " calls"), func(t *testing.T) {
			b := retry.NewBudget(policy.Window, start)
			var bySecond []int64
			for second := range 30 {
				now := start.Add(time.Duration(second) * time.Second)
				var taken atomic.Int64
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						for i := range 500 {
							if i < calls/80 {
								b.Deposit(now)
							}
							if b.Withdraw(now, policy) {
								taken.Add(1)
							}
						}
					})
				}
				all.Wait()
				for b.Withdraw(now, policy) { // what two refused each other
					taken.Add(1)
				}
				most := min(second+1, 10)*(calls/80)*8*20/100 + 10
				bySecond = append(bySecond, taken.Load())
				var got int64
				for _, n := range bySecond[max(0, second-9):] {
					got += n
				}
				if got != int64(most) {
					t.Fatalf("second %d: %d retries in the window, want %d", second, got, most)
				}
			}
		})
	}
}

func TestBudgetOfGoroutinesThatSlept(t *testing.T) {
	policy := resource.RetryBudget{MinPerSecond: 1, Window: 10 * time.Second}
	start := time.Unix(1000, 0)
	b := retry.NewBudget(policy.Window, start)
	late := start.Add(25 * time.Second)
	for range 10 {
		if !b.Withdraw(late, policy) {
			t.Fatal("the minimum is not there")
		}
	}
	if b.Withdraw(start, policy) {
		t.Error("a goroutine whose clock is behind gets what was taken since")
	}
}

func BenchmarkBudget(b *testing.B) {
	policy := resource.DefaultRetryBudget()
	budget := retry.NewBudget(policy.Window, time.Now())
	now := time.Now()
	b.Run("deposit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			budget.Deposit(now)
		}
	})
	b.Run("withdraw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			budget.Withdraw(now, policy)
		}
	})
}
