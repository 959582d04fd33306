package access

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

var (
	allows      = &Verdict{Decision: resource.Decision{Allowed: true, Policy: "mesh/default"}}
	denies      = &Verdict{Decision: resource.Decision{Policy: "default/voting"}}
	wouldRefuse = &Verdict{Decision: resource.Decision{Allowed: true, WouldDeny: true, WouldPolicy: "default/trial"}}
)

// told are the samples of a ledger, each as one line.
func told(l *Ledger) map[string]float64 {
	all := map[string]float64{}
	l.Samples(func(s telemetry.Sample) {
		var words []string
		for _, a := range s.Attributes {
			words = append(words, a.Value)
		}
		all[strings.Join(words, " ")] += s.Value
	})
	return all
}

func sum(all map[string]float64) (calls float64) {
	for _, n := range all {
		calls += n
	}
	return calls
}

func TestTheLedgerCountsByCallerAndMethod(t *testing.T) {
	var l Ledger
	if got := told(&l); len(got) != 0 {
		t.Errorf("of nothing it tells %v", got)
	}
	for range 3 {
		l.Count(from(t, web), vote, allows)
	}
	l.Count(from(t, web), vote, denies)
	l.Count(from(t, web), others, wouldRefuse)
	l.Count(from(t, ""), vote, allows)
	want := map[string]float64{
		" 10.0.0.7 " + vote + " allowed ":                 1,
		web + "  " + vote + " allowed ":                   3,
		web + "  " + vote + " denied default/voting":      1,
		web + "  " + others + " would_deny default/trial": 1,
	}
	for range 2 { // counts only grow
		if diff := gocmp.Diff(want, told(&l)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestTheLedgerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Ledger
		const calls = 3 * maxRows
		for i := range calls {
			l.Count(from(t, web), fmt.Sprintf("/a.B/M%d", i), allows)
		}
		for i := range calls {
			l.Count(from(t, fmt.Sprintf("spiffe://tulle.local/w/%d", i)), vote, denies)
			l.Count(from(t, fmt.Sprintf("spiffe://tulle.local/w/%d", i)), vote, wouldRefuse)
		}
		got := told(&l)
		if len(got) > maxRows {
			t.Errorf("%d rows", len(got))
		}
		if sum(got) != 3*calls {
			t.Errorf("counted %v calls, want %d", sum(got), 3*calls)
		}
		// Rows that are idle make room.
		l.Count(from(t, emoji), vote, allows)
		const rest = "other  other allowed "
		if before, after := got[rest], told(&l)[rest]; after != before+1 {
			t.Errorf("before that it is one of the others: %v, then %v", before, after)
		}
		time.Sleep(idleRow)
		told(&l)
		l.Count(from(t, emoji), vote, allows)
		if all := told(&l); all[emoji+"  "+vote+" allowed "] != 1 || len(all) > 2 {
			t.Errorf("after an idle time: %v", all)
		}
	})
}

// What was told must never grow less, or the difference is lost.
func TestARowThatMadeRoomGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Ledger
		for i := range maxRows {
			l.Count(from(t, web), fmt.Sprintf("/a.B/M%d", i), allows)
		}
		line := web + "  /a.B/M7 allowed "
		found := l.row(key{caller: web, method: "/a.B/M7"})
		told(&l)
		time.Sleep(idleRow)
		told(&l)
		found.calls.Add(1) // by a call that found it just before
		if got := told(&l); len(got) != 0 {
			t.Fatalf("idle rows are told of: %v", got)
		}
		l.Count(from(t, web), "/a.B/M7", allows)
		if got := told(&l)[line]; got != 3 {
			t.Errorf("it goes on at %v, want 3", got)
		}
		l.Count(from(t, web), "/a.B/M8", allows)
		if got := told(&l)[web+"  /a.B/M8 allowed "]; got != 2 {
			t.Errorf("another goes on at %v, want 2", got)
		}
	})
}

func TestTheLedgerLosesNothingToConcurrentCalls(t *testing.T) {
	var l Ledger
	const callers, each = 8, 2000
	web := from(t, web)
	var calling sync.WaitGroup
	for i := range callers {
		calling.Go(func() {
			for j := range each {
				l.Count(web, fmt.Sprintf("/a.B/M%d", (i*j)%17), allows)
			}
		})
	}
	last := 0.0
	for range 100 {
		now := sum(told(&l))
		if now < last {
			t.Errorf("%v calls, after %v", now, last)
		}
		last = now
	}
	calling.Wait()
	if got := sum(told(&l)); got != callers*each {
		t.Errorf("%v calls, want %d", got, callers*each)
	}
}

func TestCountingAgainAllocatesNothing(t *testing.T) {
	var l Ledger
	c := from(t, web)
	if got := testing.AllocsPerRun(100, func() {
		l.Count(c, vote, allows)
		l.Count(c, others, wouldRefuse)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestDeniedCallsAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		log := NewLog("voting", slog.New(slog.NewTextHandler(&out, nil)))
		lines := func() int {
			n := strings.Count(out.String(), "\n")
			out.Reset()
			return n
		}
		for range 1000 {
			log.Tell(from(t, web), vote, denies, time.Now())
			log.Tell(from(t, web), vote, allows, time.Now())
			log.Tell(from(t, web), vote, wouldRefuse, time.Now())
		}
		if !strings.Contains(out.String(), web) || !strings.Contains(out.String(), "default/trial") {
			t.Errorf("the log says %s", out.String())
		}
		if n := lines(); n != 2 {
			t.Errorf("%d lines for two kinds of calls", n)
		}
		time.Sleep(logEvery)
		log.Tell(from(t, web), vote, denies, time.Now())
		if !strings.Contains(out.String(), "calls=1000") {
			t.Errorf("the log says %q, not how many calls there were", out.String())
		}
		lines()
		for i := range 10 * maxLines {
			log.Tell(from(t, web), fmt.Sprintf("/a.B/M%d", i), denies, time.Now())
		}
		if n := lines(); n > maxLines+1 {
			t.Errorf("%d lines in a second", n)
		}
		time.Sleep(logEvery)
		log.Tell(from(t, emoji), vote, denies, time.Now())
		if !strings.Contains(out.String(), emoji) {
			t.Errorf("a second later the log says %q", out.String())
		}
	})
}
