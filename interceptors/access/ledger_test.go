package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	accessv1 "github.com/tulle-mesh/tulle/mesh/api/access/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

var (
	allowed   = &Verdict{Decision: resource.Decision{Allowed: true, Policy: "mesh/default"}}
	denied    = &Verdict{Decision: resource.Decision{Policy: "default/voting"}}
	wouldDeny = &Verdict{Decision: resource.Decision{Allowed: true, WouldDeny: true, WouldPolicy: "default/trial"}}
)

func sorted(counts []Count) []Count {
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Method, b.Method))
	})
	return counts
}

func TestTheLedgerCountsByCallerAndMethod(t *testing.T) {
	var l Ledger
	for range 3 {
		l.Count(from(t, web), vote, allowed)
	}
	l.Count(from(t, web), vote, denied)
	l.Count(from(t, web), others, wouldDeny)
	l.Count(from(t, ""), vote, allowed)
	want := []Count{
		{Host: "10.0.0.7", Method: vote, Allowed: 1},
		{Caller: web, Method: others, Allowed: 1, WouldDeny: 1, Policy: "default/trial"},
		{Caller: web, Method: vote, Allowed: 3, Denied: 1, Policy: "default/voting"},
	}
	got := sorted(l.take())
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if again := l.take(); len(again) != 0 {
		t.Errorf("taken twice: %+v", again)
	}
	l.put(got)
	if diff := gocmp.Diff(want, sorted(l.take())); diff != "" {
		t.Errorf("given back: -want +got:\n%s", diff)
	}
}

func TestTheLedgerIsBounded(t *testing.T) {
	var l Ledger
	const calls = 3 * maxRows
	for i := range calls {
		l.Count(from(t, web), fmt.Sprintf("/a.B/M%d", i), allowed)
	}
	for i := range calls {
		l.Count(from(t, fmt.Sprintf("spiffe://tulle.local/w/%d", i)), vote, denied)
	}
	got := l.take()
	if len(got) > maxRows {
		t.Errorf("%d rows", len(got))
	}
	var sum Count
	for _, c := range got {
		sum.Allowed += c.Allowed
		sum.Denied += c.Denied
	}
	if sum.Allowed != calls || sum.Denied != calls {
		t.Errorf("counted %d and %d calls, want %d of each", sum.Allowed, sum.Denied, calls)
	}

	// Rows that are idle make room.
	l.take()
	l.Count(from(t, emoji), vote, allowed)
	if got := l.take(); len(got) != 1 || got[0].Caller != emoji {
		t.Errorf("after an idle time: %+v", got)
	}
}

func TestTheLedgerLosesNothingToConcurrentCalls(t *testing.T) {
	var l Ledger
	const callers, each = 8, 2000
	web := from(t, web)
	var calling sync.WaitGroup
	for i := range callers {
		calling.Go(func() {
			for j := range each {
				l.Count(web, fmt.Sprintf("/a.B/M%d", (i*j)%17), allowed)
			}
		})
	}
	var sum uint64
	for range 100 {
		for _, c := range l.take() {
			sum += c.Allowed
		}
	}
	calling.Wait()
	for _, c := range l.take() {
		sum += c.Allowed
	}
	if sum != callers*each {
		t.Errorf("%d calls, want %d", sum, callers*each)
	}
}

func TestCountingAgainAllocatesNothing(t *testing.T) {
	var l Ledger
	c := from(t, web)
	if got := testing.AllocsPerRun(100, func() {
		l.Count(c, vote, allowed)
		l.Count(c, others, wouldDeny)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// reports is an xdsserver that answers with err.
type reports struct {
	grpc.ClientConnInterface

	mu  sync.Mutex
	err error
	got []*accessv1.ReportRequest
}

func (r *reports) Invoke(_ context.Context, _ string, req, _ any, _ ...grpc.CallOption) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.got = append(r.got, req.(*accessv1.ReportRequest))
	}
	return r.err
}

func (r *reports) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func TestReportsAreMadeAndNoneIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Ledger
		conn := &reports{}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := l.Report(ctx, conn, "one"); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Minute)
		if n := len(conn.got); n != 0 {
			t.Errorf("%d reports of nothing", n)
		}
		l.Count(from(t, web), vote, allowed)
		conn.fail(errors.New("away"))
		time.Sleep(time.Minute)
		l.Count(from(t, web), vote, denied)
		conn.fail(nil)
		time.Sleep(reportEvery)
		cancel()
		running.Wait()
		if len(conn.got) != 1 || len(conn.got[0].GetObservations()) != 1 {
			t.Fatalf("reports: %v", conn.got)
		}
		o := conn.got[0].GetObservations()[0]
		if conn.got[0].GetInstance() != "one" || o.GetCaller() != web || o.GetMethod() != vote || o.GetAllowed() != 1 || o.GetDenied() != 1 {
			t.Errorf("got %v", conn.got[0])
		}
	})
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
			log.Tell(from(t, web), vote, denied, time.Now())
			log.Tell(from(t, web), vote, allowed, time.Now())
			log.Tell(from(t, web), vote, wouldDeny, time.Now())
		}
		if !strings.Contains(out.String(), web) || !strings.Contains(out.String(), "default/trial") {
			t.Errorf("the log says %s", out.String())
		}
		if n := lines(); n != 2 {
			t.Errorf("%d lines for two kinds of calls", n)
		}
		time.Sleep(logEvery)
		log.Tell(from(t, web), vote, denied, time.Now())
		if !strings.Contains(out.String(), "calls=1000") {
			t.Errorf("the log says %q, not how many calls there were", out.String())
		}
		lines()
		for i := range 10 * maxLines {
			log.Tell(from(t, web), fmt.Sprintf("/a.B/M%d", i), denied, time.Now())
		}
		if n := lines(); n > maxLines+1 {
			t.Errorf("%d lines in a second", n)
		}
		time.Sleep(logEvery)
		log.Tell(from(t, emoji), vote, denied, time.Now())
		if !strings.Contains(out.String(), emoji) {
			t.Errorf("a second later the log says %q", out.String())
		}
	})
}
